/** What runs where, with the reason: pure functions of who is there and what is asked (M12). */
import { SOURCE, type TrainingDefinition, type VNodeDefinition } from '../../components/definition.js'
import { updatesAfter } from '../../components/refinement.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { nameRefusal } from './admission.js'
import { divide } from './divide.js'
import type { Calls, Decision, Demand, Membership } from '../calls.js'
import { isBelow, isNotTrusted, speedOf, Weighing } from './candidates.js'
import type { Division, Holder, Piece } from './division.js'
import type { Candidate } from '../events.js'
import { bringTogether, type Wish } from './neighbours.js'
import type { RunDefinition } from '../run/run-definition.js'

type Request = Calls['Placement']['place'][0]

/** What a PNode has already. */
export interface Load {
  readonly vnodes: number
  /** Multiply-adds of one step of each. */
  readonly cost: number
  readonly memoryBytes: number
}

const NOTHING: Load = { vnodes: 0, cost: 0, memoryBytes: 0 }

/**
 * Places what does not stay, so that the longest stage of the pipeline is short (`divide.ts`), and as much as that allows with what it reads
 * (`neighbours.ts`). What stays is not moved. A run has one compute class: the one that is asked for, or that of what stays, or the one with the shortest stages.
 * Ties go to the name, so that equal circumstances give equal placements.
 * @param others what each PNode has of other runs
 * @throws `placement.no-pnode` (retryable: somebody may join)
 */
export function place(members: readonly Membership[], request: Request, others: ReadonlyMap<string, Load> = new Map()): Decision[] {
  try {
    return placeAsAsked(members, request, others)
  } catch (error) {
    if (!isSwarmError(error, 'placement.no-pnode') || request.demands.every(({ at }) => at === undefined)) throw error
    // Where they were to go they may not go: then anywhere.
    return placeAsAsked(members, { ...request, demands: request.demands.map((demand) => ({ ...demand, at: undefined })) }, others)
  }
}

function placeAsAsked(members: readonly Membership[], request: Request, others: ReadonlyMap<string, Load>): Decision[] {
  const sorted = members.toSorted((a, b) => (a.pnode < b.pnode ? -1 : 1))
  const attempts = classesFor(sorted, request).map((computeClass) => new Assignment(sorted, { ...request, computeClass }, others))
  const [best] = attempts.toSorted((a, b) => a.longest - b.longest)
  return best.decisions()
}

/** The classes that may be tried, in order of names; undefined alone where nobody could be chosen anyway. */
function classesFor(members: readonly Membership[], { computeClass, staying, avoid }: Request): (string | undefined)[] {
  if (computeClass !== undefined) return [computeClass]
  const classes = new Map(members.map((member) => [member.pnode, member.computeClass]))
  // The source computes nothing: it may be anywhere.
  for (const vnode of Object.keys(staying).toSorted()) {
    const its = classes.get(staying[vnode])
    if (vnode !== SOURCE && its !== undefined) return [its]
  }
  const open = members.filter(({ state, pnode }) => state === 'ready' && !avoid.includes(pnode))
  const all = [...new Set(open.map((member) => member.computeClass))].toSorted()
  return all.length > 0 ? all : [undefined]
}

/** One request, worked out for one compute class. */
class Assignment {
  readonly #members: readonly Membership[]
  readonly #request: Request
  readonly #open: readonly Membership[]
  readonly #number: ReadonlyMap<string, number>
  /** The demands of each piece. */
  readonly #parts: readonly (readonly Demand[])[]
  readonly #division: Division
  readonly #missing: number | undefined
  readonly #weighing: Weighing

  constructor(members: readonly Membership[], request: Request, others: ReadonlyMap<string, Load>) {
    this.#members = members
    this.#request = request
    const refused = members.map((member) => [member, refusalOf(member, request)] as const)
    this.#open = refused.flatMap(([member, reason]) => (reason === undefined ? [member] : []))
    const closed = refused.flatMap(([{ pnode }, reason]): Candidate[] => (reason === undefined ? [] : [{ pnode, reason }]))
    this.#number = new Map(this.#open.map(({ pnode }, m) => [pnode, m]))
    const moving = request.demands.filter(({ vnode }) => !(vnode in request.staying)).toSorted((a, b) => (a.vnode < b.vnode ? -1 : 1))
    this.#parts = together(moving)
    const { load, holders } = this.#staying()
    const machines = this.#open.map((member) => {
      const { pnode, memoryBytes, maxVNodes = Infinity, owner } = member
      const [here, more] = [load.get(pnode) ?? NOTHING, others.get(pnode) ?? NOTHING]
      return {
        speed: speedOf(member),
        load: here.cost + more.cost,
        freeBytes: memoryBytes - here.memoryBytes - more.memoryBytes,
        freeSlots: maxVNodes - here.vnodes - more.vnodes,
        owner,
      }
    })
    const { division, missing } = divide(machines, this.#pieces(), holders)
    this.#division = division
    this.#missing = missing
    if (missing === undefined) bringTogether(division, this.#wishes())
    const othersCost = this.#open.map(({ pnode }) => others.get(pnode)?.cost ?? 0)
    const othersBytes = this.#open.map(({ pnode }) => others.get(pnode)?.memoryBytes ?? 0)
    this.#weighing = new Weighing({ division, open: this.#open, closed, othersCost, othersBytes })
  }

  /** The longest stage of what was placed; Infinity if something was not. */
  get longest(): number {
    if (this.#missing !== undefined) return Infinity
    const m = this.#division.longest()
    return m === -1 ? 0 : this.#division.time(m)
  }

  /** In the order of the demands. @throws `placement.no-pnode` */
  decisions(): Decision[] {
    if (this.#missing !== undefined) throw this.#noPNode(this.#missing)
    const decisions = new Map<string, Decision>()
    this.#parts.forEach((demands, p) => {
      const candidates = this.#weighing.candidatesOf(p, demands)
      const { pnode } = this.#open[this.#division.at[p]]
      for (const { vnode } of demands) decisions.set(vnode, { vnode, pnode, candidates })
    })
    return this.#request.demands.flatMap(({ vnode }) => decisions.get(vnode) ?? [])
  }

  /** What stays, by PNode, and where what is to be apart is. */
  #staying(): { readonly load: ReadonlyMap<string, Load>; readonly holders: ReadonlyMap<string, readonly Holder[]> } {
    const { demands, staying } = this.#request
    const owners = new Map(this.#members.map(({ pnode, owner }) => [pnode, owner]))
    const load = new Map<string, Load>()
    const holders = new Map<string, Holder[]>()
    for (const { vnode, cost, memoryBytes, spread } of demands) {
      if (!(vnode in staying)) continue
      const pnode = staying[vnode]
      const before = load.get(pnode) ?? NOTHING
      load.set(pnode, { vnodes: before.vnodes + 1, cost: before.cost + cost, memoryBytes: before.memoryBytes + memoryBytes })
      if (spread === undefined) continue
      holders.set(spread, [...(holders.get(spread) ?? []), { machine: this.#number.get(pnode) ?? -1, owner: owners.get(pnode) }])
    }
    return { load, holders }
  }

  #pieces(): Piece[] {
    const { demands, staying } = this.#request
    // Where the rest of a group is, its others go; of a group that is torn already, to the first by name.
    const homes = new Map<string, string>()
    const grouped = demands.filter(({ vnode, group }) => group !== undefined && vnode in staying)
    for (const { vnode, group = '' } of grouped.toSorted((a, b) => (a.vnode < b.vnode ? 1 : -1))) homes.set(group, staying[vnode])
    const shared = new Map<string, Uint8Array>()
    const allowedFor = (part: readonly Demand[]): Uint8Array => {
      const [{ group, at }] = part
      const home = group === undefined ? at : homes.get(group)
      const isForTrusted = part.some((demand) => demand.isForTrusted)
      const key = `${Math.min(...part.map(({ minTier = 3 }) => minTier))} ${isForTrusted} ${home ?? ''}`
      const allowed =
        shared.get(key) ??
        Uint8Array.from(this.#open, (member) => {
          const isRefused = isBelow(member.tier, part) || isNotTrusted(member, part)
          return !isRefused && (home === undefined || home === member.pnode) ? 1 : 0
        })
      shared.set(key, allowed)
      return allowed
    }
    return this.#parts.map((part) => ({
      cost: part.reduce((sum, { cost }) => sum + cost, 0),
      bytes: part.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
      slots: part.length,
      allowed: allowedFor(part),
      apart: part.flatMap(({ spread }) => spread ?? []),
    }))
  }

  #wishes(): Wish[] {
    const { staying } = this.#request
    const pieceOf = new Map(this.#parts.flatMap((part, p) => part.map(({ vnode }) => [vnode, p] as const)))
    return this.#parts.map((part) => {
      const near = part.map((demand) => demand.near).find((vnode) => vnode !== undefined)
      if (near === undefined) return undefined
      const piece = pieceOf.get(near)
      if (piece !== undefined) return { piece }
      const machine = this.#number.get(staying[near])
      return machine === undefined ? undefined : { machine }
    })
  }

  #noPNode(p: number): SwarmError {
    const demands = this.#parts[p]
    const candidates = this.#weighing.candidatesOf(p, demands)
    const all = candidates.map(({ pnode, more, reason }) => `${pnode}${more === undefined ? '' : ` and ${more} more`}: ${reason}`)
    return new SwarmError('placement.no-pnode', {
      what: `no PNode for ${demands.map(({ vnode }) => vnode).join(', ')}`,
      got: all.length === 0 ? 'no PNodes' : all.join('; '),
      retryable: true,
    })
  }
}

/** Demands of one group as one, any other by itself, in the order of the first of each. */
function together(demands: readonly Demand[]): Demand[][] {
  const parts: Demand[][] = []
  const groups = new Map<string, Demand[]>()
  for (const demand of demands) {
    const { group } = demand
    const part = group === undefined ? undefined : groups.get(group)
    if (part) part.push(demand)
    else parts.push([demand])
    if (group !== undefined && !part) groups.set(group, parts.at(-1)!)
  }
  return parts
}

/** Why a PNode gets nothing of this request, whatever it asks for. */
function refusalOf(member: Membership, { avoid, computeClass, code }: Request): string | undefined {
  // Without figures: what is true of many is said once.
  if (member.state === 'observer' && member.refusal) return `it is an observer: ${nameRefusal(member.refusal)}`
  if (member.state === 'quarantined') return 'it is in quarantine'
  if (member.state !== 'ready') return `it is ${member.state}`
  if (avoid.includes(member.pnode)) return 'it has just been lost, or was convicted'
  if (computeClass !== undefined && member.computeClass !== computeClass) return `its compute class is ${member.computeClass}`
  const refused = code.find((sha256) => member.allowsCode && !member.allowsCode.includes(sha256))
  return refused === undefined ? undefined : `its owner does not allow the code ${refused.slice(0, 12)}…`
}

/** What the source needs: the data, in memory, and to be near its first reader. It computes nothing worth counting. */
export function demandOfSource({ data, network: { input, vnodes } }: RunDefinition): Demand {
  const samples = Object.values(data.splits).reduce((sum, shards) => sum + (shards ?? []).reduce((all, shard) => all + shard.samples, 0), 0)
  const near = vnodes.find(({ inputs }) => inputs.includes(SOURCE))?.id
  return { vnode: SOURCE, cost: 0, memoryBytes: samples * 4 * (input.reduce((a, b) => a * b, 1) + 1), near }
}

/**
 * What a VNode needs: its work per step, with its refinement; its state, with the optimizer's two moments and the inputs that it keeps (to learn from
 * them again, or until derivatives come back), twice at a cut; and to be near the first that it reads.
 */
export function demandOf(vnode: VNodeDefinition, { batchSize, refinement }: Pick<TrainingDefinition, 'batchSize' | 'refinement'>): Demand {
  const { id, cost, parameters, outputShape, inputShapes, inputs, hasHead, feedback } = vnode
  const bytesOf = (shape: readonly number[]) => 4 * batchSize * shape.reduce((a, b) => a * b, 1)
  const keeps = hasHead ? (refinement?.inputs ?? 0) : (feedback?.window ?? 0)
  const kept = keeps * inputShapes.reduce((sum, shape) => sum + bytesOf(shape), 0)
  const updates = updatesAfter(Infinity, vnode, refinement)
  const near = inputs.find((input) => input !== SOURCE)
  return {
    vnode: id,
    cost: cost * batchSize * (1 + updates),
    memoryBytes: parameters * 4 * 3 * 2 + kept * 2 + bytesOf(outputShape) * 8,
    ...(near !== undefined && { near }),
  }
}
