/** Times kernels of the wasm backend in this thread; prints the best of many calls of each. */
import { startBackend, tf } from '../../components/tf.js'
import { mixByOperations, mixOnHeap } from '../../components/layers/attention.js'
import { builtInLayers } from '../../components/layers/index.js'
import { RandomStream } from '../../runtime/random.js'

const ROUNDS = 60
/** Products that tfjs would have transposed first take 50 times as long. */
const STOCK_ROUNDS = 8

/** Milliseconds of the fastest call. */
function best(run: () => unknown, rounds = ROUNDS): number {
  let least = Infinity
  for (let i = 0; i < rounds; i++) {
    const begun = performance.now()
    tf.tidy(() => void run())
    least = Math.min(least, performance.now() - begun)
  }
  return least
}

const filled = (shape: number[]): tf.Tensor => tf.keep(tf.mul(tf.ones(shape), 0.01))
/** Multiply-adds in a second, from the size and the milliseconds, as 10⁹ operations. */
const gflops = (size: number, ms: number): number => (2 * size) / ms / 1e6

const SIZE_OF_PRODUCT = 128 * 1024 * 1024
/** As they are before ours take their place. */
async function stock(): Promise<{ [figure: string]: number }> {
  await tf.setBackend('wasm')
  const [x, w, dy] = [filled([128, 1024]), filled([1024, 1024]), filled([128, 1024])]
  return {
    stockDenseGflops: gflops(
      SIZE_OF_PRODUCT,
      best(() => tf.matMul(x, w), STOCK_ROUNDS),
    ),
    stockWeightGradientGflops: gflops(
      SIZE_OF_PRODUCT,
      best(() => tf.matMul(x, dy, true), STOCK_ROUNDS),
    ),
    stockInputGradientGflops: gflops(
      SIZE_OF_PRODUCT,
      best(() => tf.matMul(dy, w, false, true), STOCK_ROUNDS),
    ),
  }
}
const before = await stock()
await startBackend()

const [BATCH, TOKENS, HEADS, SIZE] = [32, 64, 4, 32]
const [x, w, dy] = [filled([128, 1024]), filled([1024, 1024]), filled([128, 1024])]
const [many, others] = [filled([BATCH * HEADS, TOKENS, TOKENS]), filled([BATCH * HEADS, TOKENS, SIZE])]
const qkv = filled([BATCH, TOKENS, 3, HEADS, SIZE])
const attention = (mix: typeof mixOnHeap) => () => tf.grad((given) => tf.sum(mix(given, { causal: true })))(qkv)
const dropout = builtInLayers.dropout
const random = new RandomStream(1, 'dropout')
const context = { training: true, step: 1, random, state: {} }

const figures = {
  ...before,
  denseGflops: gflops(
    128 * 1024 * 1024,
    best(() => tf.matMul(x, w)),
  ),
  weightGradientGflops: gflops(
    128 * 1024 * 1024,
    best(() => tf.matMul(x, dy, true)),
  ),
  inputGradientGflops: gflops(
    128 * 1024 * 1024,
    best(() => tf.matMul(dy, w, false, true)),
  ),
  batchedGflops: gflops(
    BATCH * HEADS * TOKENS * TOKENS * SIZE,
    best(() => tf.matMul(many, others)),
  ),
  attentionMs: best(attention(mixOnHeap)),
  attentionByOperationsMs: best(attention(mixByOperations)),
  dropoutMs: best(() => dropout.forward({}, x, context, { rate: 0.1 }, [x])),
}
process.stdout.write(`${JSON.stringify(figures)}\n`)
