/** The run's log as a function: which batch stands at which position. Decided by the definition alone, so that a restarted source emits the same. */
import { SwarmError } from './errors.js'
import { MARK } from './frame.js'
import type { Entry } from './step-log.js'

/** Counts that follow from the definition. */
export interface TimetableOptions {
  readonly epochs: number
  /** Training batches in an epoch. */
  readonly stepsPerEpoch: number
  /** Entries without a batch behind each training batch, in which feedback comes back. Absent: 0. */
  readonly drains?: number
  /** So many instead behind the last batch of an epoch: at least `drains`, and all that it takes until nothing is on its way back. Absent: `drains`. */
  readonly epochDrains?: number
  /** Evaluation batches after each epoch but the last; 0: no evaluation then. */
  readonly evaluationBatches: number
  /** Evaluation batches after the last epoch. */
  readonly finalBatches: number
}

export class Timetable {
  readonly totalSteps: number
  readonly totalPositions: number
  readonly #options: TimetableOptions
  /** Positions of a training step, and of all of an epoch. */
  readonly #perStep: number
  readonly #trainingPositions: number
  readonly #perEpoch: number

  constructor(options: TimetableOptions) {
    const { epochs, stepsPerEpoch, drains = 0, epochDrains = drains, evaluationBatches, finalBatches } = options
    this.#options = options
    this.#perStep = 1 + drains
    this.#trainingPositions = stepsPerEpoch * this.#perStep + epochDrains - drains
    this.#perEpoch = this.#trainingPositions + evaluationBatches
    this.totalSteps = epochs * stepsPerEpoch
    this.totalPositions = epochs * this.#trainingPositions + (epochs - 1) * evaluationBatches + finalBatches
  }

  /**
   * The entry at a position in 1 … totalPositions; marks are those that the definition gives: drain; cut and end on the last step, evaluate on
   * a step that is followed by an evaluation, and on that evaluation's last batch. A step's are on its last entry.
   */
  at(position: number): Entry {
    if (!Number.isInteger(position) || position < 1 || position > this.totalPositions)
      throw new SwarmError('internal', `no position ${position} of ${this.totalPositions}`)
    const { epochs, stepsPerEpoch, evaluationBatches, finalBatches } = this.#options
    const epoch = Math.min(Math.floor((position - 1) / this.#perEpoch), epochs - 1)
    const place = position - epoch * this.#perEpoch
    const isLastEpoch = epoch === epochs - 1
    if (place > this.#trainingPositions) {
      const evaluation = place - this.#trainingPositions
      const isLast = evaluation === (isLastEpoch ? finalBatches : evaluationBatches)
      return { position, step: (epoch + 1) * stepsPerEpoch, evaluation, marks: isLast ? MARK.evaluate : 0 }
    }
    const own = Math.min(Math.ceil(place / this.#perStep), stepsPerEpoch)
    let marks: number = place > (own - 1) * this.#perStep + 1 ? MARK.drain : 0
    if (place === this.#trainingPositions) {
      if (isLastEpoch) marks |= MARK.end | MARK.cut
      if (isLastEpoch ? finalBatches : evaluationBatches) marks |= MARK.evaluate
    }
    return { position, step: epoch * stepsPerEpoch + own, evaluation: 0, marks }
  }

  /** Whether a training entry is the last one of its step, with its drains: what is asked for after the step happens there. */
  endsStep({ position, step }: Entry): boolean {
    return position === this.positionOf(step)
  }

  /** Position of a training step's last entry; 0 for step 0. */
  positionOf(step: number): number {
    if (step === 0) return 0
    const { stepsPerEpoch } = this.#options
    const epoch = Math.floor((step - 1) / stepsPerEpoch)
    const own = step - epoch * stepsPerEpoch
    return epoch * this.#perEpoch + (own === stepsPerEpoch ? this.#trainingPositions : own * this.#perStep)
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
