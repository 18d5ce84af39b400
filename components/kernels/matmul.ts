/**
 * Matrix products with their transposes materialised first. tfjs's wasm kernels send a product with `transposeA` or
 * `transposeB` down a scalar path up to 48 times slower than XNNPACK's, and every gradient is such a product.
 */
import { replaceKernel, wasmKernel } from './kernel.js'
import type { BackendWasm, Tf, TensorInfo, WasmKernel } from './kernel.js'

/** Replaces `BatchMatMul` and `_FusedMatMul` of the wasm backend. */
export function registerMatMul(tf: Tf): void {
  for (const name of ['BatchMatMul', '_FusedMatMul'])
    replaceKernel(tf, name, untransposed(wasmKernel(tf, name), wasmKernel(tf, 'Transpose')))
}

function untransposed(multiply: WasmKernel, transpose: WasmKernel): WasmKernel {
  return ({ inputs, backend, attrs }) => {
    const { a, b } = inputs
    if (attrs.transposeB && !attrs.transposeA && Object.keys(inputs).length === 2 && isMuchLarger(b, a)) {
      // a·bᵀ = (b·aᵀ)ᵀ: two small transposes, and XNNPACK packs the small factor instead of the large one.
      const small = swapLastTwo(a, transpose, backend)
      const product = multiply({ inputs: { a: b, b: small }, backend, attrs: { ...attrs, transposeA: false, transposeB: false } })
      const out = swapLastTwo(product, transpose, backend)
      for (const temporary of [small, product]) backend.disposeData(temporary.dataId)
      return out
    }
    const left = attrs.transposeA ? swapLastTwo(a, transpose, backend) : a
    const right = attrs.transposeB ? swapLastTwo(b, transpose, backend) : b
    const out = multiply({ inputs: { ...inputs, a: left, b: right }, backend, attrs: { ...attrs, transposeA: false, transposeB: false } })
    if (left !== a) backend.disposeData(left.dataId)
    if (right !== b) backend.disposeData(right.dataId)
    return out
  }
}

/** True if b [n, k] has more elements than a [m, k] and a·bᵀ [m, n] together. */
function isMuchLarger(b: TensorInfo, a: TensorInfo): boolean {
  if (a.shape.slice(0, -2).some((size) => size !== 1) || b.shape.slice(0, -2).some((size) => size !== 1)) return false
  const [[m, k], [n]] = [a.shape.slice(-2), b.shape.slice(-2)]
  return n * k > m * (k + n)
}

function swapLastTwo(x: TensorInfo, transpose: WasmKernel, backend: BackendWasm): TensorInfo {
  const perm = x.shape.map((_, i) => i)
  perm.push(...perm.splice(-2).toReversed())
  return transpose({ inputs: { x }, backend, attrs: { perm } })
}
