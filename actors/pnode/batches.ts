/** The batches of a run as frames: from data set, seed and position, and nothing else. Whoever has the data makes the same. */
import { augment } from '../../components/augmentation.js'
import { type Dataset, type Split, batch, batchIndices, epochOrder, labelsAt } from '../../components/datasets/index.js'
import { SOURCE } from '../../components/definition.js'
import { labelForm } from '../../components/targets.js'
import { batchDigest, digestOfSamples, isHashedAlone, KnownSamples, sampleHashes } from '../../runtime/batch-digest.js'
import { encodeFrame } from '../../runtime/frame.js'
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
    const chosen = this.#choose(entry)
    const inputs = this.#gather(entry, chosen)
    const made = this.#describe(entry, chosen, inputs)
    const [[, output], [, labels]] = made.tensors
    const header = { ...made.header, run, vnode: SOURCE, generation, term }
    const frame = encodeFrame({ header, output: { ...output, bytes: inputs }, labels, batch: made.batch }, true)
    entryIsKnown(frame, batchEntryOf(made))
    return frame
  }

  /** What the frame of an entry carries, without its inputs: they are gathered only where one of them has not been in a batch before. */
  batch(entry: Entry) {
    return this.#describe(entry, this.#choose(entry))
  }

  #describe(entry: Entry, chosen: Chosen, gathered?: Uint8Array) {
    const { split, indices } = chosen
    const labels = bytesOf(labelsAt(split, indices))
    const byteLength = indices.length * sampleBytesOf(split)
    const output = { dtype: 'float32' as const, shape: [indices.length, ...this.#dataset.input], bytes: { byteLength } }
    return {
      header: { kind: 'output' as const, ...entry },
      batch: this.#digest(entry, chosen, labels, gathered),
      tensors: [
        ['output', output],
        ['labels', { ...labelForm(this.#definition.network, indices.length), bytes: labels }],
      ] as const,
    } satisfies BatchFrame
  }

  #digest(entry: Entry, chosen: Chosen, labels: Uint8Array, gathered?: Uint8Array): string {
    const { split, indices } = chosen
    // What is augmented is new each time.
    const known = isHashedAlone(sampleBytesOf(split)) && !this.#isAugmented(entry) ? knownOf(split) : undefined
    const seen = known?.at(indices)
    if (seen) return digestOfSamples(seen, labels)
    const inputs = { shape: [indices.length], bytes: gathered ?? this.#gather(entry, chosen) }
    if (!known) return batchDigest(inputs, labels)
    const hashes = sampleHashes(inputs)!
    known.learn(indices, hashes)
    return digestOfSamples(hashes, labels)
  }

  /** The inputs of a batch, float32; good until those of the next one are gathered. */
  #gather(entry: Entry, { split, indices }: Chosen): Uint8Array {
    const { inputs } = batch(split, indices, this.#room(indices.length * split.sampleSize))
    if (this.#isAugmented(entry)) {
      const { augmentation, seed } = this.#definition.training
      const random = new RandomStream(seed, 'augmentation', entry.step)
      augment(inputs, this.#dataset.input, { ...augmentation!, random, blank: split.table?.[0] ?? 0 })
    }
    return bytesOf(inputs)
  }

  #isAugmented(entry: Entry): boolean {
    return this.#definition.training.augmentation !== undefined && isTraining(entry)
  }

  /** Memory for the inputs of a batch, used again for the next: the frame has a copy. */
  #room(elements: number): Float32Array {
    if (this.#inputs.length < elements) this.#inputs = new Float32Array(elements)
    return this.#inputs
  }

  #choose(entry: Entry): Chosen {
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

/** The samples of a batch. */
interface Chosen {
  readonly split: Split
  readonly indices: Uint32Array
}

interface Order {
  readonly seed: number
  readonly epoch: number
  readonly indices: Uint32Array
}

/** The orders that were made last, long permutations: who audits segment by segment begins anew for each, and may be an epoch behind. */
const orders = new WeakMap<Split, readonly Order[]>()
const KEPT_ORDERS = 2

function orderOf(split: Split, seed: number, epoch: number): Order {
  const known = orders.get(split) ?? []
  const found = known.find((order) => order.seed === seed && order.epoch === epoch)
  if (found) return found
  const order = { seed, epoch, indices: epochOrder(seed, epoch, split.size) }
  orders.set(split, [order, ...known].slice(0, KEPT_ORDERS))
  return order
}

/** Of each data set in memory; the source and whoever audits it in the same process know of each other's. */
const knownSamples = new WeakMap<Split, KnownSamples>()

function knownOf(split: Split): KnownSamples {
  const known = knownSamples.get(split) ?? new KnownSamples(split.size)
  knownSamples.set(split, known)
  return known
}

/** As float32. */
const sampleBytesOf = ({ sampleSize }: Split): number => sampleSize * Float32Array.BYTES_PER_ELEMENT

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Int32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)
