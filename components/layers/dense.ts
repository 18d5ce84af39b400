import { z } from 'zod'
import type { BlockSpec, BuiltIn, Layer } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { expectRank } from '../shapes.js'
import { tf } from '../tf.js'

const schema = z.strictObject({ units: z.int().positive(), bias: z.boolean().default(true) })

/** y = x·w + b; w [input, units] He-uniform, b [units] zero. */
export const denseSpec: BuiltIn<BlockSpec<z.infer<typeof schema>>> = {
  name: 'dense',
  positional: 'units',
  options: (raw) => checkOptions("layer 'dense'", schema, raw),
  shape: (input, { units }) => {
    expectRank('dense', input, 1, 'Put flatten() before it')
    return [units]
  },
  init: ([inputs], { units, bias }, random) => ({ w: random.he([inputs, units]), ...(bias ? { b: random.zeros([units]) } : {}) }),
  // Not tf.fused.matMul: its gradient always computes the derivative by x too, which a local rule never needs.
  forward: ({ w, b }, x) => (b ? tf.add(tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D), b) : tf.matMul(x, w)),
}

/** A fully connected layer. @throws `graph.unknown` */
export function dense(units: number, options: { bias?: boolean } = {}): Layer {
  return callOf(denseSpec, { units, ...options })
}
