/**
 * How large the tensors of one edge are, learnt from those that were accepted: what is far outside is odd. It decides no bits and is no part of any state.
 */

/** What is allowed, and what was measured for it: docs/trust.md. */
export const ENVELOPE = {
  /** Frames that are accepted as they come, until there is something to compare with. */
  warmUp: 16,
  /** Weight of the newest frame in the average: it follows a run that warms up. */
  weight: 1 / 8,
  /** An output may be so many times as large as the average, or as small. */
  outputs: 32,
  /** Derivatives may be so many times as large. They may be as small as they like: where a batch is learnt they vanish. */
  feedback: 10_000,
} as const

export class NormEnvelope {
  readonly #factor: number
  readonly #isTwoSided: boolean
  #count = 0
  #average = 0

  constructor(kind: 'outputs' | 'feedback') {
    this.#factor = ENVELOPE[kind]
    this.#isTwoSided = kind === 'outputs'
  }

  /** Whether a root mean square is one that may be expected. */
  admits(norm: number): boolean {
    if (this.#count < ENVELOPE.warmUp) return true
    return norm <= this.#average * this.#factor && (!this.#isTwoSided || norm * this.#factor >= this.#average)
  }

  /** Learns from one that was accepted. Nothing at all says nothing about the next. */
  learn(norm: number): void {
    if (norm === 0) return
    this.#count++
    this.#average += (norm - this.#average) * Math.max(1 / this.#count, ENVELOPE.weight)
  }

  /** Begins anew: the producer has insisted on what was odd, so what was learnt is not what it makes now. */
  restart(): void {
    this.#count = 0
    this.#average = 0
  }
}
