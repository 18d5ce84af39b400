/** How much may go out in a time: a bucket that fills at a rate, and may be overdrawn by one portion. */
import type { Clock } from './clock.js'

/** What may go out at once after a rest, as a time at the full rate, in ms: short enough that a router's queue does not notice. */
const BURST_MS = 250

export class RateLimit {
  readonly #bytesPerMs: number
  readonly #clock: Clock
  /** When all that was reserved has gone out, at this rate. */
  #paidUntilMs = -Infinity

  /** @param bytesPerSecond above 0 */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerMs = bytesPerSecond / 1000
    this.#clock = clock
  }

  /**
   * Takes a portion of any size; answers in how many ms it may go out: when the portions before it have been paid for. So the rate holds on
   * average, and a portion that is larger than any burst goes out whole.
   */
  reserve(sizeBytes: number): number {
    const nowMs = this.#clock.now()
    const fromMs = Math.max(this.#paidUntilMs, nowMs - BURST_MS)
    this.#paidUntilMs = fromMs + sizeBytes / this.#bytesPerMs
    return Math.max(0, fromMs - nowMs)
  }
}
