/** From a VNode's output to the features that a head reads. */
import type { Shape } from '../define.js'
import { tf } from '../tf.js'

/** A head on more features than this costs more than the layer (Nøkland & Eidnes 2019 use the same number). */
const MAX_FEATURES = 2048

/** The shape of an output after average pooling by the smallest window that leaves at most 2,048 features. */
export function pooledShape(output: Shape): Shape {
  if (output.length !== 3) return output
  const window = poolWindow(output)
  return [Math.floor(output[0] / window), Math.floor(output[1] / window), output[2]]
}

/**
 * Features float32 [batch, n] of an output float32 [batch, …]; images are pooled.
 */
export function poolFeatures(h: tf.Tensor): tf.Tensor2D {
  const [batch, ...shape] = h.shape
  if (shape.length === 1) return h as tf.Tensor2D
  const window = shape.length === 3 ? poolWindow(shape) : 1
  const pooled = window === 1 ? h : tf.avgPool(h as tf.Tensor4D, window, window, 'valid')
  return tf.reshape(pooled, [batch, pooled.size / batch])
}

function poolWindow([height, width, channels]: Shape): number {
  const limit = Math.min(height, width)
  for (let window = 1; window < limit; window++) {
    if (Math.floor(height / window) * Math.floor(width / window) * channels <= MAX_FEATURES) return window
  }
  return limit
}
