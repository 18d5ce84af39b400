/**
 * Machines of a third compute class: tfjs's wasm without SIMD, and products of matrices that add in blocks, as kernels of other widths do. For tests of how far
 * classes differ; no host computes like this. Without SIMD alone tfjs gives the same bits (measured): each element is the same sum in the same order.
 */
import { startBackend, tf, viewOf } from '../../components/tf.js'
import { startMachines as startOurs } from '../../components/vnode-machine.js'
import type { Machines } from '../../runtime/compute/machine.js'

const BLOCK = 8

export async function startMachines(): Promise<Machines> {
  tf.env().set('WASM_HAS_SIMD_SUPPORT', false)
  await startBackend()
  tf.unregisterKernel('BatchMatMul', 'wasm')
  tf.registerKernel({ kernelName: 'BatchMatMul', backendName: 'wasm', kernelFunc: ({ inputs, attrs }) => multiply(inputs, attrs) })
  const machines = await startOurs()
  return { ...machines, computeClass: `${machines.computeClass}, products in blocks of ${BLOCK}` }
}

/** a·b of matrices, either of them transposed. */
function multiply({ a, b }: tf.NamedTensorInfoMap, attrs: tf.NamedAttrMap | undefined): tf.TensorInfo {
  const [left, right] = [a, b].map((matrix) => viewOf(matrix as tf.Tensor).slice())
  const rows = (matrix: tf.TensorInfo, isTransposed: unknown) => (isTransposed === true ? matrix.shape.toReversed() : matrix.shape)
  const [[m, k], [, n]] = [rows(a!, attrs?.transposeA), rows(b!, attrs?.transposeB)]
  const values = new Float32Array(m * n)
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0
      for (let start = 0; start < k; start += BLOCK) {
        let block = 0
        for (let at = start; at < Math.min(k, start + BLOCK); at++) {
          const x = left[attrs?.transposeA === true ? at * m + i : i * k + at]
          const y = right[attrs?.transposeB === true ? j * k + at : at * n + j]
          block = Math.fround(block + Math.fround(x * y))
        }
        sum = Math.fround(sum + block)
      }
      values[i * n + j] = sum
    }
  return { dataId: tf.backend().write(values, [m, n], 'float32'), shape: [m, n], dtype: 'float32' }
}
