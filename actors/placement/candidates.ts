/** Why a VNode goes where it goes: the best candidates with their scores, and the refusals, counted by reason. */
import type { Demand, Membership } from '../calls.js'
import { type Division, REFUSAL, type Refusal } from './division.js'
import type { Candidate } from '../events.js'

/** Up to so many PNodes each is named. */
const MAX_NAMED = 8
/** Of more, so many of the best: a placement of thousands of VNodes is an event of each. */
const BEST = 3
const REASONS = Object.values(REFUSAL)

export interface WeighingOptions {
  readonly division: Division
  /** PNodes that could be chosen; by number as in the division. */
  readonly open: readonly Membership[]
  /** PNodes that get nothing, and why. */
  readonly closed: readonly Candidate[]
  /** Cost of other runs on those that are open. */
  readonly othersCost: readonly number[]
  /** What other runs have of the memory of those that are open. */
  readonly othersBytes: readonly number[]
}

export class Weighing {
  readonly #division: Division
  readonly #open: readonly Membership[]
  readonly #closed: readonly Candidate[]
  readonly #othersCost: readonly number[]
  readonly #othersBytes: readonly number[]
  readonly #isFew: boolean

  constructor({ division, open, closed, othersCost, othersBytes }: WeighingOptions) {
    this.#division = division
    this.#open = open
    this.#othersCost = othersCost
    this.#othersBytes = othersBytes
    this.#isFew = open.length + closed.length <= MAX_NAMED
    this.#closed = this.#isFew ? closed : countByReason(closed)
  }

  /** What there is for a piece, everything else being where it is: in order of names if there are few PNodes, else the best first. */
  candidatesOf(p: number, demands: readonly Demand[]): readonly Candidate[] {
    const home = this.#division.at[p]
    if (home !== -1) this.#division.take(p)
    const eligible = this.#isFew ? this.#each(p, demands) : this.#summary(p, demands, home)
    if (home !== -1) this.#division.put(p, home)
    const all = [...eligible, ...this.#closed]
    return this.#isFew ? all.sort((a, b) => (a.pnode < b.pnode ? -1 : 1)) : all
  }

  #each(p: number, demands: readonly Demand[]): Candidate[] {
    return this.#open.map((_, m) => {
      const refusal = this.#division.refusal(p, m)
      return refusal === REFUSAL.none ? this.#score(p, m) : this.#refuse(p, m, refusal, demands)
    })
  }

  /** The best, home among them; then one of the others, and one for each reason, each for all that it is true of. */
  #summary(p: number, demands: readonly Demand[], home: number): Candidate[] {
    const division = this.#division
    const { cost } = division.pieces[p]
    const refusals = division.refusals(p)
    const times = division.times(cost)
    const counts = new Int32Array(REASONS.length)
    const best: number[] = home === -1 ? [] : [home]
    let longest = Infinity
    for (let m = 0; m < refusals.length; m++) {
      counts[refusals[m]]++
      if (refusals[m] !== REFUSAL.none || m === home) continue
      if (best.length === BEST && times[m] >= longest) continue
      rankIn(best, m, times, home)
      longest = times[best.at(-1)!]
    }
    const all = best.map((m) => this.#score(p, m))
    const others = counts[REFUSAL.none] - best.length
    if (others > 0) {
      const reason = `at least ${all.at(-1)!.score!.toFixed(2)} ms a step`
      const first = refusals.findIndex((refusal, m) => refusal === REFUSAL.none && !best.includes(m))
      all.push({ pnode: this.#open[first].pnode, reason, ...(others > 1 && { more: others - 1 }) })
    }
    for (const refusal of REASONS) {
      if (refusal === REFUSAL.none || counts[refusal] === 0) continue
      const first = this.#refuse(p, refusals.indexOf(refusal), refusal, demands)
      all.push(counts[refusal] > 1 ? { ...first, more: counts[refusal] - 1 } : first)
    }
    return all
  }

  #score(p: number, m: number): Candidate {
    const { cost, bytes } = this.#division.pieces[p]
    const member = this.#open[m]
    const { pnode, gflops, worth, memoryBytes } = member
    const score = msPerStep(this.#division.load(m) + cost, member)
    const othersMs = msPerStep(this.#othersCost[m], member)
    const others = othersMs > 0 ? `, ${othersMs.toFixed(2)} ms of it for other runs` : ''
    const counted = worth === undefined ? '' : `, of which ${(worth * 100).toFixed(0)} % count for its reputation`
    const used = toMB(memoryBytes - this.#division.freeBytes(m) + bytes)
    return { pnode, score, reason: `${score.toFixed(2)} ms a step with ${gflops.toFixed(0)} GFLOP/s${counted} and ${used} MB${others}` }
  }

  #refuse(p: number, m: number, refusal: Refusal, demands: readonly Demand[]): Candidate {
    const { pnode, maxVNodes, memoryBytes, tier } = this.#open[m]
    const { bytes } = this.#division.pieces[p]
    const [{ group, spread }] = demands
    const others = this.#othersBytes[m] > 0 ? `, of which other runs have ${toMB(this.#othersBytes[m])} MB` : ''
    const reasons = {
      [REFUSAL.none]: '',
      [REFUSAL.allowed]: isBelow(tier, demands) ? `it is of tier ${tier}` : elsewhere(group),
      [REFUSAL.slots]: `its owner allows ${maxVNodes} VNodes`,
      [REFUSAL.bytes]: `${toMB(bytes)} MB more than its ${toMB(memoryBytes)} MB allow${others}`,
      [REFUSAL.apart]: `it has another of '${spread}'`,
    }
    return { pnode, reason: reasons[refusal] }
  }
}

const elsewhere = (group: string | undefined): string =>
  group === undefined ? 'another one is to have it' : `the rest of the group '${group}' is elsewhere`

/** Puts a machine among the best, by time; what is at home stays first. */
function rankIn(best: number[], m: number, times: Float64Array, home: number): void {
  const before = best.findIndex((other) => other !== home && times[m] < times[other])
  best.splice(before === -1 ? best.length : before, 0, m)
  if (best.length > BEST) best.pop()
}

/** Whether a PNode of this tier is not good enough for all demands. One that has not been rated is good enough. */
export function isBelow(tier: Membership['tier'], demands: readonly Demand[]): boolean {
  return tier !== undefined && demands.some(({ minTier = 3 }) => tier > minTier)
}

/** Whether any of them is for PNodes whose word settles disputes, and this is none. */
export function isNotTrusted({ isTrusted }: Pick<Membership, 'isTrusted'>, demands: readonly Demand[]): boolean {
  return isTrusted !== true && demands.some(({ isForTrusted }) => isForTrusted === true)
}

/** One of each reason, with the number of the others. */
function countByReason(candidates: readonly Candidate[]): Candidate[] {
  const byReason = new Map<string, Candidate>()
  for (const candidate of candidates) {
    const first = byReason.get(candidate.reason)
    byReason.set(candidate.reason, first ? { ...first, more: (first.more ?? 0) + 1 } : candidate)
  }
  return [...byReason.values()]
}

/** Milliseconds per step, if it does two flops per multiply-add for the forward and two passes for the gradients. */
function msPerStep(cost: number, member: Membership): number {
  return (cost * 6) / (speedOf(member) * 1e6)
}

/** As it counts when work is divided. A PNode without a measured speed is a last resort, not an error. */
export const speedOf = ({ gflops, worth = 1 }: Pick<Membership, 'gflops' | 'worth'>): number => Math.max(gflops, 1e-3) * worth

const toMB = (bytes: number): string => (bytes / 1e6).toFixed(1)
