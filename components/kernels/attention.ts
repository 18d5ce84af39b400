/**
 * Attention of all heads of a batch on the wasm heap, in the layout in which queries, keys and values come out of one product: nothing is
 * transposed. `AttentionScores`, `AttentionMix` and, for both, `AttentionGrad`; the softmax between them is tfjs's.
 */
import { replaceKernel } from './kernel.js'
import type { BackendWasm, Tf, TensorInfo } from './kernel.js'
import { type Matrix, type Products, type Sizes, viewOf } from './product.js'

const FLOAT_BYTES = 4
/** What a token that comes later scores: nothing is left of it after the softmax. */
export const HIDDEN_SCORE = -1e9

interface Attributes {
  /** Scores are multiplied by it. */
  readonly scale: number
  /** Scores of later tokens are `HIDDEN_SCORE`. */
  readonly causal: boolean
}

/** Registers the kernels. qkv is [batch, tokens, 3, heads, size], scores and weights [batch, heads, tokens, tokens], the rest [batch, tokens, heads, size]. */
export function registerAttention(tf: Tf, products: (backend: BackendWasm, sizes: Sizes) => Products): void {
  replaceKernel(tf, 'AttentionScores', ({ inputs: { qkv }, backend, attrs }) => {
    const { scale, causal } = attrs as unknown as Attributes
    const { batch, tokens, heads, size, part } = layoutOf(backend, qkv)
    const scores = backend.makeOutput([batch, heads, tokens, tokens], 'float32')
    const run = products(backend, { m: tokens, n: tokens, k: size })
    const start = viewOf(backend, scores).byteOffset
    for (let head = 0; head < batch * heads; head++) {
      run.multiply(part('q', head), transposed(part('k', head)), square(start, head, tokens))
    }
    run.close()
    scaleAndHide(viewOf(backend, scores), tokens, scale, causal)
    return scores
  })

  replaceKernel(tf, 'AttentionMix', ({ inputs: { weights, qkv }, backend }) => {
    const { batch, tokens, heads, size, part } = layoutOf(backend, qkv)
    const mixed = backend.makeOutput([batch, tokens, heads, size], 'float32')
    const run = products(backend, { m: tokens, n: size, k: tokens })
    const outputs = rowsOf(backend, mixed)
    const start = viewOf(backend, weights).byteOffset
    for (let head = 0; head < batch * heads; head++) run.multiply(square(start, head, tokens), part('v', head), outputs(head))
    run.close()
    return mixed
  })

  /** The derivative by qkv, given that by the mix. */
  replaceKernel(tf, 'AttentionGrad', ({ inputs: { dy, weights, qkv }, backend, attrs }) => {
    const { scale } = attrs as unknown as Attributes
    const { batch, tokens, heads, size, part } = layoutOf(backend, qkv)
    const out = backend.makeOutput(qkv.shape, 'float32')
    const dScores = backend.makeOutput([tokens, tokens], 'float32')
    const wide = products(backend, { m: tokens, n: tokens, k: size })
    const narrow = products(backend, { m: tokens, n: size, k: tokens })
    const derivative = layoutOf(backend, out).part
    const upstream = rowsOf(backend, dy)
    const start = viewOf(backend, weights).byteOffset
    const own = square(viewOf(backend, dScores).byteOffset, 0, tokens)
    for (let head = 0; head < batch * heads; head++) {
      const probabilities = square(start, head, tokens)
      narrow.multiply(transposed(probabilities), upstream(head), derivative('v', head))
      wide.multiply(upstream(head), transposed(part('v', head)), own)
      const first = head * tokens * tokens
      softmaxGrad(viewOf(backend, dScores), viewOf(backend, weights).subarray(first, first + tokens * tokens), tokens, scale)
      narrow.multiply(own, part('k', head), derivative('q', head))
      narrow.multiply(transposed(own), part('q', head), derivative('k', head))
    }
    wide.close()
    narrow.close()
    backend.disposeData(dScores.dataId)
    return out
  })
}

/** Where the queries, keys and values of each head lie: a row for each token. */
function layoutOf(backend: BackendWasm, qkv: TensorInfo) {
  const [batch, tokens, , heads, size] = qkv.shape
  const rowBytes = 3 * heads * size * FLOAT_BYTES
  const { byteOffset } = viewOf(backend, qkv)
  const part = (which: 'q' | 'k' | 'v', head: number): Matrix => {
    const column = ('qkv'.indexOf(which) * heads + (head % heads)) * size * FLOAT_BYTES
    return { address: byteOffset + Math.floor(head / heads) * tokens * rowBytes + column, rowBytes, columnBytes: FLOAT_BYTES }
  }
  return { batch, tokens, heads, size, part }
}

/** The rows of each head in [batch, tokens, heads, size]. */
function rowsOf(backend: BackendWasm, x: TensorInfo): (head: number) => Matrix {
  const [, tokens, heads, size] = x.shape
  const rowBytes = heads * size * FLOAT_BYTES
  const { byteOffset } = viewOf(backend, x)
  return (head) => {
    const address = byteOffset + Math.floor(head / heads) * tokens * rowBytes + (head % heads) * size * FLOAT_BYTES
    return { address, rowBytes, columnBytes: FLOAT_BYTES }
  }
}

function square(start: number, head: number, tokens: number): Matrix {
  return { address: start + head * tokens * tokens * FLOAT_BYTES, rowBytes: tokens * FLOAT_BYTES, columnBytes: FLOAT_BYTES }
}

const transposed = ({ address, rowBytes, columnBytes }: Matrix): Matrix => ({ address, rowBytes: columnBytes, columnBytes: rowBytes })

function scaleAndHide(scores: Float32Array, tokens: number, scale: number, causal: boolean): void {
  for (let row = 0; row * tokens < scores.length; row++) {
    const seen = causal ? (row % tokens) + 1 : tokens
    const first = row * tokens
    for (let i = first; i < first + seen; i++) scores[i] *= scale
    scores.fill(HIDDEN_SCORE, first + seen, first + tokens)
  }
}

/** From the derivative by a softmax's output p to that by its input, scaled: p·(dy − Σ dy·p)·scale, in place, row by row. */
function softmaxGrad(dy: Float32Array, p: Float32Array, width: number, scale: number): void {
  for (let first = 0; first < dy.length; first += width) {
    let sum = 0
    for (let i = first; i < first + width; i++) sum += dy[i] * p[i]
    for (let i = first; i < first + width; i++) dy[i] = p[i] * (dy[i] - sum) * scale
  }
}
