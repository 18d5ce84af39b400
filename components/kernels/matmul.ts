/**
 * `BatchMatMul` by a product of our own. tfjs's sends a transposed factor down a scalar path up to 48 times slower than XNNPACK's, and every
 * gradient has one; batches of matrices (attention) too. Ours transposes nothing, and takes 0.7 of XNNPACK's time where that is used.
 */
import { replaceKernel, wasmKernel } from './kernel.js'
import type { BackendWasm, Tf, TensorInfo } from './kernel.js'
import { type Matrix, type Products, type Sizes, viewOf } from './product.js'

const FLOAT_BYTES = 4
/** Kernels of the activations that `_FusedMatMul` knows. */
const ACTIVATIONS: { readonly [activation: string]: string } = {
  relu: 'Relu',
  relu6: 'Relu6',
  elu: 'Elu',
  sigmoid: 'Sigmoid',
  leakyrelu: 'LeakyRelu',
  prelu: 'Prelu',
}

interface Attributes {
  readonly transposeA: boolean
  readonly transposeB: boolean
}

/** Replaces `BatchMatMul` and `_FusedMatMul` of the wasm backend. */
export function registerMatMul(tf: Tf, products: (backend: BackendWasm, sizes: Sizes) => Products): void {
  const multiply = ({ a, b }: { [name: string]: TensorInfo }, backend: BackendWasm, attrs: object): TensorInfo => {
    if (a.dtype !== 'float32' || b.dtype !== 'float32') throw new Error(`matMul of ${a.dtype} and ${b.dtype}: cast both to float32`)
    const { transposeA, transposeB } = attrs as Attributes
    const [left, right] = [outline(a, transposeA), outline(b, transposeB)]
    const [m, k, n] = [left.rows, left.columns, right.columns]
    const batches = tf.broadcast_util.assertAndGetBroadcastShape(left.batches, right.batches)
    if (k !== right.rows) {
      throw new Error(`matMul of [${a.shape.join(', ')}] and [${b.shape.join(', ')}]: inner sizes ${k} and ${right.rows} differ`)
    }
    const out = backend.makeOutput([...batches, m, n], 'float32')
    if (m * n * k === 0) viewOf(backend, out).fill(0)
    const count = tf.util.sizeFromShape(batches)
    if (count * m * n * k === 0) return out
    const run = products(backend, { m, n, k })
    const matrix = (x: TensorInfo, shape: Outline): ((batch: number) => Matrix) => {
      const { byteOffset } = viewOf(backend, x)
      const numberOf = batchNumbers(shape.batches, batches)
      return (batch) => ({ ...shape, address: byteOffset + numberOf(batch) * shape.rows * shape.columns * FLOAT_BYTES })
    }
    const [aAt, bAt] = [matrix(a, left), matrix(b, right)]
    const start = viewOf(backend, out).byteOffset
    for (let batch = 0; batch < count; batch++) {
      run.multiply(aAt(batch), bAt(batch), { address: start + batch * m * n * FLOAT_BYTES, rowBytes: n * FLOAT_BYTES })
    }
    run.close()
    return out
  }
  replaceKernel(tf, 'BatchMatMul', ({ inputs, backend, attrs }) => multiply(inputs, backend, attrs))
  replaceKernel(tf, '_FusedMatMul', ({ inputs, backend, attrs }) => {
    const then = (name: string, named: { [input: string]: TensorInfo }, before: TensorInfo): TensorInfo => {
      const next = wasmKernel(tf, name)({ inputs: named, backend, attrs: { alpha: attrs.leakyreluAlpha } })
      backend.disposeData(before.dataId)
      return next
    }
    const { bias, preluActivationWeights: alpha } = inputs
    let out = multiply(inputs, backend, attrs)
    if (bias) out = then('Add', { a: out, b: bias }, out)
    const activation = ACTIVATIONS[attrs.activation as string]
    if (activation) out = then(activation, activation === 'Prelu' ? { x: out, alpha } : { x: out }, out)
    return out
  })
}

/** A factor of a product: a matrix, or a batch of them. */
interface Outline extends Omit<Matrix, 'address'> {
  readonly batches: number[]
  readonly rows: number
  readonly columns: number
}

function outline({ shape }: TensorInfo, isTransposed: boolean): Outline {
  const [rows, columns] = shape.slice(-2)
  const batches = shape.slice(0, -2)
  const [side, down] = [FLOAT_BYTES, columns * FLOAT_BYTES]
  if (isTransposed) return { batches, rows: columns, columns: rows, rowBytes: side, columnBytes: down }
  return { batches, rows, columns, rowBytes: down, columnBytes: side }
}

/** Which of its own matrices a factor has in the n-th of the product's, where sizes of 1 are stretched. */
function batchNumbers(own: readonly number[], all: readonly number[]): (batch: number) => number {
  const missing = all.length - own.length
  if (own.every((size, i) => size === all[missing + i]) && all.slice(0, missing).every((size) => size === 1)) return (batch) => batch
  return (batch) => {
    let [number, stride, rest] = [0, 1, batch]
    for (let i = all.length - 1; i >= 0; i--) {
      const at = rest % all[i]
      rest = (rest - at) / all[i]
      const size = i < missing ? 1 : own[i - missing]
      if (size > 1) number += at * stride
      stride *= size
    }
    return number
  }
}
