/**
 * `Conv2DBackpropFilter`, which the wasm backend lacks (so no convolution could be trained on it), written as a forward
 * convolution: dW[i, j, c, k] = Σ x[b, i·d + p·s, j·d + q·s, c] · dy[b, p, q, k] is a convolution of x with the batch as its
 * channels and with dy as its filter, where stride and dilation have changed places.
 */
import { replaceKernel, wasmKernel } from './kernel.js'
import type { Tf, TensorInfo } from './kernel.js'

interface Attributes {
  readonly strides: [number, number] | number
  readonly pad: 'same' | 'valid' | number
  readonly dilations?: [number, number] | number
  readonly dimRoundingMode?: 'floor' | 'round' | 'ceil'
}

/** Registers the kernel; channels last only, as the rest of the wasm backend. */
export function registerConv2DBackpropFilter(tf: Tf): void {
  const transpose = wasmKernel(tf, 'Transpose')
  const convolve = wasmKernel(tf, 'Conv2D')
  const pad = wasmKernel(tf, 'PadV2')
  const slice = wasmKernel(tf, 'Slice')
  replaceKernel(tf, 'Conv2DBackpropFilter', ({ inputs: { x, dy }, backend, attrs }) => {
    const { strides, pad: padding, dilations = 1, dimRoundingMode } = attrs as unknown as Attributes
    const filterShape = attrs.filterShape as [number, number, number, number]
    const info = tf.backend_util.computeConv2DInfo(
      x.shape as [number, number, number, number],
      filterShape,
      strides,
      dilations,
      padding,
      dimRoundingMode,
    )
    const { top, bottom, left, right } = info.padInfo
    const temporary: TensorInfo[] = []
    const keep = (tensor: TensorInfo): TensorInfo => {
      temporary.push(tensor)
      return tensor
    }
    const paddings = [
      [0, 0],
      [Math.max(0, top), Math.max(0, bottom)],
      [Math.max(0, left), Math.max(0, right)],
      [0, 0],
    ]
    const padded = keep(pad({ inputs: { x }, backend, attrs: { paddings, constantValue: 0 } }))
    const images = keep(transpose({ inputs: { x: padded }, backend, attrs: { perm: [3, 1, 2, 0] } }))
    const filter = keep(transpose({ inputs: { x: dy }, backend, attrs: { perm: [1, 2, 0, 3] } }))
    const full = keep(
      convolve({
        inputs: { x: images, filter },
        backend,
        attrs: {
          strides: [info.dilationHeight, info.dilationWidth],
          dilations: [info.strideHeight, info.strideWidth],
          pad: 'valid',
          dataFormat: 'NHWC',
        },
      }),
    )
    // Where the strides do not reach the end of x, there are more positions than the filter has.
    const size = [full.shape[0], info.filterHeight, info.filterWidth, full.shape[3]]
    const cut = keep(slice({ inputs: { x: full }, backend, attrs: { begin: [0, 0, 0, 0], size } }))
    const out = transpose({ inputs: { x: cut }, backend, attrs: { perm: [1, 2, 0, 3] } })
    for (const tensor of temporary) backend.disposeData(tensor.dataId)
    return out
  })
}
