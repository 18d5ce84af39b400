import { z } from 'zod'
import type { BlockSpec, BuiltIn, Layer } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { sizeOf } from '../shapes.js'
import { tf } from '../tf.js'

const schema = z.strictObject({ rate: z.number().min(0).lt(1) })

/**
 * In training each element is 0 with probability `rate` and x/(1 − rate) else (Srivastava et al. 2014, inverted); otherwise x.
 * The mask comes from (seed, VNode, layer, step): a replayed step has the same.
 */
export const dropoutSpec: BuiltIn<BlockSpec<z.infer<typeof schema>>> = {
  name: 'dropout',
  positional: 'rate',
  options: (raw) => checkOptions("layer 'dropout'", schema, raw),
  shape: (input) => input,
  forward: (_parameters, x, { training, random }, { rate }) => {
    if (!training || rate === 0) return x
    const mask = new Float32Array(x.size)
    const dropBelow = Math.floor(rate * 4294967296)
    const scale = 1 / (1 - rate)
    for (let i = 0; i < mask.length; i++) mask[i] = random.bits() < dropBelow ? 0 : scale
    return tf.mul(x, tf.tensor(mask, x.shape))
  },
  cost: sizeOf,
}

/** Dropout of a share `rate` of the elements. @throws `graph.unknown` */
export function dropout(rate: number): Layer {
  return callOf(dropoutSpec, { rate })
}
