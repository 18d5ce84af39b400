import test from 'ava'
import type { BlockSpec, BuiltIn, ForwardContext, Options, Shape, Tensors } from '../../components/define.js'
import { initializers } from '../../components/initializers.js'
import * as layers from '../../components/layers/index.js'
import { builtInLayers } from '../../components/layers/index.js'
import { startBackend, tf } from '../../components/tf.js'
import { RandomStream } from '../../runtime/random.js'
import { isSwarmError } from '../../runtime/errors.js'
import { checkGradient, near, randomTensor } from './numeric.js'

test.before(async () => {
  await startBackend()
})

function context(state: Tensors, training = true): ForwardContext {
  return { training, step: 1, random: new RandomStream(1, 'dropout'), state }
}

/** Gradients by parameters and inputs in training, and the shape that the shape function promised. */
function checkLayer(t: Parameters<typeof near>[0], name: string, raw: Options, shapes: readonly Shape[], range: [number, number]): void {
  const spec: BuiltIn<BlockSpec<any>> = builtInLayers[name]
  const options = spec.options!(raw)
  const output = spec.shape(shapes[0], options, shapes)
  const random = initializers(3, name)
  const parameters = spec.init?.(shapes[0], options, random) ?? {}
  const state = spec.state?.(shapes[0], options, random) ?? {}
  const names = Object.keys(parameters)
  const moved = names.map((key) => tf.add(parameters[key], randomTensor(key, parameters[key].shape, 0.1, 0.4)))
  const xs = shapes.map((shape, i) => randomTensor(`x${i}`, [3, ...shape], ...range))
  const run = (...inputs: tf.Tensor[]): tf.Tensor => {
    const given = Object.fromEntries(names.map((key, i) => [key, inputs[i]]))
    const ins = inputs.slice(names.length)
    return spec.forward(given, ins[0], context({ ...state }), options, ins)
  }
  t.deepEqual(run(...moved, ...xs).shape, [3, ...output])
  checkGradient(t, name, run, [...moved, ...xs], 1e-2)
}

const cases: [name: string, options: Options, shapes: Shape[], range?: [number, number]][] = [
  ['dense', { units: 4 }, [[5]]],
  ['dense', { units: 4, bias: false }, [[5]]],
  ['flatten', {}, [[2, 2, 2]]],
  ['batchNorm', {}, [[4]]],
  ['batchNorm', {}, [[3, 2, 2]]],
  ['layerNorm', {}, [[5]]],
  ['layerNorm', {}, [[3, 4]]],
  ['rmsNorm', {}, [[5]]],
  ['rmsNorm', { epsilon: 0.1 }, [[3, 4]]],
  ['positionEmbedding', {}, [[3, 4]]],
  ['selfAttention', { heads: 2, deviation: 0.5 }, [[3, 4]]],
  ['selfAttention', { heads: 1, causal: false, deviation: 0.5 }, [[4, 3]]],
  ['transformerBlock', { heads: 2, expansion: 2, deviation: 0.3 }, [[3, 6]], [-3, 3]],
  ['transformerBlock', { heads: 1, expansion: 1, norm: 'rms', activation: 'silu', deviation: 0.5 }, [[3, 4]]],
  ['dropout', { rate: 0.4 }, [[6]]],
  ['conv2d', { filters: 3 }, [[5, 4, 2]]],
  ['conv2d', { filters: 2, kernelSize: 2, strides: 2, padding: 'valid', bias: false }, [[5, 4, 2]]],
  ['avgPool', { size: 2 }, [[4, 4, 2]]],
  ['avgPool', { size: 3, strides: 1, padding: 'same' }, [[4, 4, 2]]],
  ['globalAveragePool', {}, [[3, 3, 2]]],
  ['add', {}, [[4], [4], [4]]],
  [
    'concat',
    {},
    [
      [2, 2, 1],
      [2, 2, 3],
    ],
  ],
  ['relu', {}, [[4]], [0.1, 2]],
  ['leakyRelu', { slope: 0.1 }, [[4]], [-2, -0.1]],
  ...['tanh', 'sigmoid', 'gelu', 'silu', 'softplus', 'softmax'].map((name): [string, Options, Shape[]] => [name, {}, [[4]]]),
  ['elu', {}, [[4]], [-2, -0.1]],
  ['selu', {}, [[4]], [-2, -0.1]],
]
for (const [name, options, shapes, range = [-1, 1]] of cases) {
  test(`${name} ${JSON.stringify(options)} on ${JSON.stringify(shapes)} has the gradients of finite differences`, (t) =>
    checkLayer(t, name, options, shapes, range as [number, number]))
}

test('layerNorm and rmsNorm normalise each sample along its last dimension', (t) => {
  const x = tf.tensor2d([
    [1, 2, 3, 6],
    [-5, -5, 5, 5],
  ])
  const ofOnes = { gamma: tf.ones([4]), beta: tf.zeros([4]) }
  const by = (name: string) => builtInLayers[name].forward(ofOnes, x, context({}), { epsilon: 1e-5 }, [x]).dataSync()
  // Mean 3, variance 3.5; mean of the squares 12.5.
  near(t, by('layerNorm'), [-1.06904, -0.53452, 0, 1.60357, -1, -1, 1, 1], 'layerNorm', 1e-5)
  near(t, by('rmsNorm'), [0.28284, 0.56569, 0.84853, 1.69706, -1, -1, 1, 1], 'rmsNorm', 1e-5)
})

test('embedding has a row for each token, and adds up what each of them is told', (t) => {
  const spec: BuiltIn<BlockSpec<any>> = builtInLayers.embedding
  const options = spec.options!({ vocabulary: 5, units: 3 })
  t.deepEqual(spec.shape([4], options, [[4]]), [4, 3])
  const { w } = spec.init!([4], options, initializers(3, 'embedding'))
  const x = tf.tensor([0, 4, 4, 1, 2, 2, 2, 0], [2, 4])
  checkGradient(t, 'embedding', (table) => spec.forward({ w: table }, x, context({}), options, [x]), [w])
  const rows = spec.forward({ w }, x, context({}), options, [x]).arraySync() as number[][][]
  const table = w.arraySync() as number[][]
  t.deepEqual(rows, [
    [table[0], table[4], table[4], table[1]],
    [table[2], table[2], table[2], table[0]],
  ])
  for (const stranger of [5, -1, 0.5, NaN]) {
    const wrong = tf.tensor([0, 1, stranger, 2], [1, 4])
    const error = t.throws(() => spec.forward({ w }, wrong, context({}), options, [wrong]))
    t.true(isSwarmError(error, 'dataset.invalid'))
    t.regex(error.message, /token.*0 to 4/)
  }
})

test('causal attention sees a token and those before it; otherwise all of them', (t) => {
  const spec: BuiltIn<BlockSpec<any>> = builtInLayers.transformerBlock
  for (const causal of [true, false]) {
    const options = spec.options!({ heads: 2, causal, deviation: 0.5 })
    const parameters = spec.init!([4, 6], options, initializers(3, 'transformer'))
    const answer = (x: tf.Tensor) => spec.forward(parameters, x, context({}), options, [x]).arraySync() as number[][][]
    const x = randomTensor('x', [1, 4, 6])
    const [before] = answer(x)
    const changed = tf.add(
      x,
      tf.tensor(
        [0, 0, 1, 0].flatMap((row) => Array.from({ length: 6 }, (_, k) => row * k)),
        [1, 4, 6],
      ),
    )
    const [after] = answer(changed)
    const same = before.map((row, i) => row.every((value, k) => value === after[i][k]))
    t.deepEqual(same, causal ? [true, true, false, false] : [false, false, false, false])
  }
})

test('gelu is x·Φ(x)', (t) => {
  const gelu = builtInLayers.gelu.forward({}, tf.tensor1d([-1, 0, 1, 2]), context({}), {}, [])
  near(t, gelu.dataSync(), [-0.158655, 0, 0.841345, 1.954499], 'gelu', 1e-5)
})

test('batchNorm centres and scales each channel in training, and moves its running statistics', (t) => {
  const x = randomTensor('x', [50, 3], 2, 6)
  const state: Tensors = { mean: tf.zeros([3]), variance: tf.ones([3]) }
  const spec = builtInLayers.batchNorm
  const parameters = { gamma: tf.ones([3]), beta: tf.zeros([3]) }
  const options = spec.options!({})
  const y = spec.forward(parameters, x, context(state), options, [x])
  near(t, tf.mean(y, 0).dataSync(), [0, 0, 0], 'mean', 1e-5)
  near(t, tf.mean(tf.square(y), 0).dataSync(), [1, 1, 1], 'variance', 1e-3)
  const { mean, variance } = tf.moments(x, 0)
  near(t, state.mean.dataSync(), tf.mul(mean, 0.1).dataSync(), 'running mean', 1e-5)
  near(t, state.variance.dataSync(), tf.add(tf.mul(variance, (0.1 * 50) / 49), 0.9).dataSync(), 'running variance', 1e-5)
  const before = { ...state }
  const z = spec.forward(parameters, x, context(state, false), options, [x])
  t.deepEqual(state, before)
  near(t, z.dataSync(), tf.div(tf.sub(x, state.mean), tf.sqrt(tf.add(state.variance, 1e-5))).dataSync(), 'evaluation', 1e-4)
})

test('dropout keeps the expectation, is the same for the same stream, and does nothing in evaluation', (t) => {
  const spec = builtInLayers.dropout
  const x = tf.ones([100, 100])
  const y = spec.forward({}, x, context({}), { rate: 0.25 }, [x]).dataSync() as Float32Array
  t.deepEqual(
    [...new Set(y)].sort((a, b) => a - b),
    [0, Math.fround(1 / 0.75)],
  )
  t.true(Math.abs(y.reduce((a, b) => a + b) / y.length - 1) < 0.02)
  t.deepEqual(spec.forward({}, x, context({}), { rate: 0.25 }, [x]).dataSync(), y)
  t.is(spec.forward({}, x, context({}, false), { rate: 0.25 }, [x]), x)
})

test('options are checked when a layer is made', (t) => {
  const wrong: [make: () => unknown, message: RegExp][] = [
    [() => layers.dense(0), /'units' of layer 'dense'.*got 0/],
    [() => layers.dense(2.5), /'units'/],
    [() => layers.dense(4, { bais: true } as never), /unknown option 'bais' of layer 'dense'.*Did you mean 'bias'/],
    [() => layers.dropout(1), /'rate'/],
    [() => layers.conv2d(4, { padding: 'full' as never }), /'padding'.*got "full"/],
    [() => layers.batchNorm({ momentum: 2 }), /'momentum'/],
    [() => builtInLayers.flatten.options!({ axis: 1 }), /unknown option 'axis' of layer 'flatten'/],
    [() => builtInLayers.dense.options!({}), /'units'.*got nothing/],
  ]
  for (const [make, message] of wrong) t.true(isSwarmError(t.throws(make, { message }), 'graph.unknown'))
  t.deepEqual(layers.conv2d(8).calls[0].options, { filters: 8, kernelSize: 3, strides: 1, padding: 'same', bias: true })
})

test('shapes that do not fit are refused with the reason', (t) => {
  const shapeOf =
    (name: string, raw: Options, ...shapes: Shape[]) =>
    () => {
      const spec: BuiltIn<BlockSpec<any>> = builtInLayers[name]
      return spec.shape(shapes[0], spec.options!(raw), shapes)
    }
  const wrong: [run: () => unknown, message: RegExp][] = [
    [shapeOf('dense', { units: 4 }, [28, 28, 1]), /dense needs a flat input: got \[28, 28, 1\]. Put flatten\(\) before it/],
    [shapeOf('conv2d', { filters: 4 }, [5]), /conv2d needs images/],
    [shapeOf('maxPool', { size: 4 }, [3, 3, 1]), /larger image: got 3×3/],
    [shapeOf('add', {}, [3], [4]), /add needs inputs of one shape: expected \[3\], got \[4\]/],
    [shapeOf('concat', {}, [3, 3, 1], [2, 3, 1]), /expected \[3, 3, \*\], got \[2, 3, 1\]/],
  ]
  for (const [run, message] of wrong) t.true(isSwarmError(t.throws(run, { message }), 'graph.shape'))
})

test('every layer of the registry knows its own name', (t) => {
  for (const [name, spec] of Object.entries(builtInLayers)) t.is(spec.name, name)
})
