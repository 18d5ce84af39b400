import test from 'ava'
import { initializers } from '../../components/initializers.js'
import { meanSquaredError, metricsOf, softmaxCrossEntropy } from '../../components/losses.js'
import { builtInRules, predsim } from '../../components/rules/index.js'
import { featureShape } from '../../components/rules/features.js'
import { startBackend, tf } from '../../components/tf.js'
import type { Shape, Tensors } from '../../components/define.js'
import { isSwarmError } from '../../runtime/errors.js'
import { checkGradient, near, randomTensor } from './numeric.js'

test.before(async () => {
  await startBackend()
})

const classes = 3
const target = { kind: 'categorical' as const, classes }
const oneHot = (labels: number[]): tf.Tensor =>
  tf.tensor(
    labels.flatMap((label) => [0, 1, 2].map((c) => (c === label ? 1 : 0))),
    [labels.length, classes],
  )
const labels = [0, 2, 1, 0, 2]

test('softmax cross-entropy is −log p of the label, also where exp would overflow', (t) => {
  const logits = tf.tensor1d([1, 2, 3, 1000, 0, 0, -1000, 0, 0, 0.5, 0.5, 0.5, 0, 0, 9])
  const loss = softmaxCrossEntropy(tf.reshape(logits, [5, 3]), oneHot(labels)).dataSync()[0]
  const log = (row: number[], label: number): number => {
    const top = Math.max(...row)
    return top + Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0)) - row[label]
  }
  const rows = [
    [1, 2, 3],
    [1000, 0, 0],
    [-1000, 0, 0],
    [0.5, 0.5, 0.5],
    [0, 0, 9],
  ]
  near(t, [loss], [rows.reduce((sum, row, i) => sum + log(row, labels[i]), 0) / 5], 'loss', 1e-5)
  checkGradient(t, 'cross-entropy', (z) => softmaxCrossEntropy(z, oneHot(labels)), [randomTensor('z', [5, 3], -2, 2)])
  checkGradient(t, 'mse', (z) => meanSquaredError(z, randomTensor('y', [5, 3])), [randomTensor('z', [5, 3], -2, 2)])
})

for (const rule of ['pred', 'predsim', 'solo', 'backprop']) {
  for (const shape of [[6], [4, 4, 3]] as Shape[]) {
    test(`${rule} on [${shape.join(', ')}] has the gradients of finite differences by the output and its own parameters`, (t) => {
      const spec = builtInRules[rule]
      const options = spec.options!({})
      const parameters = spec.init(shape, target, initializers(1, rule), options)
      const names = Object.keys(parameters)
      const moved = names.map((name) => randomTensor(name, parameters[name].shape, -0.5, 0.5))
      const y = oneHot(labels)
      const loss = (h: tf.Tensor, ...values: tf.Tensor[]): tf.Tensor => {
        const given: Tensors = Object.fromEntries(names.map((name, i) => [name, values[i]]))
        return spec.loss({ logits: spec.logits(given, h, options, target), y, h, parameters: given, target }, options)
      }
      checkGradient(t, rule, loss, [randomTensor('h', [5, ...shape], 0.1, 1), ...moved], 1e-2)
    })
  }
}

test('predsim is the formula of its paper', (t) => {
  const spec = builtInRules.predsim
  const options = spec.options!({ w: 0.3, rank: 4 })
  const h = randomTensor('h', [5, 6])
  const parameters: Tensors = { head: randomTensor('D', [6, 3]), bias: tf.zeros([3]), projector: randomTensor('P', [6, 4]) }
  const logits = spec.logits(parameters, h, options, target)
  const y = oneHot(labels)
  const got = spec.loss({ logits, y, h, parameters, target }, options).dataSync()[0]
  const gram = (z: number[][]): number[][] => {
    const rows = z.map((row) => {
      const mean = row.reduce((a, b) => a + b) / row.length
      const centred = row.map((v) => v - mean)
      const length = Math.sqrt(centred.reduce((sum, v) => sum + v * v, 0))
      return centred.map((v) => v / (length + 1e-8))
    })
    return rows.map((a) => rows.map((b) => a.reduce((sum, v, i) => sum + v * b[i], 0)))
  }
  const z = tf.matMul(h, parameters.projector).arraySync() as number[][]
  const [gz, gy] = [gram(z), gram(y.arraySync() as number[][])]
  const similarity = gz.flat().reduce((sum, v, i) => sum + (v - gy.flat()[i]) ** 2, 0) / 25
  const rows = logits.arraySync() as number[][]
  const entropy = rows.reduce((sum, row, i) => sum + Math.log(row.reduce((a, v) => a + Math.exp(v), 0)) - row[labels[i]], 0) / 5
  near(t, [got], [0.3 * entropy + 0.7 * similarity], 'predsim', 1e-5)
})

test('predsim stays finite where an output is zero', (t) => {
  const spec = builtInRules.predsim
  const options = spec.options!({})
  const parameters = spec.init([6], target, initializers(1, 'zero'), options)
  const gradient = tf.grad((h) =>
    spec.loss({ logits: spec.logits(parameters, h, options, target), y: oneHot(labels), h, parameters, target }, options),
  )(tf.zeros([5, 6]))
  t.true(gradient.dataSync().every(Number.isFinite))
})

test('predsim takes an eighth of the output as its rank, at least 8, and classes only', (t) => {
  const rankOf = (shape: Shape): number[] => builtInRules.predsim.init(shape, target, initializers(1), { w: 0.2 }).projector.shape
  t.deepEqual(rankOf([256]), [256, 32])
  t.deepEqual(rankOf([16]), [16, 8])
  t.deepEqual(rankOf([8, 8, 128]), [3, 3, 128, 16])
  const error = t.throws(() => builtInRules.predsim.init([16], { kind: 'continuous', size: 2, classes: 2 }, initializers(1), { w: 0.2 }))
  t.true(isSwarmError(error, 'definition.invalid'))
  t.true(
    isSwarmError(
      t.throws(() => predsim({ w: 2 })),
      'graph.unknown',
    ),
  )
})

test('a head reads at most 2,048 features', (t) => {
  t.deepEqual(featureShape([300], target), [300])
  t.deepEqual(featureShape([8, 8, 32], target), [8, 8, 32])
  t.deepEqual(featureShape([28, 28, 32], target), [7, 7, 32])
  t.deepEqual(featureShape([2, 2, 4096], target), [1, 1, 4096])
})

test('metrics count correct answers and measure errors', (t) => {
  t.deepEqual(metricsOf(target, Float32Array.of(1, 3, 2, 5, 5, 0), Int32Array.of(1, 1)), { correct: 1, count: 2 })
  t.deepEqual(metricsOf({ kind: 'continuous', size: 2 }, Float32Array.of(1, 2, 3, 4), Float32Array.of(1, 1, 3, 1)), {
    absoluteError: 1,
    squaredError: 2.5,
    count: 2,
  })
})
