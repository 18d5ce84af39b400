/** How fast this machine multiplies. The one place of components/ that reads a clock: nothing here touches state. */
import { tf, viewOf } from './tf.js'

const ROWS = 32
const SIZE = 512
/** Each is short, so that one at least is not interrupted, however many others want the processors. */
const ROUNDS = 48
const LEAST_ROUNDS = 8
/** A slow machine is not kept for longer, in ms, but for the round that it is at; the first ones tell enough. */
const LONGEST_MS = 100

/**
 * 10⁹ floating-point operations per second of the backend's matrix product (a multiply-add is two); about 20 ms, on slow machines 100 and more.
 * The best of several rounds: others that use the machine just now say nothing about its speed.
 */
export function measureGflops(): number {
  return tf.tidy(() => {
    const a = tf.ones<tf.Rank.R2>([ROWS, SIZE])
    const b = tf.ones<tf.Rank.R2>([SIZE, SIZE])
    viewOf(tf.matMul(a, b))
    let shortestMs = Infinity
    const endMs = performance.now() + LONGEST_MS
    for (let i = 0; i < ROUNDS && (i < LEAST_ROUNDS || performance.now() < endMs); i++) {
      const startMs = performance.now()
      viewOf(tf.matMul(a, b)) // read, since a GPU multiplies while nobody waits
      shortestMs = Math.min(shortestMs, Math.max(1e-3, performance.now() - startMs))
    }
    return (2 * ROWS * SIZE * SIZE) / (shortestMs * 1e6)
  })
}
