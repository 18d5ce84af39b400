/** A trained network, ready to answer: the VNodes of one checkpoint, one after another. */
import type { ObjectStore } from '../runtime/object-store/object-store.js'

/** Answers to a batch of samples. */
export interface Prediction {
  /** For categorical targets: the most probable class of each sample. */
  readonly labels: Int32Array
  /** For categorical targets: [samples × classes], rows sum to 1; for continuous ones the values, [samples × size]. */
  readonly probabilities: Float32Array
}

export interface Model {
  /** Id of the run, and the step of the checkpoint. */
  readonly run: string
  readonly step: number
  /** Elements of one sample. */
  readonly sampleSize: number
  /** Values in an answer: classes, or the size of a continuous target. */
  readonly outputs: number
  /**
   * Answers in order.
   * @param inputs raw samples as in the data set's files, row-major, [n × prod(input)]: bytes for images, columns of a table; normalised here
   * @throws `dataset.invalid` if the length is not a multiple of the sample's
   */
  predict(inputs: ArrayLike<number>): Promise<Prediction>
  close(): Promise<void>
}

/** Loads the newest checkpoint of a run. @throws `run.not-found`, `run.changed` (no checkpoint yet), `checkpoint.damaged` */
export async function openModel(_store: ObjectStore | string, _run: string, _options: { readonly threads?: boolean } = {}): Promise<Model> {
  throw new Error('being written')
}
