/** How long somebody who audits a segment may take for it, and how long there has been nobody. */
import type { Manifest, SegmentRef } from '../../runtime/head.js'

/** How much longer than the run for a segment somebody may take for it; and at most so many times as long as anybody is waited for. */
const [SLOWER, MOST_PATIENCE] = [4, 2.5]

export class AuditPace {
  readonly #patienceMs: number
  /** When the newest manifest came, and how long a step of the run takes at its best, in ms. */
  #pace: { readonly atMs: number; readonly stepMs: number } | undefined

  /** Since when there has been nobody who could be asked, by who could not. */
  readonly #nobody = new Map<string, number>()

  /** @param patienceMs how long anybody is waited for */
  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs
  }

  clear(): void {
    this.#pace = undefined
    this.forgetNobody()
  }

  /** Whether there is anybody is not known. */
  forgetNobody(): void {
    this.#nobody.clear()
  }

  /** A checkpoint is complete. @param before the one before it; undefined: the seed */
  opened({ step }: Manifest, before: Manifest | undefined, atMs: number): void {
    const stepMs = this.#pace && (atMs - this.#pace.atMs) / (step - (before?.step ?? 0))
    this.#pace = { atMs, stepMs: Math.min(stepMs ?? 0, this.#pace?.stepMs || Infinity) }
  }

  /** Whoever does in addition what others do needs more time than they, in ms. */
  patienceMs({ from, to }: SegmentRef): number {
    const stepMs = this.#pace?.stepMs ?? 0
    return Math.min(Math.max(this.#patienceMs / 2, SLOWER * stepMs * (to - from)), MOST_PATIENCE * this.#patienceMs)
  }

  /**
   * Since when there has been nobody in the whole cluster who could be asked, not even somebody who is lost: nobody is waited for anew for each segment.
   * @param of what is asked, and who cannot be
   */
  nobodySinceMs(of: readonly (string | boolean)[], isAnybody: boolean, now: number): number | undefined {
    const key = JSON.stringify(of)
    if (isAnybody) this.#nobody.delete(key)
    else if (!this.#nobody.has(key)) this.#nobody.set(key, now)
    return this.#nobody.get(key)
  }
}
