import { z } from 'zod'
import type { BlockSpec, BuiltIn, Layer } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { expectRank, slidingShape } from '../shapes.js'
import { tf } from '../tf.js'

const schema = z.strictObject({
  filters: z.int().positive(),
  kernelSize: z.int().positive().default(3),
  strides: z.int().positive().default(1),
  padding: z.enum(['same', 'valid']).default('same'),
  bias: z.boolean().default(true),
})

/** Convolution of images [height, width, channels]; w [k, k, channels, filters] He-uniform, b [filters] zero. */
export const conv2dSpec: BuiltIn<BlockSpec<z.infer<typeof schema>>> = {
  name: 'conv2d',
  positional: 'filters',
  options: (raw) => checkOptions("layer 'conv2d'", schema, raw),
  shape: (input, { filters, kernelSize, strides, padding }) => {
    expectRank('conv2d', input, 3, 'Give it images with channels last')
    return [...slidingShape('conv2d', input, kernelSize, strides, padding), filters]
  },
  init: ([, , channels], { filters, kernelSize, bias }, random) => ({
    w: random.he([kernelSize, kernelSize, channels, filters]),
    ...(bias ? { b: random.zeros([filters]) } : {}),
  }),
  forward: ({ w, b }, x, _context, { strides, padding }) => {
    const y = tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, strides, padding)
    return b ? tf.add(y, b) : y
  },
  cost: (input, { filters, kernelSize, strides, padding }) => {
    const [height, width] = slidingShape('conv2d', input, kernelSize, strides, padding)
    return height * width * kernelSize * kernelSize * input[2] * filters
  },
}

/** A convolution. @throws `graph.unknown` */
export function conv2d(filters: number, options: Omit<z.input<typeof schema>, 'filters'> = {}): Layer {
  return callOf(conv2dSpec, { filters, ...options })
}
