/**
 * Divides pieces of work among machines of different speeds, so that the longest stage is as short as a bounded search finds it:
 * `Q‖Cmax` with memory and other constraints. The same input gives the same division: ties go to the first.
 */
import { ALMOST, Division, type Holder, type Machine, type Piece, REFUSAL } from './division.js'
import { SAME_OWNER, Search } from './search.js'

/** A longest stage that is longer than any can be by no more than this is not made shorter. */
const ENOUGH = 1.005
/** Partial divisions that are looked at while a few machines divide anew what they have. */
const MAX_GROUP_NODES = 1_024
/** Pieces that they divide anew; of more, so many evenly chosen by cost. */
const MAX_GROUP_PIECES = 16
/** Of more machines than this, only pairs divide anew, and not all divisions are searched. */
const MAX_FEW = 32
/** Partial divisions in all pairs and groups of three together: some 200 ms. */
const MAX_RESPLIT_NODES = 500_000
/** Of so many machines, finding the next pair costs as much as a partial division. */
const MACHINES_PER_NODE = 8
/** Up to so many pieces all divisions are searched … */
const MAX_SEARCH_PIECES = 20
/** … but no more than so many partial ones: a few ms, since somebody waits for recovery. */
const MAX_SEARCH_NODES = 20_000
/** Times that every piece is offered every machine … */
const MAX_ROUNDS = 4
/** … unless these are so many offers: some 50 ms. */
const MAX_OFFERS = 10_000_000

export interface Divided {
  readonly division: Division
  /** The piece that had no place; absent if all have one. */
  readonly missing?: number
}

/**
 * Gives each piece in turn, the dearest first, to the machine on which the longest stage grows least (longest processing time first,
 * Graham 1969; 4/3 of the optimum at worst on equal machines); where memory does not allow that, the largest first. Then the machine with
 * the longest stage divides anew with others what they have, as long as that helps. If that is not enough and there are few pieces, all
 * divisions are searched, by branch and bound.
 */
export function divide(
  machines: readonly Machine[],
  pieces: readonly Piece[],
  holders: ReadonlyMap<string, readonly Holder[]> = new Map(),
): Divided {
  const empty = () => new Division(machines, pieces, holders)
  const byCost = orderBy(pieces, ({ cost }) => cost)
  let division = empty()
  let missing = fill(division, byCost, (p) => ranks(division, p))
  if (missing !== undefined) {
    division = empty()
    // What is cheap but large found its place taken. Largest first, each where it leaves least room: balance is worth less than a place.
    const byBytes = orderBy(pieces, ({ bytes }) => bytes)
    missing = fill(division, byBytes, () => Float64Array.from(machines, (_, m) => division.freeBytes(m)))
  }
  const enough = fractionalBound(machines, pieces) * ENOUGH
  if (missing === undefined) resplit(division, enough)
  const longest = division.longest()
  const isEnough = missing === undefined && (longest === -1 || division.time(longest) <= enough)
  if (!isEnough && pieces.length <= MAX_SEARCH_PIECES && machines.length <= MAX_FEW) {
    const bound = missing === undefined ? division.time(longest) : Infinity
    const anew = empty()
    const all = { machines: machines.map((_, m) => m), pieces: byCost, maxNodes: MAX_SEARCH_NODES }
    if (new Search(anew, missing === undefined ? { ...all, like: division } : all).isShorterThan(bound)) {
      division = anew
      missing = undefined
    }
  }
  if (missing !== undefined) return { division, missing }
  settle(division, byCost)
  return { division }
}

/** No division has a shorter longest stage: all work in equal parts, in pieces as small as one likes. */
export function fractionalBound(machines: readonly Machine[], pieces: readonly Piece[]): number {
  const sorted = machines.toSorted((a, b) => a.load / a.speed - b.load / b.speed)
  let cost = pieces.reduce((sum, piece) => sum + piece.cost, 0)
  let speed = 0
  for (const machine of sorted) {
    // The next one has more already than all work in equal parts gives to those before it.
    if (speed > 0 && cost / speed <= machine.load / machine.speed) break
    cost += machine.load
    speed += machine.speed
  }
  return speed === 0 ? 0 : cost / speed
}

/** Pieces by falling size; of equals the first comes first. */
function orderBy(pieces: readonly Piece[], size: (piece: Piece) => number): number[] {
  return pieces.map((_, p) => p).toSorted((a, b) => size(pieces[b]) - size(pieces[a]) || a - b)
}

/** How long a step takes on each machine with a piece more. */
function ranks(division: Division, p: number): Float64Array {
  const times = division.times(division.pieces[p].cost)
  const owners = division.ownersBeside(p)
  if (owners.size === 0) return times
  for (const [m, { owner }] of division.machines.entries()) if (owner !== undefined && owners.has(owner)) times[m] *= SAME_OWNER
  return times
}

/** Gives each piece in turn to the machine with the lowest rank that it fits on. Returns the first that fits nowhere. */
function fill(division: Division, inOrder: readonly number[], ranksOf: (p: number) => Float64Array): number | undefined {
  for (const p of inOrder) {
    const refusals = division.refusals(p)
    const rank = ranksOf(p)
    let best = -1
    for (let m = 0; m < rank.length; m++) {
      if (refusals[m] === REFUSAL.none && (best === -1 || rank[m] < rank[best])) best = m
    }
    if (best === -1) return p
    division.put(p, best)
  }
  return undefined
}

/**
 * The machine with the longest stage and another one, the shortest first, divide anew what both have; if no other helps, two others.
 * Then the next longest, until nothing helps.
 */
function resplit(division: Division, enough: number): void {
  const hasCost = (p: number) => division.pieces[p].cost > 0
  const stuck = new Set<number>()
  let nodes = 0
  const isShorter = (group: readonly number[]): boolean => {
    if (nodes >= MAX_RESPLIT_NODES) return false
    const had = group.flatMap((m) => division.on(m)).filter(hasCost)
    const pieces = evenly(had.toSorted((p, q) => division.pieces[q].cost - division.pieces[p].cost || p - q))
    const search = new Search(division, { machines: group, pieces, maxNodes: MAX_GROUP_NODES })
    const isFound = search.isShorterThan(division.time(group[0]))
    nodes += search.nodes
    return isFound
  }
  const order = division.machines.map((_, m) => m)
  const byThree = (a: number, others: readonly number[]) =>
    others.length < MAX_FEW && others.some((b, i) => others.slice(i + 1).some((c) => isShorter([a, b, c])))
  while (nodes < MAX_RESPLIT_NODES) {
    nodes += order.length / MACHINES_PER_NODE
    order.sort((b, c) => division.time(b) - division.time(c) || b - c)
    const place = order.findLastIndex((m) => !stuck.has(m) && division.on(m).some(hasCost))
    const a = order[place]
    if (place === -1 || division.time(a) <= enough) return
    let isHelped = false
    for (let i = 0; i < place && !isHelped; i++) isHelped = isShorter([a, order[i]])
    if (!isHelped && !byThree(a, order.slice(0, place))) stuck.add(a)
  }
}

/** All of a list, or so many of it as a few machines can divide anew. */
function evenly(list: readonly number[]): readonly number[] {
  if (list.length <= MAX_GROUP_PIECES) return list
  return Array.from({ length: MAX_GROUP_PIECES }, (_, i) => list[Math.floor((i * list.length) / MAX_GROUP_PIECES)])
}

/** Each piece goes where its own stage is shorter, until none is: what is seen of a decision is then what decided it. */
function settle(division: Division, inOrder: readonly number[]): void {
  const offers = inOrder.length * division.machines.length
  for (let round = 0; round < MAX_ROUNDS && round * offers < MAX_OFFERS; round++) {
    let isChanged = false
    for (const p of inOrder) {
      const a = division.at[p]
      const refusals = division.refusals(p)
      const times = division.times(division.pieces[p].cost)
      let best = a
      let shortest = division.time(a) * (1 - ALMOST)
      for (let m = 0; m < times.length; m++) {
        if (times[m] >= shortest || m === a || refusals[m] !== REFUSAL.none || !division.isAsGood(p, m)) continue
        best = m
        shortest = times[m]
      }
      if (best === a) continue
      division.take(p)
      division.put(p, best)
      isChanged = true
    }
    if (!isChanged) return
  }
}
