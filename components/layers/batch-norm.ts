import { z } from 'zod'
import type { BlockSpec, BuiltIn, ForwardContext, Layer } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { sizeOf } from '../shapes.js'
import { runKernel, tf } from '../tf.js'

const schema = z.strictObject({
  /** Share of the newest batch in the running statistics: PyTorch's default, which reaches good statistics in tens of steps. */
  momentum: z.number().positive().max(1).default(0.1),
  epsilon: z.number().positive().default(1e-5),
})
type BatchNormOptions = z.infer<typeof schema>

/**
 * y = γ·(x − mean)/√(variance + ε) + β per channel, the last dimension (Ioffe & Szegedy 2015). In training mean and variance are
 * the batch's; otherwise the running ones, which each step moves by `momentum` towards the batch's (variance over n − 1, as in PyTorch).
 */
export const batchNormSpec: BuiltIn<BlockSpec<BatchNormOptions>> = {
  name: 'batchNorm',
  options: (raw) => checkOptions("layer 'batchNorm'", schema, raw),
  shape: (input) => input,
  init: (input, _options, random) => ({ gamma: random.ones(input.slice(-1)), beta: random.zeros(input.slice(-1)) }),
  state: (input, _options, random) => ({ mean: random.zeros(input.slice(-1)), variance: random.ones(input.slice(-1)) }),
  forward: ({ gamma, beta }, x, context, { momentum, epsilon }) => {
    const { training, state } = context
    if (!training) return normalize(x, gamma, beta, state.mean, state.variance, epsilon)
    const [mean, variance] = runKernel('BatchStatistics', { x }) as tf.Tensor[]
    moveStatistics(context, mean, variance, x.size / mean.size, momentum)
    return trainable(x, gamma, beta, mean, variance, epsilon)
  },
  cost: (input) => 2 * sizeOf(input),
}

/** Batch normalisation. @throws `graph.unknown` */
export function batchNorm(options: z.input<typeof schema> = {}): Layer {
  return callOf(batchNormSpec, options)
}

function normalize(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: number): tf.Tensor {
  const gain = tf.mul(gamma, tf.rsqrt(tf.add(variance, epsilon)))
  return tf.add(tf.mul(x, gain), tf.sub(beta, tf.mul(mean, gain)))
}

function moveStatistics({ state }: ForwardContext, mean: tf.Tensor, variance: tf.Tensor, count: number, momentum: number): void {
  const unbiased = count > 1 ? count / (count - 1) : 1
  state.mean = tf.add(tf.mul(state.mean, 1 - momentum), tf.mul(mean, momentum))
  state.variance = tf.add(tf.mul(state.variance, 1 - momentum), tf.mul(variance, momentum * unbiased))
}

/** The derivative runs through the batch's statistics too: dx = γ/√(v + ε)·(dy − mean(dy) − x̂·mean(dy·x̂)). */
function trainable(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: number): tf.Tensor {
  const inverse = tf.rsqrt(tf.add(variance, epsilon))
  const withGradient = tf.customGrad((input, gain, offset, save) => {
    const normalized = runKernel('Scaled', { x: input as tf.Tensor, mean, gain: inverse }) as tf.Tensor
    ;(save as (tensors: tf.Tensor[]) => void)([normalized, gain as tf.Tensor, inverse])
    const value = tf.add(tf.mul(normalized, gain as tf.Tensor), offset as tf.Tensor)
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const [dx, dGain, dOffset] = runKernel('BatchNormGrad', { dy, normalized: saved[0], gain: tf.mul(saved[1], saved[2]) }) as tf.Tensor[]
      return [dx, dGain, dOffset]
    }
    return { value, gradFunc: gradFunc }
  })
  return withGradient(x, gamma, beta)
}
