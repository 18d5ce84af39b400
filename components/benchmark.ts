/** How fast this machine multiplies. The one place of components/ that reads a clock: nothing here touches state. */
import { tf, viewOf } from './tf.js'

const ROWS = 128
const SIZE = 512
const ROUNDS = 12
/** A slow machine is not kept for longer, in ms, but for the round that it is at; the first ones tell enough. */
const LONGEST_MS = 100

/**
 * 10⁹ floating-point operations per second of the wasm matrix product (a multiply-add is two); about 20 ms, on slow machines some 100.
 * The best of several rounds: others that use the machine just now say nothing about its speed.
 */
export function measureGflops(): number {
  return tf.tidy(() => {
    const a = tf.ones<tf.Rank.R2>([ROWS, SIZE])
    const b = tf.ones<tf.Rank.R2>([SIZE, SIZE])
    viewOf(tf.matMul(a, b))
    let shortestMs = Infinity
    const endMs = performance.now() + LONGEST_MS
    for (let i = 0; i < ROUNDS && (i < 2 || performance.now() < endMs); i++) {
      const startMs = performance.now()
      tf.matMul(a, b)
      shortestMs = Math.min(shortestMs, Math.max(1e-3, performance.now() - startMs))
    }
    return (2 * ROWS * SIZE * SIZE) / (shortestMs * 1e6)
  })
}
