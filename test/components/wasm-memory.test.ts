/** The heap of the wasm backend where it is large: numbers beyond 2 GiB, and nothing more to be had. */
import test from 'ava'
import type { BackendWasm } from '../../components/kernels/kernel.js'
import { assembleProduct, scratchBytes } from '../../components/kernels/product-module.js'
import { startBackend, tf } from '../../components/tf.js'
import { isSwarmError } from '../../runtime/errors.js'

interface Memory {
  readonly buffer: ArrayBuffer
}
const { WebAssembly: wasm } = globalThis as unknown as { WebAssembly: { readonly Memory: new (limits: { initial: number }) => Memory } }
const PAGE_BYTES = 65_536
const MIDDLE = 2 ** 31

test('a product is right wherever its matrices and its scratch lie, across 2 GiB too', (t) => {
  // Mapped when it is touched: it costs nothing.
  const memory = new wasm.Memory({ initial: MIDDLE / PAGE_BYTES + 16 })
  const multiply = assembleProduct(memory)!
  const [m, n, k] = [4, 8, 64]
  const [a, b, c] = [0, 4_096, 16_384]
  const heap = new Float32Array(memory.buffer, 0, 8_192)
  heap.fill(1, a / 4, a / 4 + m * k).fill(1, b / 4, b / 4 + k * n)
  const room = scratchBytes(m, k)
  for (const scratch of [65_536, MIDDLE - room, MIDDLE - room + 512, MIDDLE - 1_024, MIDDLE - 64, MIDDLE]) {
    heap.fill(-1, c / 4, c / 4 + m * n)
    multiply(a, b, c, m, n, k, 4 * k, 4, 4 * n, 4, 4 * n, scratch)
    t.true(
      heap.subarray(c / 4, c / 4 + m * n).every((value) => value === k),
      `scratch at 2 GiB ${scratch - MIDDLE}: ${heap[c / 4]}`,
    )
  }
})

test('a heap that is full is told as such, and goes on as it was', async (t) => {
  await startBackend()
  const backend = tf.backend() as BackendWasm
  const before = backend.numDataIds()
  const made: { readonly dataId: object }[] = []
  const error = t.throws(() => {
    for (let i = 0; i < 8; i++) made.push(backend.makeOutput([2 ** 28], 'float32'))
  })
  t.true(isSwarmError(error, 'backend.memory'), String(error))
  t.regex(error.message, /no room for 1073741824 bytes/)
  for (const { dataId } of made) backend.disposeData(dataId)
  t.deepEqual([...tf.matMul(tf.ones<tf.Rank.R2>([2, 3]), tf.ones<tf.Rank.R2>([3, 1])).dataSync()], [3, 3])
  t.true(backend.numDataIds() <= before + 4)
})
