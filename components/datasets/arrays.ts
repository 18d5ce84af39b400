/** Data sets from arrays in memory. */
import { SwarmError } from '../../runtime/errors.js'
import type { Shape, Target } from '../define.js'
import { isOfClasses } from '../targets.js'
import { ITSELF, makeDataset } from './dataset.js'
import type { Dataset, Normalisation, SplitContent } from './dataset.js'

/** Numbers in any depth of nesting, or flat and row-major. */
export type Numbers = ArrayLike<number> | readonly Numbers[]

export interface ArraysContent {
  /** One entry per sample, nested as the input shape; or all numbers in one flat array, if `input` is given. */
  readonly inputs: Numbers
  /** Class numbers, or the numbers of a continuous target, one after another or one array per sample. */
  readonly labels: Numbers
}

export interface ArraysOptions extends ArraysContent {
  readonly target: Target
  /** Default: as the first sample is nested; of a flat array, as many numbers as fall to one label; of one of tokens, all of them. */
  readonly input?: Shape
  readonly test?: ArraysContent
  /** Only for inputs in a Uint8Array, which stay bytes: (x/255 − mean)/deviation. Default mean 0, deviation 1; for tokens the bytes themselves. */
  readonly normalisation?: Normalisation
  readonly classNames?: readonly string[]
  /** For people. Default `arrays`. */
  readonly id?: string
}

/**
 * A data set of arrays, which are copied. It is named by its content: a run keeps the samples, in hashed shards.
 * @throws `dataset.invalid`
 */
export function fromArrays(options: ArraysOptions): Dataset {
  const { target, test, classNames, id = 'arrays' } = options
  const isBytes = options.inputs instanceof Uint8Array
  if (options.normalisation && !isBytes)
    throw new SwarmError('dataset.invalid', { what: 'a normalisation is for inputs in a Uint8Array', where: id })
  const normalisation = isBytes ? (options.normalisation ?? (target.kind === 'tokens' ? ITSELF : { mean: 0, deviation: 1 })) : undefined
  const train = contentOf(options, target, isBytes, id)
  const input =
    options.input ??
    shapeOf(options.inputs, target.kind === 'tokens' ? 1 : train.labels.length / (target.kind === 'continuous' ? target.size : 1))
  return makeDataset(
    { id, input, target, ...(normalisation && { normalisation }), ...(classNames && { classNames }) },
    { train, ...(test && { test: contentOf(test, target, isBytes, `${id}, test`) }) },
  )
}

function contentOf({ inputs, labels }: ArraysContent, target: Target, isBytes: boolean, where: string): SplitContent {
  if (inputs instanceof Uint8Array !== isBytes) {
    throw new SwarmError('dataset.invalid', {
      what: 'training and test inputs of different types',
      where,
      expected: isBytes ? 'a Uint8Array' : 'numbers',
    })
  }
  const values = flatten(labels, where)
  const fraction = isOfClasses(target) ? Array.prototype.findIndex.call(values, (y: number) => y !== (y | 0)) : -1
  if (fraction >= 0)
    throw new SwarmError('dataset.invalid', { what: `label ${fraction}`, where, expected: 'a class number', got: values[fraction] })
  return {
    samples: inputs instanceof Uint8Array ? new Uint8Array(inputs) : Float32Array.from(flatten(inputs, where)),
    labels: isOfClasses(target) ? Int32Array.from(values) : Float32Array.from(values),
  }
}

/** One flat list; entries of one level must have one length, so that a ragged array is not taken for another shape. */
function flatten(numbers: Numbers, where: string): ArrayLike<number> {
  if (!isNested(numbers)) return numbers
  const rows = Array.from(numbers, (row) => (typeof row === 'number' ? [row] : flatten(row, where)))
  const ragged = rows.findIndex((row) => row.length !== rows[0].length)
  if (ragged >= 0) {
    throw new SwarmError('dataset.invalid', {
      what: `entry ${ragged} has another size than entry 0`,
      where,
      expected: rows[0].length,
      got: rows[ragged].length,
    })
  }
  const flat = new Float64Array(rows.length * (rows[0]?.length ?? 0))
  rows.forEach((row, i) => flat.set(row, i * row.length))
  return flat
}

function shapeOf(inputs: Numbers, samples: number): number[] {
  if (!isNested(inputs)) return [inputs.length / samples]
  const shape: number[] = []
  for (let level = inputs[0]; typeof level === 'object'; level = (level as readonly Numbers[])[0]) shape.push(level.length)
  return shape
}

function isNested(numbers: Numbers): numbers is readonly Numbers[] {
  return Array.isArray(numbers) && numbers.some((entry) => typeof entry === 'object')
}
