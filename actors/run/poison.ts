/** Tells a step that fails wherever it is tried from a host that fails (PROTOCOL.md rule 15): the first must not be tried for ever. */
import type { ErrorCode, ErrorRecord } from '../../runtime/errors.js'
import type { Failure } from '../reports.js'

/** How long a step is tried. */
export interface PoisonLimits {
  /** How often one host may fail at a step before it counts as poison, where no second host is eligible: 1 to 100. Default 5. */
  readonly maxDeliveryAttempts: number
  /** Dead letters that a run may have, 0 to 1,000: more are not bad batches but a bug. Default 10. */
  readonly maxDeadLetters: number
}

/** 5 as the field has it; 10 bad batches are many in any data set, and few enough to be looked at one by one. */
export const DEFAULT_POISON_LIMITS: PoisonLimits = { maxDeliveryAttempts: 5, maxDeadLetters: 10 }

/** One worker's failure at a step. */
export interface Attempt {
  readonly pnode: string
  readonly term: number
  readonly error: ErrorRecord
  readonly isHasty?: boolean
}

/** What follows from a failure. */
export type Verdict =
  | { readonly type: 'move' }
  | { readonly type: 'fail' }
  /** The step is poison; `attempts` are all that were made at it. */
  | { readonly type: 'skip'; readonly attempts: readonly Attempt[] }

/** Attempts at one step that are remembered: more than any limit. */
const MAX_REMEMBERED = 300

/** Errors of a step that may be the step's own fault or its host's. Those of its definition, and broken invariants, are not. */
export const SUSPICIOUS: ReadonlySet<ErrorCode> = new Set(['compute.failed', 'compute.hung', 'compute.lost'])

export class Poison {
  readonly #nonFinite: 'stop' | 'skip'
  readonly #limits: () => Promise<PoisonLimits>
  /** At the newest step of each VNode that has failed. */
  readonly #failed = new Map<string, { readonly position: number; readonly attempts: Attempt[] }>()

  /** @param nonFinite what becomes of a step whose loss is not finite */
  constructor(nonFinite: 'stop' | 'skip', limits: () => Promise<PoisonLimits>) {
    this.#nonFinite = nonFinite
    this.#limits = limits
  }

  /**
   * Counts a failure, once for each term however often it is told.
   * @param pnode where it happened
   * @param hasOther whether the VNode could go to another one now
   */
  async judge({ vnode, term, error, entry, isHasty }: Failure, pnode: string, hasOther: () => Promise<boolean>): Promise<Verdict> {
    const otherwise: Verdict = { type: error.retryable ? 'move' : 'fail' }
    if (!entry) return otherwise
    const attempt: Attempt = { pnode, term, error, ...(isHasty && { isHasty }) }
    // A function of state and input: it would be the same everywhere.
    if (error.code === 'run.diverged') return this.#nonFinite === 'skip' ? { type: 'skip', attempts: [attempt] } : otherwise
    if (!SUSPICIOUS.has(error.code)) return otherwise
    const before = this.#failed.get(vnode)
    const attempts = before?.position === entry.position ? before.attempts : []
    this.#failed.set(vnode, { position: entry.position, attempts })
    if (!attempts.some((other) => other.term === term)) attempts.push(attempt)
    const { maxDeliveryAttempts } = await this.#limits()
    const same = attempts.filter((other) => other.error.code === error.code)
    const patient = same.filter((other) => !other.isHasty)
    const isElsewhere = patient.some((other) => patient.some(({ pnode: here }) => other.pnode !== here))
    // Machines may be slow for a while: that it hangs is believed after as many attempts as there may be, on more than one of them.
    const isStuck = same.length >= maxDeliveryAttempts && same.some((other) => other.pnode !== pnode)
    // One bad host must not condemn a step, as long as there is another.
    const isPoison = isElsewhere || isStuck || (same.length >= maxDeliveryAttempts && !(await hasOther()))
    // What one host has done over and over says no more than its newest attempts.
    attempts.splice(0, attempts.length - MAX_REMEMBERED)
    return isPoison ? { type: 'skip', attempts } : { type: 'move' }
  }
}
