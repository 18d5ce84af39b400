/** Derivatives of activations. */
import { gradient } from './kernel.js'
import type { GradConfig, Tensor, Tf } from './kernel.js'

const SELU_SCALE = 1.0507009873554805
const SELU_SCALE_ALPHA = 1.7580993408473768

/** Gradients by kernel name. */
export function activationGradients(tf: Tf): GradConfig[] {
  const { mul, sub, cast } = tf
  /** step(x, alpha) is 1 where x > 0 and alpha elsewhere. */
  const leaky = (dy: Tensor, x: Tensor, alpha: number): Tensor => mul(dy, tf.step(x, alpha))
  return [
    gradient('Relu', { output: true }, (dy, [y]) => ({ x: () => leaky(dy, y, 0) })),
    gradient('LeakyRelu', { inputs: ['x'] }, (dy, [x], { alpha }) => ({ x: () => leaky(dy, x, alpha) })),
    gradient('Relu6', { inputs: ['x'] }, (dy, [x]) => ({
      x: () => mul(dy, mul(cast(tf.lessEqual(x, 6), 'float32'), cast(tf.greater(x, 0), 'float32'))),
    })),
    gradient('Sigmoid', { output: true }, (dy, [y]) => ({ x: () => mul(dy, mul(y, sub(1, y))) })),
    gradient('Tanh', { output: true }, (dy, [y]) => ({ x: () => mul(dy, sub(1, tf.square(y))) })),
    gradient('Elu', { output: true }, (dy, [y]) => ({ x: () => tf.engine().runKernel<Tensor>('EluGrad', { dy, y }) })),
    gradient('Softplus', { inputs: ['x'] }, (dy, [x]) => ({ x: () => mul(dy, tf.sigmoid(x)) })),
    gradient('Selu', { inputs: ['x'] }, (dy, [x]) => ({
      x: () => tf.where(tf.greater(x, 0), mul(dy, SELU_SCALE), mul(mul(dy, SELU_SCALE_ALPHA), tf.exp(x))),
    })),
    gradient('Prelu', { inputs: ['x', 'alpha'] }, (dy, [x, alpha]) => ({
      x: () => tf.where(tf.greater(x, 0), dy, mul(dy, alpha)),
      alpha: () => {
        const all = tf.where(tf.greater(x, 0), tf.zerosLike(dy), mul(dy, x))
        const axes = tf.broadcast_util.getReductionAxes(alpha.shape, dy.shape)
        return tf.reshape(axes.length > 0 ? tf.sum(all, axes) : all, alpha.shape)
      },
    })),
    gradient('Softmax', { output: true }, (dy, [y], { dim }) => ({
      logits: () => sub(mul(dy, y), mul(tf.sum(mul(dy, y), [dim], true), y)),
    })),
  ]
}
