/** How fast this machine multiplies. The one place of components/ that reads a clock: nothing here touches state. */
import { tf, viewOf } from './tf.js'

const ROWS = 128
const SIZE = 512
const ROUNDS = 12

/**
 * 10⁹ floating-point operations per second of the wasm matrix product (a multiply-add is two); about 20 ms. The best of several
 * rounds: others that use the machine just now say nothing about its speed.
 */
export function measureGflops(): number {
  return tf.tidy(() => {
    const a = tf.ones<tf.Rank.R2>([ROWS, SIZE])
    const b = tf.ones<tf.Rank.R2>([SIZE, SIZE])
    viewOf(tf.matMul(a, b))
    let shortestMs = Infinity
    for (let i = 0; i < ROUNDS; i++) {
      const startMs = performance.now()
      tf.matMul(a, b)
      shortestMs = Math.min(shortestMs, Math.max(1e-3, performance.now() - startMs))
    }
    return (2 * ROWS * SIZE * SIZE) / (shortestMs * 1e6)
  })
}
