/**
 * Kernels written directly on the wasm heap, where a chain of tfjs kernels would pass over the memory several times or
 * transpose it first. Sums are in double, in the order of the memory: the same bits everywhere.
 */
import { replaceKernel } from './kernel.js'
import type { BackendWasm, Tf, TensorInfo } from './kernel.js'

/** Registers `SumRows`, `BatchStatistics`, `Scaled` and `BatchNormGrad`. */
export function registerReductions(tf: Tf): void {
  const view = (backend: BackendWasm, tensor: TensorInfo): Float32Array => backend.typedArrayFromHeap(tensor) as Float32Array

  /** [rows, …shape] to its sum [...shape] over all leading dimensions; attrs: the shape. */
  replaceKernel(tf, 'SumRows', ({ inputs: { x }, backend, attrs }) => {
    const out = backend.makeOutput(attrs.shape as number[], 'float32')
    const [from, to] = [view(backend, x), view(backend, out)]
    to.set(sumRows(from, to.length))
    return out
  })

  /** x [..., c] to mean [c] and (biased) variance [c]. */
  replaceKernel(tf, 'BatchStatistics', ({ inputs: { x }, backend }) => {
    const channels = x.shape[x.shape.length - 1]
    const outputs = [backend.makeOutput([channels], 'float32'), backend.makeOutput([channels], 'float32')]
    batchStatistics(view(backend, x), view(backend, outputs[0]), view(backend, outputs[1]))
    return outputs as unknown as TensorInfo
  })

  /** (x [..., c] − mean [c])·gain [c]. */
  replaceKernel(tf, 'Scaled', ({ inputs: { x, mean, gain }, backend }) => {
    const out = backend.makeOutput(x.shape, 'float32')
    scaled(view(backend, x), view(backend, mean), view(backend, gain), view(backend, out))
    return out
  })

  /** Derivatives of batch normalisation by its input, γ and β; gain is γ/√(variance + ε). */
  replaceKernel(tf, 'BatchNormGrad', ({ inputs: { dy, normalized, gain }, backend }) => {
    const outputs = [dy.shape, gain.shape, gain.shape].map((shape) => backend.makeOutput(shape, 'float32'))
    const [dx, dGain, dOffset] = outputs.map((output) => view(backend, output))
    batchNormGrad(view(backend, dy), view(backend, normalized), view(backend, gain), dx, dGain, dOffset)
    return outputs as unknown as TensorInfo
  })
}

function sumRows(x: Float32Array, width: number): Float64Array {
  const sums = new Float64Array(width)
  for (let row = 0; row < x.length; row += width) for (let c = 0; c < width; c++) sums[c] += x[row + c]
  return sums
}

function batchStatistics(x: Float32Array, mean: Float32Array, variance: Float32Array): void {
  const width = mean.length
  const rows = x.length / width
  const means = sumRows(x, width)
  const squares = new Float64Array(width)
  for (let c = 0; c < width; c++) means[c] /= rows
  for (let row = 0; row < x.length; row += width) {
    for (let c = 0; c < width; c++) {
      const centred = x[row + c] - means[c]
      squares[c] += centred * centred
    }
  }
  for (let c = 0; c < width; c++) {
    mean[c] = means[c]
    variance[c] = squares[c] / rows
  }
}

function scaled(x: Float32Array, mean: Float32Array, gain: Float32Array, out: Float32Array): void {
  const width = mean.length
  for (let row = 0; row < x.length; row += width) for (let c = 0; c < width; c++) out[row + c] = (x[row + c] - mean[c]) * gain[c]
}

function batchNormGrad(
  dy: Float32Array,
  normalized: Float32Array,
  gain: Float32Array,
  dx: Float32Array,
  dGain: Float32Array,
  dOffset: Float32Array,
): void {
  const width = gain.length
  const rows = dy.length / width
  const sums = sumRows(dy, width)
  const products = new Float64Array(width)
  for (let row = 0; row < dy.length; row += width) for (let c = 0; c < width; c++) products[c] += dy[row + c] * normalized[row + c]
  for (let c = 0; c < width; c++) {
    dOffset[c] = sums[c]
    dGain[c] = products[c]
    sums[c] /= rows
    products[c] /= rows
  }
  for (let row = 0; row < dy.length; row += width) {
    for (let c = 0; c < width; c++) dx[row + c] = gain[c] * (dy[row + c] - sums[c] - normalized[row + c] * products[c])
  }
}
