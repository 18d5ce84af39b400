/** The run's log as a function: which batch stands at which position. Decided by the definition alone, so that a restarted source emits the same. */
import { SwarmError } from './errors.js'
import { MARK } from './frame.js'
import type { Entry } from './step-log.js'

/** Counts that follow from the definition. */
export interface TimetableOptions {
  readonly epochs: number
  /** Training batches in an epoch. */
  readonly stepsPerEpoch: number
  /** Evaluation batches after each epoch but the last; 0: no evaluation then. */
  readonly evaluationBatches: number
  /** Evaluation batches after the last epoch. */
  readonly finalBatches: number
}

export class Timetable {
  readonly totalSteps: number
  readonly totalPositions: number
  readonly #options: TimetableOptions
  readonly #perEpoch: number

  constructor(options: TimetableOptions) {
    const { epochs, stepsPerEpoch, evaluationBatches, finalBatches } = options
    this.#options = options
    this.#perEpoch = stepsPerEpoch + evaluationBatches
    this.totalSteps = epochs * stepsPerEpoch
    this.totalPositions = this.totalSteps + (epochs - 1) * evaluationBatches + finalBatches
  }

  /** The entry at a position in 1 … totalPositions; marks are those that the definition gives: cut and end on the last step, evaluate on a step that is followed by an evaluation, and on that evaluation's last batch. */
  at(position: number): Entry {
    if (!Number.isInteger(position) || position < 1 || position > this.totalPositions)
      throw new SwarmError('internal', `no position ${position} of ${this.totalPositions}`)
    const { epochs, stepsPerEpoch, evaluationBatches, finalBatches } = this.#options
    const epoch = Math.min(Math.floor((position - 1) / this.#perEpoch), epochs - 1)
    const place = position - epoch * this.#perEpoch
    const isLastEpoch = epoch === epochs - 1
    if (place > stepsPerEpoch) {
      const evaluation = place - stepsPerEpoch
      const isLast = evaluation === (isLastEpoch ? finalBatches : evaluationBatches)
      return { position, step: (epoch + 1) * stepsPerEpoch, evaluation, marks: isLast ? MARK.evaluate : 0 }
    }
    let marks = 0
    if (place === stepsPerEpoch) {
      if (isLastEpoch) marks |= MARK.end | MARK.cut
      if (isLastEpoch ? finalBatches : evaluationBatches) marks |= MARK.evaluate
    }
    return { position, step: epoch * stepsPerEpoch + place, evaluation: 0, marks }
  }

  /** Position of a training step, from 1; 0 for step 0. */
  positionOf(step: number): number {
    if (step === 0) return 0
    return step + Math.floor((step - 1) / this.#options.stepsPerEpoch) * this.#options.evaluationBatches
  }

  /** The epoch, from 1, that a step belongs to. */
  epochOf(step: number): number {
    return Math.max(1, Math.ceil(step / this.#options.stepsPerEpoch))
  }

  /** How many evaluation batches follow a step. */
  evaluationsAfter(step: number): number {
    const { stepsPerEpoch, evaluationBatches, finalBatches } = this.#options
    if (step === 0 || step % stepsPerEpoch !== 0) return 0
    return step === this.totalSteps ? finalBatches : evaluationBatches
  }
}
