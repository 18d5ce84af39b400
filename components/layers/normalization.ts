/** Normalisation of each sample by itself: neither batch nor running statistics have a part in it. */
import { z } from 'zod'
import type { BlockSpec, BuiltIn, Layer } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { sizeOf } from '../shapes.js'
import { tf } from '../tf.js'

const schema = z.strictObject({ epsilon: z.number().positive().default(1e-5) })
type NormOptions = z.infer<typeof schema>

/** y = γ·(x − mean)/√(variance + ε) + β; mean and variance (over n) of the last dimension, γ and β [last] (Ba, Kiros & Hinton 2016). */
export const layerNormSpec: BuiltIn<BlockSpec<NormOptions>> = {
  name: 'layerNorm',
  options: (raw) => checkOptions("layer 'layerNorm'", schema, raw),
  shape: (input) => input,
  init: (input, _options, random) => ({ gamma: random.ones(input.slice(-1)), beta: random.zeros(input.slice(-1)) }),
  forward: ({ gamma, beta }, x, _context, { epsilon }) => {
    const centred = tf.sub(x, tf.mean(x, -1, true))
    return tf.add(tf.mul(rootMeanSquared(centred, epsilon), gamma), beta)
  },
  cost: (input) => 2 * sizeOf(input),
}

/** y = γ·x/√(mean(x²) + ε) over the last dimension, γ [last] (Zhang & Sennrich 2019). */
export const rmsNormSpec: BuiltIn<BlockSpec<NormOptions>> = {
  name: 'rmsNorm',
  options: (raw) => checkOptions("layer 'rmsNorm'", schema, raw),
  shape: (input) => input,
  init: (input, _options, random) => ({ gamma: random.ones(input.slice(-1)) }),
  forward: ({ gamma }, x, _context, { epsilon }) => tf.mul(rootMeanSquared(x, epsilon), gamma),
  cost: (input) => 2 * sizeOf(input),
}

/** x over the root of the mean of its squares. */
export function rootMeanSquared(x: tf.Tensor, epsilon: number): tf.Tensor {
  return tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon)))
}

/** Layer normalisation. @throws `graph.unknown` */
export function layerNorm(options: z.input<typeof schema> = {}): Layer {
  return callOf(layerNormSpec, options)
}

/** Root-mean-square normalisation: no centre, no offset. @throws `graph.unknown` */
export function rmsNorm(options: z.input<typeof schema> = {}): Layer {
  return callOf(rmsNormSpec, options)
}
