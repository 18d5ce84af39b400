import { z } from 'zod'
import type { BlockSpec, BuiltIn, Layer } from '../define.js'
import { applyMask, type Mask } from '../kernels/mask.js'
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
    const mask: Mask = { numbers: random.take(x.size), below: Math.floor(rate * 4294967296), scale: Math.fround(1 / (1 - rate)) }
    if (!hasKernel('Masked')) return tf.mul(x, maskOf(x.shape, mask))
    const masked = (given: tf.Tensor): tf.Tensor => runKernel('Masked', { x: given }, { ...mask }) as tf.Tensor
    return tf.customGrad((given) => ({ value: masked(given as tf.Tensor), gradFunc: (dy: tf.Tensor) => masked(dy) }))(x)
  },
  cost: sizeOf,
}

/** Zeros, and `scale` elsewhere. */
function maskOf(shape: number[], mask: Mask): tf.Tensor {
  const values = new Float32Array(sizeOf(shape))
  applyMask(new Float32Array(values.length).fill(1), values, mask)
  return tf.tensor(values, shape)
}

/** Dropout of a share `rate` of the elements. @throws `graph.unknown` */
export function dropout(rate: number): Layer {
  return callOf(dropoutSpec, { rate })
}
