/** Losses and metrics by target. */
import { SwarmError } from '../runtime/errors.js'
import type { TensorBytes } from '../runtime/frame.js'
import type { Target } from './define.js'
import { isOfClasses, labelForm, widthOf } from './targets.js'
import { hasKernel, runKernel, tf } from './tf.js'

/**
 * Mean over the batch of −log softmax(logits)[label].
 * @param logits float32 [batch, classes]
 * @param y one-hot float32 [batch, classes]
 */
export function softmaxCrossEntropy(logits: tf.Tensor, y: tf.Tensor): tf.Tensor {
  if (hasKernel(SOFTMAX_CROSS_ENTROPY)) return fusedCrossEntropy(logits, y)
  const loss = tf.customGrad((z, oneHot, save) => {
    const shifted = tf.sub(z as tf.Tensor, tf.max(z as tf.Tensor, -1, true))
    const exps = tf.exp(shifted)
    const sums = tf.sum(exps, -1, true)
    const probabilities = tf.div(exps, sums)
    const batch = (z as tf.Tensor).shape[0]
    ;(save as (tensors: tf.Tensor[]) => void)([probabilities, oneHot as tf.Tensor])
    const picked = tf.sum(tf.mul(oneHot as tf.Tensor, shifted), -1, true)
    const value = tf.div(tf.sum(tf.sub(tf.log(sums), picked)), batch)
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const [p, labels] = saved
      return [tf.mul(tf.sub(p, labels), tf.div(dy, batch)), tf.zerosLike(labels)]
    }
    return { value, gradFunc: gradFunc }
  })
  return loss(logits, y)
}

/** Loss of each sample [batch] and its derivative by the logits [batch, classes], where a backend has them in one operation. */
export const SOFTMAX_CROSS_ENTROPY = 'SoftmaxCrossEntropy'

function fusedCrossEntropy(logits: tf.Tensor, y: tf.Tensor): tf.Tensor {
  const loss = tf.customGrad((z, save) => {
    const [losses, derivative] = runKernel(SOFTMAX_CROSS_ENTROPY, { logits: z as tf.Tensor, labels: y }) as tf.Tensor[]
    ;(save as (tensors: tf.Tensor[]) => void)([derivative])
    const gradFunc = (dy: tf.Tensor, [saved]: tf.Tensor[]): tf.Tensor => tf.mul(saved, tf.div(dy, losses.size))
    return { value: tf.mean(losses), gradFunc }
  })
  return loss(logits)
}

/**
 * Mean of (prediction − y)² over batch and dimensions.
 * @param prediction float32 [batch, size]
 * @param y float32 [batch, size]
 */
export function meanSquaredError(prediction: tf.Tensor, y: tf.Tensor): tf.Tensor {
  return tf.mean(tf.square(tf.sub(prediction, y)))
}

/** The loss of a target: softmax cross-entropy for classes, mean squared error for numbers. */
export function taskLoss(target: Target, logits: tf.Tensor, y: tf.Tensor): tf.Tensor {
  return isOfClasses(target) ? softmaxCrossEntropy(logits, y) : meanSquaredError(logits, y)
}

/** Labels as numbers, checked. @throws `dataset.invalid` */
export function readLabels(target: Target, labels: TensorBytes, batch: number): Int32Array | Float32Array {
  const width = widthOf(target)
  const { dtype, shape } = labelForm({ input: labels.shape.slice(1), target }, batch)
  const expected = `${dtype} [${shape.join(', ')}]`
  const got = `${labels.dtype} [${labels.shape.join(', ')}]`
  if (got !== expected) throw new SwarmError('dataset.invalid', { what: 'labels of the wrong type or shape', expected, got })
  const { buffer, byteOffset, byteLength } = labels.bytes.byteOffset % 4 === 0 ? labels.bytes : labels.bytes.slice()
  if (target.kind === 'continuous') return new Float32Array(buffer, byteOffset, byteLength / 4)
  const classes = new Int32Array(buffer, byteOffset, byteLength / 4)
  for (const label of classes) {
    if (label < 0 || label >= width)
      throw new SwarmError('dataset.invalid', { what: 'label out of range', expected: `0 to ${width - 1}`, got: label })
  }
  return classes
}

/** What a loss compares with: one-hot float32 [labels, classes], or the numbers themselves. The caller disposes it. */
export function labelTensor(target: Target, labels: Int32Array | Float32Array): tf.Tensor {
  const width = widthOf(target)
  if (target.kind === 'continuous') return tf.tensor(labels, [labels.length / width, width], 'float32')
  const oneHot = new Float32Array(labels.length * width)
  for (let i = 0; i < labels.length; i++) oneHot[i * width + labels[i]] = 1
  return tf.tensor(oneHot, [labels.length, width], 'float32')
}

/**
 * Numbers about one batch. `count` is the number of its answers and `correct` a sum over it; the others are means, as the loss is.
 * @param logits row-major [answers, width]
 */
export function metricsOf(target: Target, logits: Float32Array, labels: Int32Array | Float32Array): { [name: string]: number } {
  const width = widthOf(target)
  const count = logits.length / width
  if (isOfClasses(target)) {
    let correct = 0
    for (let i = 0; i < count; i++) if (largest(logits, i * width, width) === labels[i]) correct++
    return { correct, count }
  }
  let absolute = 0
  let squared = 0
  for (let i = 0; i < logits.length; i++) {
    const error = logits[i] - labels[i]
    absolute += error < 0 ? -error : error
    squared += error * error
  }
  return { absoluteError: absolute / logits.length, squaredError: squared / logits.length, count }
}

/** Index of the first largest of `width` values from `start`. */
export function largest(values: Float32Array, start: number, width: number): number {
  let best = 0
  for (let i = 1; i < width; i++) if (values[start + i] > values[start + best]) best = i
  return best
}
