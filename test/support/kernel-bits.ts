/** What kernels compute, forwards and backwards, as hashes: whatever does not compute the same bits has a name. */
import { createHash } from 'node:crypto'
import type { BlockSpec, BuiltIn, Options, Shape, Tensors } from '../../components/define.js'
import { initializers } from '../../components/initializers.js'
import { builtInLayers } from '../../components/layers/index.js'
import { startBackend, tf } from '../../components/tf.js'
import { RandomStream } from '../../runtime/random.js'
import { randomTensor } from '../components/numeric.js'

const BATCH = 5
/** Sizes that are no multiples of a vector. */
const [IMAGE, TOKENS, ROW]: Shape[] = [[9, 7, 3], [13, 24], [37]]
const LAYERS: { readonly [what: string]: readonly [layer: string, options: Options, input: Shape] } = {
  dense: ['dense', { units: 11 }, ROW],
  conv2d: ['conv2d', { filters: 6 }, IMAGE],
  'conv2d, strides 2': ['conv2d', { filters: 6, strides: 2, padding: 'valid' }, IMAGE],
  maxPool: ['maxPool', { size: 2 }, IMAGE],
  avgPool: ['avgPool', { size: 2 }, IMAGE],
  batchNorm: ['batchNorm', {}, ROW],
  layerNorm: ['layerNorm', {}, TOKENS],
  rmsNorm: ['rmsNorm', {}, TOKENS],
  dropout: ['dropout', { rate: 0.3 }, ROW],
  selfAttention: ['selfAttention', { heads: 3 }, TOKENS],
  'selfAttention, not causal': ['selfAttention', { heads: 3, causal: false }, TOKENS],
  transformerBlock: ['transformerBlock', { heads: 3 }, TOKENS],
  ...Object.fromEntries(['gelu', 'silu', 'softmax', 'tanh', 'elu', 'softplus'].map((name) => [name, [name, {}, ROW]])),
}

type Fn = (...xs: tf.Tensor[]) => tf.Tensor

/** SHA-256 of f(xs), then of the derivatives of Σ c·f(xs) by each x. */
function bitsOf(f: Fn, xs: readonly tf.Tensor[]): string {
  const hash = createHash('sha256')
  tf.tidy(() => {
    const out = f(...xs)
    const c = randomTensor('c', out.shape)
    const derivatives = tf.grads((...inputs: tf.Tensor[]) => tf.sum(tf.mul(f(...inputs), c)))([...xs])
    for (const tensor of [out, ...derivatives])
      hash.update(`${tensor.shape.join('×')} `).update(new Uint8Array(tensor.dataSync().slice().buffer))
  })
  return hash.digest('hex')
}

function ofLayer(name: string, raw: Options, input: Shape): string {
  const spec = builtInLayers[name] as BuiltIn<BlockSpec<Options>>
  const options = spec.options!(raw)
  const random = initializers(3, name)
  const parameters = spec.init?.(input, options, random) ?? {}
  const state: Tensors = spec.state?.(input, options, random) ?? {}
  const names = Object.keys(parameters)
  const run: Fn = (x, ...given) => {
    const own = Object.fromEntries(names.map((key, i) => [key, given[i]]))
    return spec.forward(own, x, { training: true, step: 1, random: new RandomStream(1, name), state: { ...state } }, options, [x])
  }
  return bitsOf(run, [randomTensor('x', [BATCH, ...input]), ...names.map((key) => parameters[key])])
}

/** Many products at once, each way round. */
function ofProducts(): { readonly [what: string]: string } {
  const ways = [false, true].flatMap((ta) => [false, true].map((tb) => [ta, tb]))
  return Object.fromEntries(
    ways.map(([ta, tb]) => {
      const [a, b] = [randomTensor('a', ta ? [6, 17, 10] : [6, 10, 17]), randomTensor('b', tb ? [6, 9, 17] : [6, 17, 9])]
      return [`products, transposed ${ta} ${tb}`, bitsOf((x, y) => tf.matMul(x, y, ta, tb), [a, b])]
    }),
  )
}

/** On WebAssembly, by what was computed. */
export async function kernelBits(): Promise<{ readonly [what: string]: string }> {
  await startBackend()
  const layers = Object.entries(LAYERS).map(([what, [layer, options, input]]) => [what, ofLayer(layer, options, input)] as const)
  return { ...Object.fromEntries(layers), ...ofProducts() }
}
