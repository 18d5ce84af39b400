import test from 'ava'
import { DEFAULT_DECAY, DEFAULT_MILESTONES, defaultLearningRate, learningRateAt } from '../../components/schedule.js'
import { adam, builtInOptimizers, sgd } from '../../components/optimizers/index.js'
import { isSwarmError } from '../../runtime/errors.js'

test('the learning rate falls once each milestone is passed', (t) => {
  const training = { learningRate: 1, decay: DEFAULT_DECAY, milestones: DEFAULT_MILESTONES, totalSteps: 100 }
  const rates = [1, 50, 51, 75, 76, 89, 90, 94, 95, 100].map((step) => learningRateAt(step, training))
  t.deepEqual(rates, [1, 1, 0.25, 0.25, 0.0625, 0.0625, 0.015625, 0.015625, 0.00390625, 0.00390625])
})

test('short runs get a higher rate', (t) => {
  t.deepEqual([5, 10, 11].map(defaultLearningRate), [2e-3, 2e-3, 5e-4])
})

test('optimizers check their options and fill in the defaults', (t) => {
  t.deepEqual(adam().options, { beta1: 0.9, beta2: 0.999, epsilon: 1e-6 })
  t.deepEqual(sgd({ learningRate: 0.1 }).options, { learningRate: 0.1, momentum: 0, weightDecay: 0 })
  for (const wrong of [
    () => adam({ epsilon: 0 }),
    () => sgd({ momentum: 1 }),
    () => adam({ clipNorm: 0 }),
    () => adam({ weightDecay: -1 }),
    () => adam({ lr: 1 } as never),
  ]) {
    t.true(isSwarmError(t.throws(wrong), 'graph.unknown'))
  }
})

test('sgd with momentum and weight decay is the textbook formula', (t) => {
  const spec = builtInOptimizers.sgd
  const options = spec.options({ momentum: 0.9, weightDecay: 0.1 })
  const [p, g, u] = [Float32Array.of(1), Float32Array.of(0.5), new Float32Array(1)]
  let [expected, velocity] = [1, 0]
  for (let step = 0; step < 5; step++) {
    spec.update({ parameters: p, gradient: g, slots: [u], learningRate: 0.1, products: {} }, options)
    velocity = 0.9 * velocity + 0.5 + 0.1 * expected
    expected -= 0.1 * velocity
  }
  t.true(Math.abs(p[0] - expected) < 1e-6)
})
