/** From a VNode's output to the features that a head reads. */
import { SwarmError } from '../../runtime/errors.js'
import type { Shape, Target } from '../define.js'
import { showShape } from '../shapes.js'
import { tf } from '../tf.js'

/** A head on more features than this costs more than the layer (Nøkland & Eidnes 2019 use the same number). */
const MAX_FEATURES = 2048

/** The features of one answer: those of a token, or of the whole output after average pooling by the smallest window that leaves at most 2,048. */
export function featureShape(output: Shape, target: Target): Shape {
  if (target.kind === 'tokens') {
    if (output.length === 2) return output.slice(1)
    const fix = 'Keep one row for each token: no flatten() or pooling'
    throw new SwarmError('graph.shape', { what: 'a head for tokens(n)', expected: 'outputs [tokens, width]', got: showShape(output), fix })
  }
  if (output.length !== 3) return output
  const window = poolWindow(output)
  return [Math.floor(output[0] / window), Math.floor(output[1] / window), output[2]]
}

/**
 * Features float32 [answers, n] of an output float32 [batch, …]: a row for each token, or for each sample, images pooled.
 */
export function featuresOf(h: tf.Tensor, target: Target): tf.Tensor2D {
  if (target.kind === 'tokens') return tf.reshape(h, [-1, h.shape[h.rank - 1]])
  const [batch, ...shape] = h.shape
  if (shape.length === 1) return h as tf.Tensor2D
  const window = shape.length === 3 ? poolWindow(shape) : 1
  const pooled = window === 1 ? h : tf.avgPool(h as tf.Tensor4D, window, window, 'valid')
  return tf.reshape(pooled, [batch, pooled.size / batch])
}

/** The side of that window; 1: nothing is pooled. */
export function poolWindow([height, width, channels]: Shape): number {
  const limit = Math.min(height, width)
  for (let window = 1; window < limit; window++) {
    if (Math.floor(height / window) * Math.floor(width / window) * channels <= MAX_FEATURES) return window
  }
  return limit
}
