import test from 'ava'
import {
  DEFAULT_DECAY,
  DEFAULT_MILESTONES,
  defaultLearningRate,
  isSchedule,
  learningRateAt,
  type Schedule,
  scheduleOf,
} from '../../components/schedule.js'
import { adam, builtInOptimizers, sgd } from '../../components/optimizers/index.js'
import { isSwarmError } from '../../runtime/errors.js'

test('the learning rate falls once each milestone is passed', (t) => {
  const training = { learningRate: 1, decay: DEFAULT_DECAY, milestones: DEFAULT_MILESTONES, totalSteps: 100 }
  const rates = [1, 50, 51, 75, 76, 89, 90, 94, 95, 100].map((step) => learningRateAt(step, training))
  t.deepEqual(rates, [1, 1, 0.25, 0.25, 0.0625, 0.0625, 0.015625, 0.015625, 0.00390625, 0.00390625])
})

test('it rises in equal parts, and falls in a line, along a cosine, or by steps', (t) => {
  const at = (schedule: Schedule, steps: readonly number[]) =>
    steps.map((step) => Number(learningRateAt(step, { learningRate: 8, totalSteps: 9, ...scheduleOf(schedule) }).toFixed(6)))
  t.deepEqual(at({ warmup: 4, milestones: [] }, [1, 2, 3, 4, 5, 9]), [2, 4, 6, 8, 8, 8])
  t.deepEqual(at({ kind: 'linear', warmup: 4, end: 0.5 }, [3, 4, 5, 6, 7, 8, 9]), [6, 8, 8, 7, 6, 5, 4])
  t.deepEqual(at({ kind: 'linear' }, [1, 5, 9, 10]), [8, 4, 0, 0])
  const cosine = [0, 1, 2, 3, 4, 5, 6, 7, 8].map((i) => Number((4 + 4 * Math.cos((Math.PI * i) / 8)).toFixed(6)))
  t.deepEqual(at({ kind: 'cosine' }, [1, 2, 3, 4, 5, 6, 7, 8, 9]), cosine)
  t.deepEqual(at({ kind: 'cosine', end: 1 }, [1, 5, 9]), [8, 8, 8])
  t.deepEqual(at({ milestones: [0.5], decay: 0.5 }, [4, 5, 9]), [8, 4, 4])
  t.deepEqual(scheduleOf(), { decay: DEFAULT_DECAY, milestones: DEFAULT_MILESTONES }, 'what was always meant is written as it always was')
})

test('a schedule that cannot be is none', (t) => {
  const wrong: unknown[] = [{ kind: 'sine' }, { warmup: -1 }, { warmup: 1.5 }, { kind: 'linear', end: 2 }, { kind: 'cosine', decay: 0.5 }]
  for (const each of [...wrong, { milestones: [0.7, 0.5] }, { milestones: ['half'] }, { decay: 0 }, { end: 0.5 }, 3, null])
    t.false(isSchedule(each), JSON.stringify(each))
  for (const each of [{}, { warmup: 10 }, { kind: 'steps', decay: 0.1 }, { kind: 'cosine', end: 0.1, warmup: 5 }])
    t.true(isSchedule(each), JSON.stringify(each))
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
