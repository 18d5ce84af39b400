/** Tensor makers over seeded streams: the same numbers wherever they are made. */
import { RandomStream } from '../runtime/random.js'
import type { Initializers, Shape } from './define.js'
import { sizeOf } from './shapes.js'
import { tf } from './tf.js'

/**
 * Initializers whose k-th tensor comes from the stream (seed, 'init', …labels, k).
 * @param labels from the definition, never from the placement
 */
export function initializers(seed: number, ...labels: readonly string[]): Initializers {
  let made = 0
  const fill = (shape: Shape, next: (random: RandomStream) => number): tf.Tensor => {
    const random = new RandomStream(seed, 'init', ...labels, made++)
    const values = new Float32Array(sizeOf(shape))
    for (let i = 0; i < values.length; i++) values[i] = next(random)
    return tf.tensor(values, [...shape], 'float32')
  }
  const uniform = (shape: Shape, low: number, high: number): tf.Tensor => fill(shape, (random) => low + (high - low) * random.uniform())
  const within = (shape: Shape, bound: number): tf.Tensor => uniform(shape, -bound, bound)
  return {
    glorot: (shape) => within(shape, Math.sqrt(6 / (fans(shape).in + fans(shape).out))),
    he: (shape) => within(shape, Math.sqrt(6 / fans(shape).in)),
    normal: (shape, deviation = 1) => fill(shape, (random) => deviation * random.normal()),
    uniform: (shape, low = 0, high = 1) => uniform(shape, low, high),
    zeros: (shape) => tf.zeros([...shape]),
    ones: (shape) => tf.ones([...shape]),
  }
}

/** Tensors that are written over before anybody reads them: zeros in place of numbers that take long to draw. */
export function blanks(): Initializers {
  const zeros = (shape: Shape): tf.Tensor => tf.zeros([...shape])
  return { glorot: zeros, he: zeros, normal: zeros, uniform: zeros, zeros, ones: zeros }
}

/** How many inputs an output reads, and the other way round; for kernels [h, w, in, out] times h·w. */
function fans(shape: Shape): { in: number; out: number } {
  if (shape.length < 2) return { in: sizeOf(shape), out: sizeOf(shape) }
  const window = sizeOf(shape.slice(0, -2))
  return { in: window * shape[shape.length - 2], out: window * shape[shape.length - 1] }
}
