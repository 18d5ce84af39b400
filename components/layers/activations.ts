/** Activations: no parameters, the shape stays. */
import { z } from 'zod'
import type { BlockSpec, BuiltIn, Layer, Options } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { sizeOf } from '../shapes.js'
import { tf } from '../tf.js'

const none = z.strictObject({})
const withSlope = z.strictObject({ slope: z.number().min(0).max(1).default(0.01) })

function activation<O extends Options = {}>(
  name: string,
  apply: (x: tf.Tensor, options: O) => tf.Tensor,
  schema: z.ZodType<O> = none as unknown as z.ZodType<O>,
): BuiltIn<BlockSpec<O>> {
  return {
    name,
    options: (raw) => checkOptions(`layer '${name}'`, schema, raw),
    shape: (input) => input,
    forward: (_parameters, x, _context, options) => apply(x, options),
    cost: sizeOf,
  }
}

/** By name. */
export const activationSpecs: { readonly [name: string]: BuiltIn<BlockSpec<any>> } = {
  /** max(0, x) */
  relu: activation('relu', (x) => tf.relu(x)),
  /** x where x > 0, slope·x elsewhere */
  leakyRelu: { ...activation('leakyRelu', (x, { slope }) => tf.leakyRelu(x, slope), withSlope), positional: 'slope' },
  tanh: activation('tanh', (x) => tf.tanh(x)),
  /** 1/(1 + e⁻ˣ) */
  sigmoid: activation('sigmoid', (x) => tf.sigmoid(x)),
  /** x where x > 0, eˣ − 1 elsewhere */
  elu: activation('elu', (x) => tf.elu(x)),
  selu: activation('selu', (x) => tf.selu(x)),
  /** x·Φ(x) = x·(1 + erf(x/√2))/2 */
  gelu: activation('gelu', (x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1))),
  /** x·sigmoid(x) */
  silu: activation('silu', (x) => tf.mul(x, tf.sigmoid(x))),
  /** log(1 + eˣ) */
  softplus: activation('softplus', (x) => tf.softplus(x)),
  softmax: activation('softmax', (x) => tf.softmax(x)),
}

const layer = (name: string, options: Options = {}): Layer => callOf(activationSpecs[name], options)

/** max(0, x). */
export const relu = (): Layer => layer('relu')
/** x where x > 0, slope·x elsewhere. @throws `graph.unknown` */
export const leakyRelu = (alpha = 0.01): Layer => layer('leakyRelu', { slope: alpha })
/** Hyperbolic tangent. */
export const tanh = (): Layer => layer('tanh')
/** 1/(1 + e⁻ˣ). */
export const sigmoid = (): Layer => layer('sigmoid')
/** x where x > 0, eˣ − 1 elsewhere. */
export const elu = (): Layer => layer('elu')
/** Scaled elu (Klambauer et al. 2017). */
export const selu = (): Layer => layer('selu')
/** x·Φ(x), Φ the normal distribution (Hendrycks & Gimpel 2016), exact. */
export const gelu = (): Layer => layer('gelu')
/** x·sigmoid(x), also called swish. */
export const silu = (): Layer => layer('silu')
/** log(1 + eˣ). */
export const softplus = (): Layer => layer('softplus')
/** eˣ/Σeˣ over the last dimension. */
export const softmax = (): Layer => layer('softmax')
