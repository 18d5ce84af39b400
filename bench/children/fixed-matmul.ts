/** The small fix that a knowledgeable user would make, for a fair comparison: transposes first, then the fast product. */
import type * as tfjs from '@tensorflow/tfjs'

type Tf = typeof tfjs

export function replaceBatchMatMul(tf: Tf): void {
  const matMul = tf.getKernel('BatchMatMul', 'wasm')
  const transpose = tf.getKernel('Transpose', 'wasm')
  tf.unregisterKernel('BatchMatMul', 'wasm')
  tf.registerKernel({
    ...matMul,
    kernelFunc: ({ inputs, backend, attrs }) => {
      const made: tfjs.TensorInfo[] = []
      const turned = (x: tfjs.TensorInfo): tfjs.TensorInfo => {
        const perm = x.shape.map((_, axis) => axis)
        perm.push(...perm.splice(-2).toReversed())
        const out = transpose.kernelFunc({ inputs: { x }, backend, attrs: { perm } }) as tfjs.TensorInfo
        made.push(out)
        return out
      }
      const { a, b } = inputs as { a: tfjs.TensorInfo; b: tfjs.TensorInfo }
      const { transposeA, transposeB } = attrs as { transposeA: boolean; transposeB: boolean }
      const product = matMul.kernelFunc({
        inputs: { a: transposeA ? turned(a) : a, b: transposeB ? turned(b) : b },
        backend,
        attrs: { transposeA: false, transposeB: false },
      })
      for (const { dataId } of made) (backend as tfjs.KernelBackend).disposeData(dataId)
      return product
    },
  })
}
