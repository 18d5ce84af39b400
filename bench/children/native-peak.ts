/** The best that the matrix product of TensorFlow reaches with one thread, in 10⁹ operations per second: of several sizes the fastest. */
import { startBackend, tf, viewOf } from '../../components/tf.js'

const ROUNDS = 12
await startBackend('native')
let gflops = 0
for (const size of [512, 1024, 2048]) {
  const [a, b] = [tf.ones<tf.Rank.R2>([size, size]), tf.ones<tf.Rank.R2>([size, size])]
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now()
    const product = tf.matMul(a, b)
    gflops = Math.max(gflops, (2 * size * size * size) / (performance.now() - started) / 1e6)
    viewOf(product)
    product.dispose()
  }
}
process.stdout.write(`${JSON.stringify({ gflops })}\n`)
