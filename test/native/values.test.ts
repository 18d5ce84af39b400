/** What one step changes on TensorFlow, against wasm from the same state: within the tolerance that audits allow. */
import type { StateTensor } from '../../runtime/state.js'
import { decodeState } from '../../runtime/state.js'
import { sketch, stepInput, type VNodeSketch } from '../components/numeric.js'
import { onNative, poolOf, request } from './native.js'

const BATCH = 32
const WARM_UP = 3
const wasm = poolOf('wasm').compute('w')
const native = poolOf('native').compute('n')

const mlp: VNodeSketch = {
  input: [48],
  layers: [
    { name: 'dense', options: { units: 64, bias: true }, out: [64] },
    { name: 'batchNorm', options: { momentum: 0.1, epsilon: 1e-5 }, out: [64] },
    { name: 'leakyRelu', options: { slope: 0.01 }, out: [64] },
    { name: 'dropout', options: { rate: 0.2 }, out: [64] },
  ],
}
const activation = (name: string): VNodeSketch => ({ ...mlp, layers: [mlp.layers[0], { name, out: [64] }] })
const conv = (pool: string): VNodeSketch => ({
  input: [9, 9, 3],
  layers: [
    { name: 'conv2d', options: { filters: 8, kernelSize: 3, strides: 1, padding: 'same', bias: true }, out: [9, 9, 8] },
    { name: 'relu', out: [9, 9, 8] },
    { name: pool, options: { size: 2 }, out: [4, 4, 8] },
    { name: 'conv2d', options: { filters: 6, kernelSize: 3, strides: 1, padding: 'valid', bias: true }, out: [2, 2, 6] },
  ],
})
const TRANSFORMER = { heads: 2, causal: true, deviation: 0.2, outputScale: 1, expansion: 2, activation: 'gelu' } as const
const CASES: { readonly [what: string]: { readonly sketch: VNodeSketch; readonly relative?: number } } = {
  'pred behind dense, batch norm, leaky relu and dropout': { sketch: mlp },
  'predsim behind the same': { sketch: { ...mlp, rule: { name: 'predsim', options: { w: 0.2, rank: 8 } } } },
  ...Object.fromEntries(
    ['relu', 'tanh', 'sigmoid', 'elu', 'selu', 'gelu', 'silu', 'softplus', 'softmax', 'layerNorm', 'rmsNorm'].map((name) => [
      name,
      { sketch: activation(name) },
    ]),
  ),
  ...Object.fromEntries(
    (['layer', 'rms'] as const).map((norm) => [
      `a transformer's block, norm ${norm}`,
      { sketch: { input: [6, 8], layers: [{ name: 'transformerBlock', options: { ...TRANSFORMER, norm }, out: [6, 8] }] } },
    ]),
  ),
  'convolutions and max pooling': { sketch: conv('maxPool') },
  'convolutions and average pooling': { sketch: conv('avgPool') },
  'predsim behind convolutions': { sketch: { ...conv('maxPool'), rule: { name: 'predsim', options: { w: 0.2, rank: 4 } } } },
  'weight decay of Adam': { sketch: { ...mlp, optimizer: { name: 'adam', options: { weightDecay: 0.01 } } } },
  'gradients that are shortened': { sketch: { ...mlp, optimizer: { name: 'adam', options: { clipNorm: 0.01 } } } },
  'gradient descent': { sketch: { ...mlp, optimizer: { name: 'sgd' } }, relative: 1e-4 },
  'gradient descent with momentum': { sketch: { ...mlp, optimizer: { name: 'sgd', options: { momentum: 0.9 } } }, relative: 1e-4 },
  'gradient descent with momentum and weight decay': {
    sketch: { ...mlp, optimizer: { name: 'sgd', options: { momentum: 0.9, weightDecay: 0.01 } } },
    relative: 1e-4,
  },
  'numbers instead of classes': { sketch: { ...mlp, target: { kind: 'continuous', size: 2 } } },
}

type State = ReadonlyMap<string, StateTensor>
const stateOf = (blob: Uint8Array): State => new Map(decodeState(blob).map((tensor) => [tensor.name, tensor]))

/** The change of all float32 tensors whose name begins so, one after the other. */
function change(before: State, after: State, prefixes: readonly string[]): number[] {
  const names = [...before.keys()].filter((name) => prefixes.some((prefix) => name.startsWith(prefix)))
  return names.flatMap((name) => Array.from(after.get(name)!.values, (value, i) => value - before.get(name)!.values[i]))
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, i) => sum + value * b[i], 0)

for (const [what, { sketch: drawn, relative = 1e-3 }] of Object.entries(CASES)) {
  onNative(`one step is within tolerance of wasm: ${what}`, async (t) => {
    const definition = sketch({ learningRate: 1e-3, ...drawn })
    const { target } = definition
    const options = target.kind === 'continuous' ? { batch: BATCH, size: target.size } : { batch: BATCH, classes: target.classes }
    const inputAt = (step: number, evaluation = 0) => request(stepInput(step, drawn.input, { ...options, evaluation }))
    await wasm.load('a', definition, undefined)
    for (let step = 1; step <= WARM_UP; step++) await wasm.apply('a', inputAt(step))
    const blob = await wasm.snapshot('a')
    await native.load('a', definition, blob)
    t.deepEqual(Buffer.from(await native.snapshot('a')), Buffer.from(blob), 'what was restored, to the bit')
    const before = stateOf(blob)
    const [asked, told] = [await wasm.apply('a', inputAt(WARM_UP + 1)), await native.apply('a', inputAt(WARM_UP + 1))]
    const [expected, got] = [stateOf(await wasm.snapshot('a')), stateOf(await native.snapshot('a'))]
    t.deepEqual([...got.keys()], [...expected.keys()])
    for (const prefixes of [['layers/', 'head/'], ['optimizer/m'], ['optimizer/v/'], ['state/']]) {
      const [a, b] = [change(before, expected, prefixes), change(before, got, prefixes)]
      const length = Math.sqrt(dot(a, a))
      if (length === 0) continue
      const difference = a.map((value, i) => value - b[i])
      const off = Math.sqrt(dot(difference, difference)) / length
      const cosine = dot(a, b) / (length * Math.sqrt(dot(b, b)))
      t.true(off <= relative, `${prefixes.join(' ')}: relative L2 of the difference ${off}`)
      t.true(cosine >= 0.99999, `${prefixes.join(' ')}: cosine ${cosine}`)
    }
    t.true(Math.abs(asked.metrics.loss - told.metrics.loss) <= 1e-4 * Math.abs(asked.metrics.loss), 'loss')
    const evaluated = [await wasm.apply('a', inputAt(WARM_UP + 1, 1)), await native.apply('a', inputAt(WARM_UP + 1, 1))]
    t.true(Math.abs(evaluated[0].metrics.loss - evaluated[1].metrics.loss) <= 1e-3 * Math.abs(evaluated[0].metrics.loss), 'evaluation')
    await Promise.all([wasm.unload('a'), native.unload('a')])
  })
}
