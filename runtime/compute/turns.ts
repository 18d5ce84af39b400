/**
 * Whose turn it is on a worker that computes for many machines, of several runs. Requests of one machine keep their order, whatever they
 * are, so that no choice made here can change a bit; which machine is next is free, and decided like this:
 *
 * 1. What others wait for and takes no time worth counting: loads, states, unloads. In the order asked.
 * 2. Of the steps, those of the run that has had the least time (start-time fair queueing, Goyal et al. 1996): runs share a worker equally,
 *    however long their steps are.
 * 3. Within a run training steps, then evaluations, then refinement: an output that others wait for goes before work that nobody waits for.
 *    What is put off is bounded, since whoever goes before runs out of inputs or of room.
 * 4. Then in the order asked.
 * 5. What an auditor does again is background work: it goes where nobody else has a step waiting, and else gets a third of the time that a run and it
 *    have together. Each audit by itself, so that whoever has many of them to do does them sooner.
 *
 * Times come from whoever executes; nothing is measured here, so equal times give equal orders.
 */
import type { ApplyOptions, ApplyRequest, RefineRequest } from './compute.js'

/** What a request is, the first of a run first. */
export const RANK = { control: 0, training: 1, evaluation: 2, refinement: 3 } as const
export type Rank = (typeof RANK)[keyof typeof RANK]

export interface Claim {
  /** Its requests are executed in the order asked; '': of no machine. */
  readonly machine: string
  readonly run: string
  readonly rank: Rank
  /** Steps of this machine are waited for by nobody's next step. Default false. */
  readonly isBackground?: boolean | undefined
}

/** Something whose turn has come. */
export interface Turn<T> {
  readonly item: T
  readonly claim: Claim
  /** What it was expected to take, in ms. */
  readonly chargedMs: number
}

interface Waiting<T> {
  readonly item: T
  readonly claim: Claim
  readonly order: number
}

/**
 * A run that had nothing to do keeps a claim to so much of the time that it has missed, in ms. Longer than the steps of most networks: a run
 * that is out of work for the moment between two steps loses nothing to one that is never. Short for a person: nobody saves up.
 */
export const MISSED_MS = 1_000

/** So many times what it took is a background step charged: it gets so much less than a run. It keeps no claim to time that it has missed. */
export const BACKGROUND_CHARGE = 2

export class Turns<T> {
  /** By machine, in the order asked. */
  readonly #lanes = new Map<string, Waiting<T>[]>()
  /** What each run, or machine with background work, was charged, in ms; a run that is missing `#now` less `MISSED_MS`. */
  readonly #served = new Map<string, number>()
  /** What the last turn of a machine took, by rank. */
  readonly #expected = new Map<string, number>()
  /** What whose turn was the last had been charged before it. */
  #now = 0
  #asked = 0
  #size = 0

  /** How many wait. */
  get size(): number {
    return this.#size
  }

  add(item: T, claim: Claim): void {
    const lane = this.#lanes.get(claim.machine)
    const waiting = { item, claim, order: this.#asked++ }
    if (lane) lane.push(waiting)
    else this.#lanes.set(claim.machine, [waiting])
    this.#size++
  }

  /** Takes the next one out. Its run is charged what such a turn took the last time, until `took` says what it did take. */
  take(): Turn<T> | undefined {
    const next = this.#next()
    if (!next) return undefined
    const { item, claim } = next
    this.#remove(claim.machine, 0)
    if (claim.rank === RANK.control) return { item, claim, chargedMs: 0 }
    this.#now = Math.max(this.#now, this.#servedOf(claim))
    const chargedMs = this.#expected.get(keyOf(claim)) ?? 0
    this.#charge(claim, chargedMs)
    return { item, claim, chargedMs }
  }

  /** A turn took so long, in ms ≥ 0. */
  took({ claim, chargedMs }: Turn<T>, ms: number): void {
    if (claim.rank === RANK.control) return
    this.#expected.set(keyOf(claim), ms)
    this.#charge(claim, ms - chargedMs)
  }

  /** A machine is gone: what its turns took is forgotten. What waits for it waits on. */
  forget(machine: string): void {
    for (const rank of Object.values(RANK)) this.#expected.delete(keyOf({ machine, rank }))
    const limit = this.#now - MISSED_MS
    for (const [run, served] of this.#served) if (served <= limit) this.#served.delete(run)
  }

  /** Whether it still waited. */
  delete(item: T): boolean {
    for (const [machine, lane] of this.#lanes) {
      const at = lane.findIndex((waiting) => waiting.item === item)
      if (at < 0) continue
      this.#remove(machine, at)
      return true
    }
    return false
  }

  /** Takes all out, in the order asked. */
  clear(): T[] {
    const all = [...this.#lanes.values()].flat().sort((a, b) => a.order - b.order)
    this.#lanes.clear()
    this.#size = 0
    return all.map(({ item }) => item)
  }

  #next(): Waiting<T> | undefined {
    let best: Waiting<T> | undefined
    for (const [first] of this.#lanes.values()) if (!best || this.#isBefore(first, best)) best = first
    return best
  }

  #isBefore(a: Waiting<T>, b: Waiting<T>): boolean {
    const [isControl, isOther] = [a.claim.rank === RANK.control, b.claim.rank === RANK.control]
    if (isControl !== isOther) return isControl
    if (!isControl && flowOf(a.claim) !== flowOf(b.claim)) {
      const [mine, others] = [this.#servedOf(a.claim), this.#servedOf(b.claim)]
      if (mine !== others) return mine < others
    } else if (a.claim.rank !== b.claim.rank) {
      return a.claim.rank < b.claim.rank
    }
    return a.order < b.order
  }

  #servedOf(claim: Claim): number {
    return Math.max(this.#served.get(flowOf(claim)) ?? -Infinity, claim.isBackground ? this.#now : this.#now - MISSED_MS)
  }

  #charge(claim: Claim, ms: number): void {
    this.#served.set(flowOf(claim), this.#servedOf(claim) + (claim.isBackground ? BACKGROUND_CHARGE * ms : ms))
  }

  #remove(machine: string, at: number): void {
    const lane = this.#lanes.get(machine)!
    lane.splice(at, 1)
    if (lane.length === 0) this.#lanes.delete(machine)
    this.#size--
  }
}

/** Whose time it is. */
const flowOf = ({ machine, run, isBackground }: Claim): string => (isBackground ? `background ${machine}` : run)
const keyOf = ({ machine, rank }: Pick<Claim, 'machine' | 'rank'>): string => `${rank} ${machine}`

/** Of a step that is not refinement. */
export const stepClaim = (machine: string, { evaluation, header }: ApplyRequest, { isBackground }: ApplyOptions = {}): Claim => ({
  machine,
  run: header.run,
  rank: evaluation > 0 ? RANK.evaluation : RANK.training,
  isBackground,
})

export const refinementClaim = (machine: string, { run }: RefineRequest, { isBackground }: ApplyOptions = {}): Claim => ({
  machine,
  run,
  rank: RANK.refinement,
  isBackground,
})
