/** How long a step of a VNode may take before its worker counts as stuck: from how long its steps take. */

/** A step that takes so many times as long as the longest before it is not slow any more. */
const FACTOR = 30
/** Short steps may wait for much else on a busy machine, in ms. */
const LEAST_MS = 10_000

export class StepDeadline {
  #longestMs = 0

  /** A step took so long. */
  took(ms: number): void {
    this.#longestMs = Math.max(this.#longestMs, ms)
  }

  /** In ms; undefined as long as nothing is known: the compute's own, which the first step needs for all that is done once. */
  get ms(): number | undefined {
    return this.#longestMs === 0 ? undefined : Math.max(LEAST_MS, FACTOR * this.#longestMs)
  }
}
