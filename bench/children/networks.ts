/** The networks and data of the benchmarks. */
import {
  batchNorm,
  block,
  categorical,
  conv2d,
  dense,
  dropout,
  flatten,
  fromArrays,
  leakyRelu,
  maxPool,
  network,
  relu,
  type Network,
} from '../../index.js'
import { RandomStream } from '../../runtime/random.js'

export const BATCH = 128

export const IMAGES = { input: [28, 28, 1], target: categorical(10) } as const

/** Random samples: speed does not depend on what they say. float32 [samples × input], ten classes. */
export function noise(samples: number, ...input: readonly number[]) {
  const size = input.reduce((a, b) => a * b, 1)
  const random = new RandomStream(1, 'noise')
  const inputs = Float32Array.from({ length: samples * size }, () => random.uniform())
  const labels = Int32Array.from({ length: samples }, () => random.below(10))
  const test = { inputs: inputs.slice(0, BATCH * size), labels: labels.slice(0, BATCH) }
  return fromArrays({ inputs, labels, input, target: categorical(10), test, id: 'noise' })
}

/** 784-3×1024-10: three VNodes with a head each. */
export const wide = network({ input: [784], target: categorical(10) }, [
  flatten(),
  ...Array.from({ length: 3 }, () => block(dense(1024), relu())),
])

/** Four VNodes of equal cost. */
export const equal = network(
  { input: [1024], target: categorical(10) },
  Array.from({ length: 4 }, () => block(dense(1024), relu())),
)

/** Filters of a layer of the conv net, and whether maxima of 2×2 follow; then units of its dense layer. */
export const VGG = [
  [16, false],
  [32, true],
  [64, true],
  [64, true],
] as const
export const VGG_UNITS = 256
export const SLOPE = 0.01
export const DROPPED = 0.1

/** The VGG-like net of LEARNING.md, [16, 32, M, 64, M, 64, M] and a fully connected layer: five VNodes. */
export function vgg(): Network {
  const layer = (filters: number, ...more: readonly ReturnType<typeof maxPool>[]) =>
    block(conv2d(filters), batchNorm(), leakyRelu(SLOPE), ...more, dropout(DROPPED))
  const filters = VGG.map(([filters, isPooled]) => (isPooled ? layer(filters, maxPool(2)) : layer(filters)))
  return network(IMAGES, [...filters, block(flatten(), dense(VGG_UNITS), batchNorm(), leakyRelu(SLOPE), dropout(DROPPED))])
}
