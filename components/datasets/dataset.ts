/** A data set in memory: samples by number, ready to be made into batches. Nothing here needs tfjs. */
import { createHash } from 'node:crypto'
import { SwarmError, invariant } from '../../runtime/errors.js'
import type { Shape, Target } from '../define.js'
import { isOfClasses, labelSizeOf, widthOf } from '../targets.js'

/** How bytes become numbers: (x/255 − mean)/deviation. */
export interface Normalisation {
  readonly mean: number
  /** > 0. */
  readonly deviation: number
}

/** Of bytes that stand for themselves: numbers of tokens. */
export const ITSELF: Normalisation = { mean: 0, deviation: 1 / 255 }

/** A named input column and how it was standardised: (x − mean)/deviation. */
export interface Feature {
  readonly name: string
  readonly mean: number
  readonly deviation: number
}

export type SplitName = 'train' | 'validation' | 'test'
/** The order of the splits wherever order matters: hashes, shards. */
export const SPLIT_NAMES: readonly SplitName[] = ['train', 'validation', 'test']

/** Samples and labels, row-major, one after another. */
export interface SplitContent {
  /** [size × prod(input)]: bytes that a Normalisation turns into numbers, or the numbers themselves. */
  readonly samples: Uint8Array | Float32Array
  /** int32 [size × answers] classes for categorical targets and tokens; float32 [size × n] for continuous ones. */
  readonly labels: Int32Array | Float32Array
}

export interface Split extends SplitContent {
  readonly size: number
  /** Elements of one sample. */
  readonly sampleSize: number
  /** Elements of one label. */
  readonly labelSize: number
  /** What each byte stands for; present if and only if the samples are bytes. */
  readonly table?: Float32Array
}

/** What a data set is, apart from its samples. */
export interface DatasetDescription {
  /** For people: `fashion-mnist`, a file's name, the name of a definition. It does not enter the hash. */
  readonly id: string
  readonly input: Shape
  readonly target: Target
  /** Present if and only if the samples are bytes. */
  readonly normalisation?: Normalisation
  /** Names of the classes in the order of their numbers. */
  readonly classNames?: readonly string[]
  /** The input columns, if the data came as a table. */
  readonly features?: readonly Feature[]
}

export interface Dataset extends DatasetDescription {
  readonly splits: { readonly train: Split; readonly validation?: Split; readonly test?: Split }
  /** SHA-256, in hex, of the canonical content: what "data" means in a run's definition. Computed when first asked for. */
  readonly sha256: string
}

export interface Batch {
  /** float32 [B × prod(input)]. */
  readonly inputs: Float32Array
  /** int32 [B], int32 [B × tokens] or float32 [B × n]. */
  readonly labels: Int32Array | Float32Array
}

/** Batches are made with indices of 32 bits. */
const MAX_SAMPLES = 2 ** 32 - 1
/** Bytes; the hash takes less than 2 GiB in one call. */
const HASHED_AT_ONCE = 2 ** 30

/**
 * Makes a data set of checked content, which it keeps without copying.
 * @throws `dataset.invalid` naming the split and the sample
 */
export function makeDataset(
  description: DatasetDescription,
  contents: { readonly train: SplitContent; readonly validation?: SplitContent; readonly test?: SplitContent },
): Dataset {
  checkDescription(description)
  const table = description.normalisation && tableOf(description.normalisation)
  const splits: { -readonly [Name in SplitName]?: Split } = {}
  for (const name of SPLIT_NAMES) {
    const content = contents[name]
    if (content) splits[name] = checkSplit(description, name, content, table)
  }
  let sha256: string | undefined
  const dataset: Dataset = {
    ...describe(description),
    splits: splits as Dataset['splits'],
    get sha256() {
      return (sha256 ??= hashContent(dataset))
    },
  }
  return Object.freeze(dataset)
}

/**
 * The samples and labels at `indices`, as numbers. A copy.
 * @param into memory for the inputs, [B × prod(input)] or longer, to be used again for the next batch
 */
export function batch(split: Split, indices: Uint32Array, into?: Float32Array): Batch {
  const { samples, sampleSize, table } = split
  const inputs = into?.subarray(0, indices.length * sampleSize) ?? new Float32Array(indices.length * sampleSize)
  invariant(
    inputs.length === indices.length * sampleSize,
    () => `${into?.length} elements for a batch of ${indices.length} × ${sampleSize}`,
  )
  const labels = labelsAt(split, indices)
  for (let row = 0; row < indices.length; row++) {
    const start = indices[row] * sampleSize
    if (table) lookUp(table, samples as Uint8Array, start, inputs, row * sampleSize, sampleSize)
    else inputs.set(samples.subarray(start, start + sampleSize), row * sampleSize)
  }
  return { inputs, labels }
}

/** The labels at `indices`. A copy. */
export function labelsAt({ labels, labelSize, size }: Split, indices: Uint32Array): Batch['labels'] {
  const chosen = labels instanceof Int32Array ? new Int32Array(indices.length * labelSize) : new Float32Array(indices.length * labelSize)
  for (let row = 0; row < indices.length; row++) {
    const index = indices[row]
    invariant(index < size, () => `sample ${index} of a split of ${size}`)
    for (let k = 0; k < labelSize; k++) chosen[row * labelSize + k] = labels[index * labelSize + k]
  }
  return chosen
}

/** A function of its own, so that it sees one kind of array only and is compiled well. */
function lookUp(table: Float32Array, bytes: Uint8Array, start: number, inputs: Float32Array, to: number, size: number): void {
  for (let k = 0; k < size; k++) inputs[to + k] = table[bytes[start + k]]
}

/**
 * Raw values as the network was trained to see them: bytes by the normalisation, columns standardised.
 * For prediction, where samples come one by one.
 * @param raw [n × prod(input)]
 * @throws `dataset.invalid` for a byte that is none
 */
export function normalise({ normalisation, features }: DatasetDescription, raw: ArrayLike<number>): Float32Array {
  if (normalisation) {
    const table = tableOf(normalisation)
    return Float32Array.from(raw, (x) => {
      if (table[x] === undefined)
        throw new SwarmError('dataset.invalid', { what: 'pixel of a raw image', expected: 'a whole number from 0 to 255', got: x })
      return table[x]
    })
  }
  return Float32Array.from(raw, (x, i) => {
    const feature = features?.[i % features.length]
    return feature ? (x - feature.mean) / feature.deviation : x
  })
}

/**
 * Checks that a network can learn from a data set: the same input shape and the same target.
 * @throws `dataset.invalid`
 */
export function checkTask(dataset: DatasetDescription, task: { readonly input: Shape; readonly target: Target }): void {
  const refuse = (what: string, expected: unknown, got: unknown) => {
    if (JSON.stringify(expected) === JSON.stringify(got)) return
    throw new SwarmError('dataset.invalid', {
      what: `the data set's ${what} is not the network's`,
      where: dataset.id,
      expected: JSON.stringify(expected),
      got: JSON.stringify(got),
    })
  }
  refuse('input shape', task.input, dataset.input)
  refuse('target', canonicalTarget(task.target), canonicalTarget(dataset.target))
}

/** The description alone; it does not make the hash be computed. */
export function describe({ id, input, target, normalisation, classNames, features }: DatasetDescription): DatasetDescription {
  return { id, input, target, ...(normalisation && { normalisation }), ...(classNames && { classNames }), ...(features && { features }) }
}

/** Elements of one sample. */
export function sampleSizeOf({ input }: { readonly input: Shape }): number {
  return input.reduce((a, b) => a * b, 1)
}

/**
 * What the hash begins with: the description as canonical JSON. Then, for each split: its name, its size and the
 * SHA-256 of its samples (little-endian) followed by its labels.
 */
function hashContent({ input, target, normalisation, splits }: Dataset): string {
  const { mean, deviation } = normalisation ?? {}
  const head = JSON.stringify(['swarmgrad data set 1', input, canonicalTarget(target), normalisation ? [mean, deviation] : null])
  const hash = createHash('sha256').update(`${head}\n`)
  for (const name of SPLIT_NAMES) {
    const split = splits[name]
    if (!split) continue
    const content = createHash('sha256')
    for (const bytes of [bytesOf(split.samples), bytesOf(split.labels)]) {
      for (let at = 0; at < bytes.length; at += HASHED_AT_ONCE) content.update(bytes.subarray(at, at + HASHED_AT_ONCE))
    }
    hash.update(`${name} ${split.size} ${content.digest('hex')}\n`)
  }
  return hash.digest('hex')
}

/** The memory of a typed array, without a copy. */
export function bytesOf(values: Uint8Array | Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

function canonicalTarget(target: Target): readonly [string, number] {
  return [target.kind, widthOf(target)]
}

function tableOf({ mean, deviation }: Normalisation): Float32Array {
  return Float32Array.from({ length: 256 }, (_, x) => (x / 255 - mean) / deviation)
}

function checkDescription({ id, input, target, normalisation, classNames, features }: DatasetDescription): void {
  const refuse = (what: string, got?: string | number) => {
    throw new SwarmError('dataset.invalid', { what, where: id, got })
  }
  if (input.length === 0 || !input.every((size) => Number.isSafeInteger(size) && size > 0)) {
    refuse('the input shape must be positive whole numbers', `[${input.join(', ')}]`)
  }
  const many = widthOf(target)
  if (!Number.isSafeInteger(many) || many < (isOfClasses(target) ? 2 : 1)) refuse(`a ${target.kind} target of`, many)
  if (normalisation && !(Number.isFinite(normalisation.mean) && normalisation.deviation > 0 && Number.isFinite(normalisation.deviation))) {
    refuse('the normalisation must be a finite mean and a positive deviation', JSON.stringify(normalisation))
  }
  if (classNames && classNames.length !== many) refuse(`${many} classes need as many names`, classNames.length)
  if (features && features.length !== sampleSizeOf({ input })) refuse('every input needs one feature', features.length)
}

function checkSplit(description: DatasetDescription, name: SplitName, content: SplitContent, table: Float32Array | undefined): Split {
  const { id, target } = description
  const { samples, labels } = content
  const sampleSize = sampleSizeOf(description)
  const labelSize = labelSizeOf(description)
  const size = samples.length / sampleSize
  const refuse = (what: string, where: string, expected?: string | number, got?: string | number): never => {
    throw new SwarmError('dataset.invalid', { what, where: `${id}, ${where}`, expected, got })
  }
  if (size === 0) refuse('no samples', name)
  if (!Number.isSafeInteger(size))
    refuse('samples of another size than the input shape', name, `a multiple of ${sampleSize}`, samples.length)
  if (size > MAX_SAMPLES) refuse('too many samples', name, `at most ${MAX_SAMPLES}`, size)
  if (labels.length !== size * labelSize) refuse('not one label for each sample', name, size * labelSize, labels.length)
  if (samples instanceof Uint8Array !== (table !== undefined)) refuse('a normalisation goes with bytes, and only with bytes', name)
  if (labels instanceof Int32Array !== isOfClasses(target)) refuse('labels of the wrong type', name, target.kind)
  if (samples instanceof Float32Array) {
    const i = samples.findIndex((x) => !Number.isFinite(x))
    if (i >= 0) refuse('not a finite number', `${name} sample ${Math.floor(i / sampleSize)}`, undefined, samples[i])
  }
  if (target.kind === 'tokens') {
    const isToken = (x: number) => Number.isInteger(x) && x >= 0
    const stranger = (table ?? (samples as Float32Array)).find((x) => !isToken(x))
    if (stranger !== undefined) refuse('not the number of a token', name, 'a whole number from 0', stranger)
  }
  const valid = isOfClasses(target) ? (y: number) => y >= 0 && y < target.classes : Number.isFinite
  for (let i = 0; i < labels.length; i++) {
    if (valid(labels[i])) continue
    const expected = isOfClasses(target) ? `a class from 0 to ${target.classes - 1}` : 'a finite number'
    refuse('a label out of range', `${name} sample ${Math.floor(i / labelSize)}`, expected, labels[i])
  }
  // A Buffer becomes a plain Uint8Array, on the same memory: with both kinds about, the loop of `batch` runs at half the speed.
  return Object.freeze({
    size,
    sampleSize,
    labelSize,
    samples: Buffer.isBuffer(samples) ? bytesOf(samples) : samples,
    labels,
    ...(table && { table }),
  })
}
