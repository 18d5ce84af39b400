/**
 * Whether VNodes of a run should move, from what is measured at intervals: loaded PNodes push, idle ones pull. It decides slowly on purpose:
 * the gain has to be seen the oftener the smaller it is, and what has moved stays for its hold time, twice as long after each further move.
 *
 * Whether a PNode is slow or its VNode expensive nobody can tell from one time. How fast PNodes are say their ratings; what a VNode needs says
 * the least that is known of it; where it takes longer than that, it is the PNode that has become slow, or was rated too high. What it needed where
 * it was is remembered, so that it does not go back there. Pure but for what it remembers: time is handed in.
 */
import { SOURCE } from '../../components/definition.js'
import { followed, followersOf, vnodeOf } from '../../runtime/followers.js'
import type { Demand, Membership } from '../calls.js'
import { isBelow, speedOf } from '../placement/candidates.js'
import { type Move, NOTHING_MOVES, overLimit, type Rebalancing, type Stage, type Work, worthMoving } from './rebalance.js'
import type { Spent } from './step-times.js'

export interface BalanceOptions {
  /** How often it is looked, in ms. */
  readonly everyMs: number
  /** What has moved for balance, or because it had to, does not move for balance again within this time, in ms. */
  readonly holdMs: number
  /** Share by which the longest stage must become shorter, 0 to 1: a move costs a checkpoint and a restore, while others wait. */
  readonly leastGain: number
  /** Of moves of followers alone: nobody waits for them. */
  readonly leastGainByFollowers: number
}

export const DEFAULT_BALANCE: BalanceOptions = { everyMs: 5_000, holdMs: 30_000, leastGain: 0.1, leastGainByFollowers: 0.05 }

/**
 * Gains that looks one after the other find add up to so much before anything moves: what is smaller than the noise is seen now and then, not always.
 * (A cumulative sum, as in Page's test.)
 */
const EVIDENCE = 0.75
/** However large the gain, so many looks must find it. */
const CONFIRMATIONS = 3
/** Of the newest look in the averages. */
const SMOOTHING = 0.5
/** A stage that works less than this share of the time waits for something that no move makes faster. */
const LEAST_LOAD = 0.3
/** What a move costs the run at least, in ms: a checkpoint and a restore, while others wait. */
const MOVE_MS = 1_000
/** How often the hold time of a VNode doubles, and after how many of its hold times without a move it begins anew. */
const MOST_DOUBLINGS = 5
const CALM_HOLDS = 10
/** What was measured on a PNode that a VNode has left holds for so long, in ms; its speed, if it was measured anew, counts at once. */
const KNOWN_MS = 30 * 60_000
/** Ratings by less than this factor apart are one rating, measured twice. */
const RATED_ALIKE = 1.5
/** What is older than this, in ms, is no part of an average. */
const FRESH_MS = 60_000

const NOTHING_SEEN = { looks: 0, gain: 0, isOfFollowers: false }

/** What there is to see. */
export interface Look {
  readonly run: string
  readonly nowMs: number
  readonly members: readonly Membership[]
  readonly demands: readonly Demand[]
  readonly directory: { readonly [vnode: string]: { readonly pnode: string } }
  /** VNodes that are about to move, and where to, if that is known: they count there, and no others move meanwhile; followers do. */
  readonly moving: ReadonlyMap<string, string | undefined>
  readonly spent: ReadonlyMap<string, Spent>
  readonly computeClass?: string
  /** SHA-256 of users' modules that run in it. */
  readonly code: readonly string[]
  /** Until the run is done. */
  readonly stepsLeft: number
}

/** How long a step of a VNode took on a PNode that was rated so. */
interface Known {
  /** Of late. */
  readonly ms: number
  /** The least that it has been since it is rated so: a rating that was wrong for a while leaves nothing behind. */
  readonly leastMs: number
  readonly gflops: number
  readonly atMs: number
}

export class Balance {
  readonly #options: BalanceOptions
  /** Time of a step, by VNode and PNode. */
  readonly #known = new Map<string, Map<string, Known>>()
  readonly #moved = new Map<string, { readonly atMs: number; readonly doublings: number }>()
  /** Share of the time that a PNode works, for us and in all; averages. */
  readonly #busy = new Map<string, { own: number; all: number }>()
  /** Who was there, and since when just they have been. */
  #company = { pnodes: '', sinceMs: -Infinity }
  #lookedAtMs: number | undefined
  #confirmed = NOTHING_SEEN

  constructor(options: Partial<BalanceOptions> = {}) {
    this.#options = { ...DEFAULT_BALANCE, ...options }
  }

  get everyMs(): number {
    return this.#options.everyMs
  }

  /** At intervals. @returns what should move, each VNode to an open PNode that has room for it */
  look(look: Look): Move[] {
    this.#greet(look)
    this.#measure(look)
    const { moves, gain } = this.#isMeasured(look) ? this.#worthMoving(look) : NOTHING_MOVES
    const seen = this.#seen(moves, gain)
    const isSure = seen.looks >= CONFIRMATIONS && seen.gain >= EVIDENCE
    // What follows from it has to be seen anew.
    this.#confirmed = isSure ? NOTHING_SEEN : seen
    return isSure ? [...moves] : []
  }

  /** A PNode has joined: what it should have by costs and ratings, as when a run begins. Of one that has had VNodes more is known. */
  lookAtOnce(look: Look, newcomer: string): Move[] {
    this.#greet(look)
    if ([...this.#known.values()].some((known) => known.has(newcomer))) return []
    const stages = look.members
      .map((member) => stageOf(member, look))
      .map((stage) => ({ ...stage, isOpen: stage.isOpen && stage.pnode === newcomer }))
    return [...this.#followersFirst(stages, this.#works(look, false)).moves]
  }

  /** VNodes that have to go now, since their PNodes lend less than they need. */
  overLimit(look: Look): string[] {
    return overLimit(
      look.members.filter(({ state }) => state !== 'lost').map((member) => stageOf(member, look)),
      // What is about to move has its room until it does.
      this.#works({ ...look, moving: new Map() }, false),
    )
  }

  /**
   * A VNode has another owner. If nobody wanted it to move, or others are there than when it moved before, that is no sign of moving to and fro.
   * @param wasLost nobody wanted it to move
   */
  moved(vnode: string, nowMs: number, wasLost = false): void {
    const before = this.#moved.get(vnode)
    const isCalm = !before || nowMs - before.atMs >= this.#holdMs(before.doublings) * CALM_HOLDS
    const hasReason = wasLost || (before !== undefined && before.atMs < this.#company.sinceMs)
    this.#moved.set(vnode, { atMs: nowMs, doublings: isCalm ? 0 : Math.min(before.doublings + (hasReason ? 0 : 1), MOST_DOUBLINGS) })
    this.#confirmed = NOTHING_SEEN
  }

  /** Everything is placed anew. */
  clear(): void {
    this.#moved.clear()
    this.#confirmed = NOTHING_SEEN
  }

  /** How long a VNode stays after a move, in ms. */
  #holdMs(doublings: number): number {
    return this.#options.holdMs * (1 << doublings)
  }

  #isFree(vnode: string, nowMs: number): boolean {
    const moved = this.#moved.get(vnode)
    return !moved || nowMs - moved.atMs >= this.#holdMs(moved.doublings)
  }

  #isMeasured(look: Look): boolean {
    const own = look.demands.filter(({ vnode }) => followed(vnode) === undefined)
    return own.every(({ vnode, cost }) => cost === 0 || this.#knownOn(vnode, look.directory[vnode]?.pnode, look) !== undefined)
  }

  #worthMoving(look: Look): Rebalancing {
    const stages = look.members.map((member) => stageOf(member, look))
    const found = this.#followersFirst(stages, this.#works(look, true), MOVE_MS / Math.max(1, look.stepsLeft))
    if (found.moves.length === 0) return found
    return (this.#busy.get(look.directory[found.moves[0].vnode].pnode)?.all ?? 0) >= LEAST_LOAD ? found : NOTHING_MOVES
  }

  /** Nobody waits for a follower that moves: if that helps, the VNodes stay. */
  #followersFirst(stages: readonly Stage[], works: readonly Work[], leastSavedMs = 0): Rebalancing {
    const { leastGain, leastGainByFollowers } = this.#options
    const onlyFollowers = works.map((work) => ({ ...work, isFree: work.isFree && !work.isWaitedFor }))
    const found = worthMoving(stages, onlyFollowers, { leastGain: leastGainByFollowers, leastSavedMs })
    return found.moves.length > 0 ? found : worthMoving(stages, works, { leastGain, leastSavedMs })
  }

  /** Together with what the looks before have seen, if it was the same kind of moves. */
  #seen(moves: readonly Move[], gain: number): typeof NOTHING_SEEN {
    if (moves.length === 0) return NOTHING_SEEN
    const isOfFollowers = moves.every(({ vnode }) => followed(vnode) !== undefined)
    const before = this.#confirmed.isOfFollowers === isOfFollowers ? this.#confirmed : NOTHING_SEEN
    return { looks: before.looks + 1, gain: before.gain + gain, isOfFollowers }
  }

  /** Whoever is suspected for a while has not gone. */
  #greet({ members, nowMs, computeClass }: Look): void {
    const there = members.filter((member) => member.state !== 'lost' && (!computeClass || member.computeClass === computeClass))
    const pnodes = there
      .map(({ pnode }) => pnode)
      .toSorted()
      .join()
    if (pnodes !== this.#company.pnodes) this.#company = { pnodes, sinceMs: nowMs }
  }

  /** Averages over looks, so that one second says little. */
  #measure({ run, nowMs, members, directory, spent }: Look): void {
    const elapsedMs = nowMs - (this.#lookedAtMs ?? nowMs - this.#options.everyMs)
    this.#lookedAtMs = nowMs
    const own = new Map<string, number>()
    for (const [vnode, { busyMs, steps }] of spent) {
      const pnode = directory[vnode]?.pnode
      const gflops = members.find((member) => member.pnode === pnode)?.gflops
      if (pnode === undefined || gflops === undefined) continue
      own.set(pnode, (own.get(pnode) ?? 0) + busyMs / elapsedMs)
      const known = this.#known.get(vnode) ?? new Map<string, Known>()
      this.#known.set(vnode, known)
      const before = known.get(pnode)
      const isFresh = before && before.gflops === gflops && nowMs - before.atMs <= FRESH_MS
      const ms = average(isFresh ? before.ms : undefined, busyMs / steps)
      const leastMs = Math.min(ms, before?.gflops === gflops ? before.leastMs : Infinity)
      known.set(pnode, { ms, leastMs, gflops, atMs: nowMs })
      for (const [other, { atMs }] of known) if (nowMs - atMs > KNOWN_MS) known.delete(other)
    }
    for (const { pnode, busyShare, vnodes } of members) {
      const before = this.#busy.get(pnode)
      const isOurs = vnodes.every((vnode) => runOf(vnode) === run)
      const mine = own.get(pnode) ?? 0
      this.#busy.set(pnode, { own: average(before?.own, mine), all: average(before?.all, isOurs ? Math.max(mine, busyShare) : busyShare) })
    }
  }

  /** Undefined, too, if the PNode is gone, or rated otherwise meanwhile: one of the two ratings was wrong. */
  #knownOn(vnode: string, pnode: string | undefined, { nowMs, members }: Pick<Look, 'nowMs' | 'members'>): Known | undefined {
    const known = pnode === undefined ? undefined : this.#known.get(vnode)?.get(pnode)
    const gflops = members.find((member) => member.pnode === pnode)?.gflops
    if (!known || gflops === undefined || nowMs - known.atMs > KNOWN_MS) return undefined
    return Math.max(known.gflops, gflops) <= RATED_ALIKE * Math.min(known.gflops, gflops) ? known : undefined
  }

  /** What a step of a VNode needs, in ms at a rating of 1: the least that is known of it, wherever it was; undefined: nobody has measured it. */
  #leastOf(vnode: string, look: Look): number | undefined {
    const known = [...(this.#known.get(vnode)?.keys() ?? [])].flatMap((pnode) => this.#knownOn(vnode, pnode, look) ?? [])
    return known.length > 0 ? Math.min(...known.map(({ leastMs, gflops }) => leastMs * gflops)) : undefined
  }

  /** Costs and measured times are different units: all of the one, or all of the other. */
  #works(look: Look, isMeasured: boolean): Work[] {
    const { run, members, demands, directory, moving, nowMs } = look
    const speeds = new Map(members.map((member) => [member.pnode, speedOf(member)]))
    const tiers = new Map(members.map(({ pnode, tier }) => [pnode, tier]))
    const shares = new Map(members.map((member) => [member.pnode, this.#shareLeft(member, run)]))
    const slowness = this.#slowness(look)
    return demands.flatMap((demand): Work[] => {
      const { vnode, cost, memoryBytes, group } = demand
      const pnode = moving.get(vnode) ?? directory[vnode]?.pnode
      if (pnode === undefined) return []
      const own = vnodeOf(vnode)
      const isWaitedFor = vnode === own
      const leastMs = isMeasured ? this.#leastOf(own, look)! : 0
      const msOn = (to: string): number => {
        if (cost === 0) return 0
        const speed = speeds.get(to) ?? 1e-3
        const share = shares.get(to) ?? 1
        if (!isMeasured) return cost / speed / share
        // What a follower does is what its VNode does.
        const known = this.#knownOn(own, to, look)
        return (known ? known.ms * known.gflops : leastMs * (slowness.get(to) ?? 1)) / speed / share
      }
      // What is to be together moves only when it has to.
      const isFree = vnode !== SOURCE && group === undefined && this.#isFree(vnode, nowMs) && !(isWaitedFor && moving.size > 0)
      const apart = [own, ...followersOf({ directory }, own)].filter((id) => id !== vnode)
      // Until it moves, whom it follows is where it was.
      const leaving = moving.has(own) && !isWaitedFor ? directory[own]?.pnode : undefined
      const mayBeOn = (to: string) => to !== leaving && !isBelow(tiers.get(to), [demand])
      return [{ vnode, pnode, memoryBytes, group, isFree, isWaitedFor, msOn, mayBeOn, ...(apart.length > 0 && { apart }) }]
    })
  }

  /** By how much the VNodes that are on a PNode take longer there than they need: the mean of all. */
  #slowness(look: Look): Map<string, number> {
    const seen = new Map<string, number[]>()
    for (const { vnode } of look.demands) {
      const pnode = look.directory[vnode]?.pnode
      const known = this.#knownOn(vnode, pnode, look)
      if (known) seen.set(pnode, [...(seen.get(pnode) ?? []), (known.ms * known.gflops) / this.#leastOf(vnode, look)!])
    }
    return new Map([...seen].map(([pnode, each]) => [pnode, each.reduce((sum, one) => sum + one, 0) / each.length]))
  }

  /** What other runs leave us of a PNode: each run there has the same right to it. */
  #shareLeft({ pnode, vnodes }: Membership, run: string): number {
    const others = new Set(vnodes.filter((vnode) => runOf(vnode) !== run && !vnode.endsWith(`/${SOURCE}`)).map(runOf)).size
    const { all, own } = this.#busy.get(pnode) ?? { all: 1, own: 0 }
    return 1 - Math.min(Math.max(0, all - own), others / (others + 1))
  }
}

const runOf = (vnode: string): string => vnode.slice(0, vnode.indexOf('/'))

function average(before: number | undefined, now: number): number {
  return before === undefined ? now : before + SMOOTHING * (now - before)
}

function stageOf(
  { pnode, state, memoryBytes, maxVNodes, computeClass, allowsCode }: Membership,
  look: Pick<Look, 'computeClass' | 'code'>,
): Stage {
  const isOfClass = look.computeClass === undefined || computeClass === look.computeClass
  const isOpen = state === 'ready' && isOfClass && look.code.every((sha256) => !allowsCode || allowsCode.includes(sha256))
  return { pnode, isOpen, memoryBytes, ...(maxVNodes !== undefined && { maxVNodes }) }
}
