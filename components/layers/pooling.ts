/** Pooling of images [height, width, channels]. */
import { z } from 'zod'
import type { BlockSpec, BuiltIn, Layer } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { expectRank, sizeOf, slidingShape } from '../shapes.js'
import { tf } from '../tf.js'

const schema = z.strictObject({
  size: z.int().positive().default(2),
  /** Default: the size, so that windows do not overlap. */
  strides: z.int().positive().optional(),
  padding: z.enum(['same', 'valid']).default('valid'),
})
type PoolOptions = z.infer<typeof schema>
const none = z.strictObject({})

function pooling(name: string, apply: (x: tf.Tensor4D, o: PoolOptions) => tf.Tensor): BuiltIn<BlockSpec<PoolOptions>> {
  return {
    name,
    positional: 'size',
    options: (raw) => checkOptions(`layer '${name}'`, schema, raw),
    shape: (input, { size, strides, padding }) => {
      expectRank(name, input, 3, 'Put it before flatten()')
      return [...slidingShape(name, input, size, strides ?? size, padding), input[2]]
    },
    forward: (_parameters, x, _context, options) => apply(x as tf.Tensor4D, options),
    cost: sizeOf,
  }
}

/** By name. */
export const poolingSpecs: { readonly [name: string]: BuiltIn<BlockSpec<any>> } = {
  maxPool: pooling('maxPool', (x, { size, strides, padding }) => tf.maxPool(x, size, strides ?? size, padding)),
  avgPool: pooling('avgPool', (x, { size, strides, padding }) => tf.avgPool(x, size, strides ?? size, padding)),
  globalAveragePool: {
    name: 'globalAveragePool',
    options: (raw) => checkOptions("layer 'globalAveragePool'", none, raw),
    shape: (input) => {
      expectRank('globalAveragePool', input, 3, 'Put it before flatten()')
      return [input[2]]
    },
    forward: (_parameters, x) => tf.mean(x, [1, 2]),
    cost: sizeOf,
  },
}

type PoolCall = Omit<z.input<typeof schema>, 'size'>

/** The largest of each window. @throws `graph.unknown` */
export const maxPool = (size = 2, options: PoolCall = {}): Layer => callOf(poolingSpecs.maxPool, { size, ...options })
/** The mean of each window, over what lies inside the image. @throws `graph.unknown` */
export const avgPool = (size = 2, options: PoolCall = {}): Layer => callOf(poolingSpecs.avgPool, { size, ...options })
/** The mean of each channel. */
export const globalAveragePool = (): Layer => callOf(poolingSpecs.globalAveragePool)
