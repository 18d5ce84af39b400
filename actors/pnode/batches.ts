/** The batches of a run as frames: from data set, seed and position, and nothing else. Whoever has the data makes the same. */
import { augment } from '../../components/augmentation.js'
import { type Dataset, type Split, batch, batchIndices, epochOrder } from '../../components/datasets/index.js'
import { SOURCE } from '../../components/definition.js'
import { labelForm } from '../../components/targets.js'
import { batchDigest, encodeFrame } from '../../runtime/frame.js'
import { type BatchFrame, batchEntryOf } from '../../runtime/edge-root.js'
import type { Grant } from '../../runtime/grant.js'
import { entryIsKnown } from '../../runtime/log-root.js'
import { RandomStream } from '../../runtime/random.js'
import { type Entry, isTraining } from '../../runtime/step-log.js'
import { type RunDefinition, evaluationSplit } from '../run/run-definition.js'

export class Batches {
  readonly #definition: RunDefinition
  readonly #dataset: Dataset
  #inputs = new Float32Array(0)
  #order: Order | undefined

  constructor(definition: RunDefinition, dataset: Dataset) {
    this.#definition = definition
    this.#dataset = dataset
  }

  /** The frame of an entry: the same bytes whenever it is made. */
  frame(entry: Entry, { run, generation, term }: Pick<Grant, 'run' | 'generation' | 'term'>): Uint8Array {
    const made = this.batch(entry)
    const [[, output], [, labels]] = made.tensors
    const frame = encodeFrame({ header: { ...made.header, run, vnode: SOURCE, generation, term }, output, labels, batch: made.batch }, true)
    entryIsKnown(frame, batchEntryOf(made, made.batch))
    return frame
  }

  /** What the frame of an entry carries; its tensors are good until the next one is made. */
  batch(entry: Entry) {
    const { network, training } = this.#definition
    const { split, indices } = this.#indices(entry)
    const { inputs, labels } = batch(split, indices, this.#room(indices.length * split.sampleSize))
    const { augmentation, seed } = training
    if (augmentation && isTraining(entry)) {
      const random = new RandomStream(seed, 'augmentation', entry.step)
      augment(inputs, this.#dataset.input, { ...augmentation, random, blank: split.table?.[0] ?? 0 })
    }
    const bytes = {
      inputs: new Uint8Array(inputs.buffer, inputs.byteOffset, inputs.byteLength),
      labels: new Uint8Array(labels.buffer, labels.byteOffset, labels.byteLength),
    }
    const output = { dtype: 'float32' as const, shape: [indices.length, ...this.#dataset.input], bytes: bytes.inputs }
    return {
      header: { kind: 'output' as const, ...entry },
      batch: batchDigest(bytes.inputs, bytes.labels),
      tensors: [
        ['output', output],
        ['labels', { ...labelForm(network, indices.length), bytes: bytes.labels }],
      ] as const,
    } satisfies BatchFrame
  }

  /** Memory for the inputs of a batch, used again for the next: the frame has a copy. */
  #room(elements: number): Float32Array {
    if (this.#inputs.length < elements) this.#inputs = new Float32Array(elements)
    return this.#inputs
  }

  #indices(entry: Entry): { split: Split; indices: Uint32Array } {
    const { batchSize, seed } = this.#definition.training
    const { stepsPerEpoch, epochs } = this.#definition.timetable
    if (entry.evaluation > 0) {
      const split = evaluationSplit(this.#dataset, entry.step === epochs * stepsPerEpoch)
      const first = (entry.evaluation - 1) * batchSize
      return { split, indices: Uint32Array.from({ length: Math.min(batchSize, split.size - first) }, (_, i) => first + i) }
    }
    const split = this.#dataset.splits.train
    if (!isTraining(entry)) return { split, indices: new Uint32Array(0) }
    const epoch = Math.floor((entry.step - 1) / stepsPerEpoch)
    if (this.#order?.epoch !== epoch) this.#order = orderOf(split, seed, epoch)
    return { split, indices: batchIndices(this.#order.indices, (entry.step - 1) % stepsPerEpoch, batchSize) }
  }
}

interface Order {
  readonly seed: number
  readonly epoch: number
  readonly indices: Uint32Array
}

/** The order that was made last, a long permutation: who audits segment by segment begins anew for each. */
const orders = new WeakMap<Split, Order>()

function orderOf(split: Split, seed: number, epoch: number): Order {
  const known = orders.get(split)
  if (known?.seed === seed && known.epoch === epoch) return known
  const order = { seed, epoch, indices: epochOrder(seed, epoch, split.size) }
  orders.set(split, order)
  return order
}
