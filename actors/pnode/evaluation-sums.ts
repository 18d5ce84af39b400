/** What the head of one VNode answers over the evaluation batches after a step, added up. */
import { MARK } from '../../runtime/frame.js'
import type { Entry } from '../../runtime/step-log.js'
import type { Evaluated } from '../reports.js'

export class EvaluationSums {
  readonly #hasHead: boolean
  #sums: { [name: string]: number } = {}

  constructor(hasHead: boolean) {
    this.#hasHead = hasHead
  }

  /**
   * Adds one batch.
   * @param metrics none if the batch was skipped: then it has no samples
   * @returns the sums, after the last batch
   */
  add({ evaluation, marks }: Entry, metrics: { readonly [name: string]: number }): Evaluated['sums'] | undefined {
    if (evaluation === 1) this.#sums = this.#hasHead ? { count: 0 } : {}
    for (const [name, value] of Object.entries(metrics)) {
      // Metrics of a batch are means, except for counts: weighted by their samples they add up.
      const isSum = name === 'count' || name === 'correct'
      this.#sums[name] = (this.#sums[name] ?? 0) + (isSum ? value : value * metrics.count)
    }
    return marks & MARK.evaluate && Object.keys(this.#sums).length > 0 ? this.#sums : undefined
  }
}
