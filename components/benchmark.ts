/** How fast this machine multiplies. The one place of components/ that reads a clock: nothing here touches state. */
import { tf, viewOf } from './tf.js'

const ROWS = 128
const SIZE = 512
const REPEATS = 10

/** Multiply-adds per second of the wasm matrix product, in 10⁹ (2 flops each count as one gflop… of the usual figure); about 20 ms. */
export function measureGflops(): number {
  return tf.tidy(() => {
    const a = tf.ones<tf.Rank.R2>([ROWS, SIZE])
    const b = tf.ones<tf.Rank.R2>([SIZE, SIZE])
    viewOf(tf.matMul(a, b))
    const start = performance.now()
    for (let i = 0; i < REPEATS; i++) tf.matMul(a, b)
    const seconds = Math.max(1e-6, (performance.now() - start) / 1000)
    return (2 * ROWS * SIZE * SIZE * REPEATS) / seconds / 1e9
  })
}
