/**
 * Whose turn it is on a worker that computes for many machines, of several runs. Requests of one machine keep their order, whatever they
 * are, so that no choice made here can change a bit; which machine is next is free, and decided like this:
 *
 * 1. What others wait for and takes no time worth counting: loads, states, unloads. In the order asked.
 * 2. Of the steps, those of the run that has had the least time (start-time fair queueing, Goyal et al. 1996): runs share a worker equally,
 *    however long their steps are.
 * 3. Of a run's time background work, what an auditor does again, has a share of its own, as much for each audit as for all other steps of the run, however
 *    many of its steps are asked for at once. Where the run has nothing else to do here, audits get all of it.
 * 4. Of those others training steps, then evaluations, then refinement: an output that others wait for goes before work that nobody waits for.
 *    What is put off is bounded, since whoever goes before runs out of inputs or of room.
 * 5. Then in the order asked.
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
  /** It does again what was done. Of a machine all steps or none. Default false. */
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

/** Who have had the least of something that they share (start-time fair queueing). */
class Shares {
  /** What each was charged, in ms. */
  readonly #charged = new Map<string, number>()
  /** What whoever was the last to get something had been charged before. */
  #now = 0

  /** @param missedMs so much of what it has missed it keeps a claim to */
  of(who: string, missedMs: number): number {
    return Math.max(this.#charged.get(who) ?? -Infinity, this.#now - missedMs)
  }

  begin(who: string, missedMs: number): void {
    this.#now = Math.max(this.#now, this.of(who, missedMs))
  }

  charge(who: string, ms: number, missedMs: number): void {
    this.#charged.set(who, this.of(who, missedMs) + ms)
  }

  has(who: string): boolean {
    return this.#charged.has(who)
  }

  /** Who have missed all that they could keep a claim to are as good as new. */
  forget(missedMs: number): void {
    for (const [who, charged] of this.#charged) if (charged <= this.#now - missedMs) this.#charged.delete(who)
  }

  remove(who: string): void {
    this.#charged.delete(who)
  }
}

export class Turns<T> {
  /** By machine, in the order asked. */
  readonly #lanes = new Map<string, Waiting<T>[]>()
  /** Of the worker, by run. */
  readonly #runs = new Shares()
  /** Of each run's time, by machine with background work; '' is all the rest. */
  readonly #within = new Map<string, Shares>()
  /** What the last turn of a machine took, by rank. */
  readonly #expected = new Map<string, number>()
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

  /**
   * Takes the next one out. Its run is charged what such a turn took the last time, until `took` says what it did take.
   * @param underWay turns that have not ended: a run that has one may ask for its next step as soon as that has, so background work does not take its place before
   */
  take(underWay: readonly Pick<Turn<T>, 'claim'>[] = []): Turn<T> | undefined {
    const next = this.#next(underWay)
    if (!next) return undefined
    const { item, claim } = next
    this.#remove(claim.machine, 0)
    if (claim.rank === RANK.control) return { item, claim, chargedMs: 0 }
    this.#runs.begin(claim.run, MISSED_MS)
    this.#ofRun(claim.run).begin(partOf(claim), missedBy(claim))
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
    this.#runs.forget(MISSED_MS)
    for (const [run, parts] of this.#within) {
      parts.remove(machine)
      if (!this.#runs.has(run)) this.#within.delete(run)
    }
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

  #next(underWay: readonly Pick<Turn<T>, 'claim'>[]): Waiting<T> | undefined {
    let best: Waiting<T> | undefined
    for (const [first] of this.#lanes.values())
      if (!this.#isPutOff(first.claim, underWay) && (!best || this.#isBefore(first, best))) best = first
    return best
  }

  #isPutOff(claim: Claim, underWay: readonly Pick<Turn<T>, 'claim'>[]): boolean {
    if (!isInBackground(claim)) return false
    const other = underWay.find((turn) => turn.claim.run === claim.run && turn.claim.rank !== RANK.control && !isInBackground(turn.claim))
    return other !== undefined && this.#partOf(other.claim) <= this.#partOf(claim)
  }

  #isBefore(a: Waiting<T>, b: Waiting<T>): boolean {
    const [isControl, isOther] = [a.claim.rank === RANK.control, b.claim.rank === RANK.control]
    if (isControl !== isOther) return isControl
    if (!isControl && a.claim.run !== b.claim.run) {
      const [mine, others] = [a, b].map(({ claim }) => this.#runs.of(claim.run, MISSED_MS))
      if (mine !== others) return mine < others
    } else if (partOf(a.claim) !== partOf(b.claim)) {
      const [mine, others] = [this.#partOf(a.claim), this.#partOf(b.claim)]
      if (mine !== others) return mine < others
    } else if (a.claim.rank !== b.claim.rank) {
      return a.claim.rank < b.claim.rank
    }
    return a.order < b.order
  }

  #partOf(claim: Claim): number {
    return this.#ofRun(claim.run).of(partOf(claim), missedBy(claim))
  }

  #ofRun(run: string): Shares {
    const known = this.#within.get(run) ?? new Shares()
    this.#within.set(run, known)
    return known
  }

  #charge(claim: Claim, ms: number): void {
    this.#runs.charge(claim.run, ms, MISSED_MS)
    this.#ofRun(claim.run).charge(partOf(claim), ms, missedBy(claim))
  }

  #remove(machine: string, at: number): void {
    const lane = this.#lanes.get(machine)!
    lane.splice(at, 1)
    if (lane.length === 0) this.#lanes.delete(machine)
    this.#size--
  }
}

const isInBackground = ({ rank, isBackground = false }: Claim): boolean => isBackground && rank !== RANK.control
/** Which part of its run it is. */
const partOf = (claim: Claim): string => (isInBackground(claim) ? claim.machine : '')
/** An audit keeps no claim: it begins, and others go on. */
const missedBy = (claim: Claim): number => (isInBackground(claim) ? 0 : MISSED_MS)
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
