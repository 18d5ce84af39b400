/** What our layers and gradients need beside tfjs-node's kernels, by operations of TensorFlow. */
import { gradient, type Tensor, type TensorInfo, type Tf } from '../kernels/kernel.js'
import type { Attribute, NativeBackend } from './load.js'

type Kernel = (inputs: { [name: string]: Tensor }, attrs: { [name: string]: unknown }) => TensorInfo | TensorInfo[]

/** Registers `BatchStatistics`, `Scaled` and `BatchNormGrad` for TensorFlow's backend, and the gradients that are others there. */
export function registerNativeKernels(tf: Tf, backend: NativeBackend): void {
  const register = (kernelName: string, run: Kernel): void =>
    tf.registerKernel({
      kernelName,
      backendName: 'tensorflow',
      kernelFunc: ({ inputs, attrs }) => run(inputs as { [name: string]: Tensor }, attrs ?? {}),
    })
  const leading = (x: Tensor): number[] => x.shape.slice(0, -1).map((_, axis) => axis)

  /** x [..., c] to mean [c] and (biased) variance [c]. */
  register('BatchStatistics', ({ x }) => {
    const mean = tf.mean(x, leading(x))
    return [mean, tf.mean(tf.square(tf.sub(x, mean)), leading(x))]
  })

  /** (x [..., c] − mean [c])·gain [c]. */
  register('Scaled', ({ x, mean, gain }) => tf.mul(tf.sub(x, mean), gain))

  /** Derivatives of batch normalisation by its input, γ and β; gain is γ/√(variance + ε). */
  register('BatchNormGrad', ({ dy, normalized, gain }) => {
    const rows = dy.size / gain.size
    const [dOffset, dGain] = [tf.sum(dy, leading(dy)), tf.sum(tf.mul(dy, normalized), leading(dy))]
    const centred = tf.sub(tf.sub(dy, tf.div(dOffset, rows)), tf.mul(normalized, tf.div(dGain, rows)))
    return [tf.mul(centred, gain), dGain, dOffset]
  })

  const { TF_ATTR_TYPE, TF_ATTR_FLOAT, TF_FLOAT } = backend.binding
  const float: Attribute = { name: 'T', type: TF_ATTR_TYPE, value: TF_FLOAT }
  /** One operation instead of the eight of a mask. */
  register('ReluGrad', ({ dy, x }) => backend.executeSingleOutput('ReluGrad', [float], [dy, x]))
  register('LeakyReluGrad', ({ dy, x }, { alpha }) =>
    backend.executeSingleOutput('LeakyReluGrad', [float, { name: 'alpha', type: TF_ATTR_FLOAT, value: alpha }], [dy, x]),
  )
  const run = (name: string, inputs: { [name: string]: Tensor }, attrs: {} = {}): Tensor =>
    tf.engine().runKernel<Tensor>(name, inputs, attrs)
  for (const made of [
    gradient('Relu', { inputs: ['x'] }, (dy, [x]) => ({ x: () => run('ReluGrad', { dy, x }) })),
    gradient('LeakyRelu', { inputs: ['x'] }, (dy, [x], { alpha }) => ({ x: () => run('LeakyReluGrad', { dy, x }, { alpha }) })),
    // Ours makes up for wasm, which divides by another number there than back (gradients-network.ts).
    gradient('AvgPool', { inputs: ['x'] }, (dy, [x], { filterSize, strides, pad, dimRoundingMode }) => ({
      x: () => run('AvgPoolGrad', { dy, input: x }, { filterSize, strides, pad, dimRoundingMode }),
    })),
  ]) {
    tf.unregisterGradient(made.kernelName)
    tf.registerGradient(made)
  }
}
