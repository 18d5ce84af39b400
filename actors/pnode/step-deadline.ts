/** How long the steps of a VNode take, and how long one may take before its worker counts as stuck. */
import { type Entry, isTraining } from '../../runtime/step-log.js'

/** A step that takes so many times as long as the longest before it is not slow any more. */
const FACTOR = 30
/** Short steps may wait for much else on a busy machine, in ms. */
const LEAST_MS = 10_000

export class StepDeadline {
  #longestMs = 0
  #drainedMs = 0

  /** A step took so long. */
  took(ms: number): void {
    this.#longestMs = Math.max(this.#longestMs, ms)
  }

  /** What an entry says of a step's time: that of a batch has what was learnt in the drains since the one before. In ms. */
  ofStep(entry: Entry, ms: number): number {
    if (entry.evaluation > 0) return ms
    const all = this.#drainedMs + ms
    this.#drainedMs = isTraining(entry) ? 0 : all
    return all
  }

  /** In ms; undefined as long as nothing is known: the compute's own, which the first step needs for all that is done once. */
  get ms(): number | undefined {
    return this.#longestMs === 0 ? undefined : Math.max(LEAST_MS, FACTOR * this.#longestMs)
  }
}
