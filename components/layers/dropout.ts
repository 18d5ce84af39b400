import { z } from 'zod'
import type { BlockSpec, BuiltIn, Layer } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { sizeOf } from '../shapes.js'
import { hasKernel, runKernel, tf } from '../tf.js'

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
    const bits = new Uint32Array(x.size)
    random.bitsInto(bits)
    const attrs = { bits, below: Math.floor(rate * 4294967296), scale: Math.fround(1 / (1 - rate)) }
    if (!hasKernel('Masked'))
      return tf.mul(
        x,
        tf.tensor(
          Float32Array.from(bits, (n) => (n < attrs.below ? 0 : attrs.scale)),
          x.shape,
        ),
      )
    const masked = (given: tf.Tensor): tf.Tensor => runKernel('Masked', { x: given }, attrs) as tf.Tensor
    return tf.customGrad((given) => ({ value: masked(given as tf.Tensor), gradFunc: (dy: tf.Tensor) => masked(dy) }))(x)
  },
  cost: sizeOf,
}

/** Dropout of a share `rate` of the elements. @throws `graph.unknown` */
export function dropout(rate: number): Layer {
  return callOf(dropoutSpec, { rate })
}
