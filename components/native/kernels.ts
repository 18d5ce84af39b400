/** What our layers and gradients need beside tfjs-node's kernels, by operations of TensorFlow. */
import { gradient, type Tensor, type TensorInfo, type Tf } from '../kernels/kernel.js'
import type { Attribute, NativeBackend } from './load.js'

type Kernel = (inputs: { [name: string]: Tensor }, attrs: { [name: string]: unknown }) => TensorInfo | TensorInfo[]

interface Call {
  readonly inputs: { readonly [name: string]: Tensor }
  readonly backend: unknown
  readonly attrs: {}
}
type NativeKernel = (call: Call) => TensorInfo

const kernelOf = (tf: Tf, name: string): NativeKernel => tf.getKernel(name, 'tensorflow').kernelFunc as unknown as NativeKernel

function replace(tf: Tf, kernelName: string, kernelFunc: NativeKernel): void {
  tf.unregisterKernel(kernelName, 'tensorflow')
  tf.registerKernel({ kernelName, backendName: 'tensorflow', kernelFunc: kernelFunc as never })
}

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

  // To the shape or the type that it has: nothing to be done.
  const same = ({ dataId, shape, dtype }: Tensor): TensorInfo => {
    backend.incRef(dataId)
    return { dataId, shape, dtype }
  }
  const [reshape, cast] = ['Reshape', 'Cast'].map((name) => kernelOf(tf, name))
  replace(tf, 'Reshape', (call) => {
    const { shape } = call.attrs as { shape: number[] }
    return tf.util.arraysEqual(shape, call.inputs.x.shape) ? same(call.inputs.x) : reshape(call)
  })
  replace(tf, 'Cast', (call) => ((call.attrs as { dtype: string }).dtype === call.inputs.x.dtype ? same(call.inputs.x) : cast(call)))

  const { TF_ATTR_TYPE, TF_ATTR_FLOAT, TF_FLOAT } = backend.binding
  const float: Attribute = { name: 'T', type: TF_ATTR_TYPE, value: TF_FLOAT }
  /** One operation instead of the eight of a mask. */
  register('ReluGrad', ({ dy, x }) => backend.executeSingleOutput('ReluGrad', [float], [dy, x]))
  register('LeakyReluGrad', ({ dy, x }, { alpha }) =>
    backend.executeSingleOutput('LeakyReluGrad', [float, { name: 'alpha', type: TF_ATTR_FLOAT, value: alpha }], [dy, x]),
  )
  /** As losses.ts asks for it. */
  register('SoftmaxCrossEntropy', ({ logits, labels }) =>
    backend.executeMultipleOutputs('SoftmaxCrossEntropyWithLogits', [float], [logits, labels], 2),
  )

  // Sums over all but the last dimension, as of every bias: five times as fast by the operation that is made for them.
  const sum = kernelOf(tf, 'Sum')
  replace(tf, 'Sum', (call) => {
    const { x } = call.inputs
    const { axis, keepDims } = call.attrs as { axis: number | number[]; keepDims?: boolean }
    const axes = tf.util.parseAxisParam(axis, x.shape)
    const isOfBias = x.rank >= 2 && x.dtype === 'float32' && !keepDims && axes.length === x.rank - 1 && !axes.includes(x.rank - 1)
    return isOfBias ? backend.executeSingleOutput('BiasAddGrad', [float], [x]) : sum(call)
  })

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
