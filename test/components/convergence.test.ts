/** When a VNode counts as stalled, what it does then, and that all of it is in its state. */
import test from 'ava'
import {
  type Action,
  convergenceOf,
  FIRST_PROGRESS,
  isConvergence,
  isConvergenceOptions,
  judge,
  MAX_RESETS,
  MEASURES,
  type Stall,
  stallOf,
} from '../../components/convergence.js'
import { ConvergenceWatch } from '../../components/convergence-watch.js'
import type { Convergence, VNodeMachineDefinition } from '../../components/definition.js'
import { addToSketch, SKETCH_SIZE } from '../../components/convergence-measures.js'
import type { LoadedRule } from '../../components/program.js'
import { startMachines, VNodeMachine } from '../../components/vnode-machine.js'
import { weightsOf } from '../../components/vnode-state.js'
import type { MachineInput } from '../../runtime/compute/machine.js'
import { RandomStream } from '../../runtime/random.js'
import { decodeState, hashState } from '../../runtime/state.js'
import { inputOf, near, numbers, sketch, stepInput, type VNodeSketch } from './numeric.js'

const machines = await startMachines()
const INPUT = [6]
const plain: VNodeSketch = {
  input: INPUT,
  layers: [
    { name: 'dense', options: { units: 5, bias: true }, out: [5] },
    { name: 'relu', out: [5] },
  ],
  rule: { name: 'predsim', options: { w: 0.5, rank: 4 } },
}
const SHORT = { everySteps: 3, patience: 2, minDelta: 0.01, cooldown: 0 } as const

function watching(convergence: Parameters<typeof convergenceOf>[0], s: VNodeSketch = plain): VNodeMachineDefinition {
  const definition = sketch(s)
  return { ...definition, training: { ...definition.training, convergence: convergenceOf(convergence) } }
}

/** The same batch at every step: without a learning rate the loss stays what it is. */
const same = (step: number): MachineInput => ({ ...stepInput(1, INPUT), step })
const motionless: VNodeSketch = { ...plain, optimizer: { name: 'sgd' }, learningRate: 0 }

function stallsOf(machine: VNodeMachine, steps: number, input: (step: number) => MachineInput = same, from = 1): Stall[] {
  return Array.from({ length: steps }, (_, i) => stallOf(from + i, machine.apply(input(from + i)).metrics) ?? []).flat()
}

const tensorOf = (blob: Uint8Array, name: string) => decodeState(blob).find((tensor) => tensor.name === name)!

/** Actions by window, of windows with these mean losses. */
function actionsOf(losses: readonly number[], options: Parameters<typeof convergenceOf>[0]) {
  let progress = FIRST_PROGRESS
  const actions: (Action | undefined)[] = []
  const rates: number[] = []
  for (const loss of losses) {
    const { after, action } = judge(progress, loss, convergenceOf(options))
    progress = after
    actions.push(action)
    rates.push(after.rate)
  }
  return { actions: actions.flatMap((action, i) => (action ? [`${i + 1} ${action}`] : [])), rates, progress }
}

test('a stall is so many windows in a row without a loss lower by the share that counts', (t) => {
  const options = { policy: 'alert', patience: 3, minDelta: 0.1, cooldown: 0 } as const
  t.deepEqual(actionsOf([1, 0.95, 0.95, 0.95], options).actions, ['4 alert'])
  t.deepEqual(actionsOf([1, 0.95, 0.95, 0.89, 0.85, 0.85], options).actions, [], 'progress in between')
  t.deepEqual(actionsOf([1, 0.95, 0.93, 0.91], options).actions, ['4 alert'], 'small gains do not add up to progress')
  t.deepEqual(actionsOf([-1, -1.05, -1.05, -1.05], options).actions, ['4 alert'])
  t.deepEqual(actionsOf([-1, -1.2, -1.5, -2, -3], options).actions, [], 'losses may be below 0')
  t.deepEqual(actionsOf([0, 0, 0, 0], options).actions, ['4 alert'])
})

test('an alert is told once, and again only after progress', (t) => {
  const options = { policy: 'alert', patience: 2, minDelta: 0.1, cooldown: 0 } as const
  t.deepEqual(actionsOf([1, 1, 1, 1, 1, 1, 1, 1], options).actions, ['3 alert'])
  t.deepEqual(actionsOf([1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5], options).actions, ['3 alert', '7 alert'])
})

test('lowerRate multiplies the rate as far as its floor, then it alerts', (t) => {
  const options = { policy: 'lowerRate', patience: 1, factor: 0.25, minFactor: 0.05, cooldown: 0 } as const
  const { actions, rates } = actionsOf([1, 1, 1, 1, 1, 1], options)
  t.deepEqual(actions, ['2 lowerRate', '3 lowerRate', '4 lowerRate', '5 alert'])
  t.deepEqual(rates, [1, 0.25, 0.0625, 0.05, 0.05, 0.05])
})

test('windows of a cooldown do not count, but a better one is remembered', (t) => {
  const options = { policy: 'lowerRate', patience: 2, cooldown: 3, minDelta: 0.1 } as const
  t.deepEqual(
    actionsOf(
      Array.from({ length: 14 }, () => 1),
      options,
    ).actions,
    ['3 lowerRate', '8 lowerRate', '13 lowerRate'],
  )
  const { progress } = actionsOf([1, 1, 1, 0.5], options)
  t.is(progress.best, 0.5)
})

test('a fresh head is compared with nothing before it, and there are not ever more of them', (t) => {
  const options = { policy: 'resetHead', patience: 1, cooldown: 0, minDelta: 0.1 } as const
  t.deepEqual(actionsOf([1, 1, 5, 4, 3], options).actions, ['2 resetHead'])
  const { actions } = actionsOf(
    Array.from({ length: 20 }, () => 1),
    options,
  )
  t.deepEqual(actions, ['2 resetHead', '4 resetHead', '6 resetHead', '8 alert'])
  t.is(actions.length, MAX_RESETS + 1)
})

test('a VNode whose loss stays tells so once, with what it measured', async (t) => {
  const machine = await VNodeMachine.load(watching({ policy: 'alert', ...SHORT }, motionless))
  const loss = machine.apply(same(1)).metrics.loss
  const stalls = stallsOf(machine, 29, same, 2)
  t.is(stalls.length, 1)
  const [{ step, action, averageLoss, bestLoss, ...measures }] = stalls
  t.deepEqual({ step, action }, { step: 9, action: 'alert' }, 'the first window is the best, two more of three steps are a stall')
  near(t, [averageLoss, bestLoss], [loss, loss], 'losses', 1e-6)
  t.is(measures.trend, 0)
  t.is(measures.stability, 0)
  t.is(measures.rate, 1)
  t.true(measures.novelty > 0 && measures.novelty < 4, `${measures.novelty} of four samples`)
  t.true([0, 0.2, 0.4, 0.6, 0.8, 1].includes(measures.deadUnits))
  machine.dispose()
})

test('a VNode that learns is left alone: the same bits as one that nobody watches', async (t) => {
  const [watched, other] = [await VNodeMachine.load(watching({ policy: 'lowerRate', ...SHORT })), await VNodeMachine.load(sketch(plain))]
  t.deepEqual(stallsOf(watched, 24), [])
  stallsOf(other, 24)
  const learnt = (machine: VNodeMachine) => hashState(weightsOf(machine.snapshot()))
  t.is(learnt(watched), learnt(other))
  const names = decodeState(other.snapshot()).map(({ name }) => name)
  t.deepEqual(
    names.filter((name) => name.startsWith('convergence/')),
    [],
    'and the state of that one has nothing of it',
  )
  for (const machine of [watched, other]) machine.dispose()
})

test('its measures are those of its windows, at every step and in evaluations', async (t) => {
  const machine = await VNodeMachine.load(watching({ policy: 'alert', ...SHORT }))
  const steps = Array.from({ length: 12 }, (_, i) => machine.apply(stepInput(i + 1, INPUT)).metrics)
  const mean = (first: number) => (steps[first].loss + steps[first + 1].loss + steps[first + 2].loss) / 3
  t.true(
    MEASURES.every((name) => !(name in steps[1])),
    'none before a window has ended',
  )
  near(
    t,
    [2, 4, 5, 11].map((i) => steps[i].averageLoss),
    [0, 0, 3, 9].map(mean),
    'mean losses',
    1e-9,
  )
  near(t, [steps[5].trend, steps[8].trend], [(mean(0) - mean(3)) / mean(0), (mean(3) - mean(6)) / mean(3)], 'trends', 1e-9)
  t.is(steps[11].bestLoss, Math.min(...[0, 3, 6, 9].map((first) => steps[first + 2].averageLoss)))
  t.true(steps[5].stability !== 0 && Math.abs(steps[5].stability) <= 1)
  const { averageLoss, trend, stability, novelty, deadUnits } = steps[11]
  t.like(machine.apply(stepInput(12, INPUT, { evaluation: 1 })).metrics, { averageLoss, trend, stability, novelty, deadUnits, rate: 1 })
  machine.dispose()
})

test('who goes on straight has stability 1, who goes to and fro -1', async (t) => {
  // A head without an opinion learns from label 0 the opposite of what it learns from label 1.
  const line: VNodeSketch = { ...plain, rule: { name: 'pred' }, target: { kind: 'categorical', classes: 2 }, optimizer: { name: 'sgd' } }
  const definition = watching({ policy: 'alert', ...SHORT }, { ...line, learningRate: 1e-4 })
  const x = numbers('x', 4 * 6)
  for (const [labels, expected] of [
    [(_window: number) => 0, 1],
    [(window: number) => window % 2, -1],
  ] as const) {
    const machine = await VNodeMachine.load(definition)
    for (let step = 1; step <= 15; step++) {
      const input = inputOf(step, x, [4, ...INPUT], new Int32Array(4).fill(labels(Math.floor((step - 1) / 3))))
      const { stability } = machine.apply(input).metrics
      if (step >= 6) near(t, [stability], [expected], `stability at step ${step}`, 1e-2)
    }
    machine.dispose()
  }
})

test('lowerRate multiplies what the VNode learns by, and nothing else', async (t) => {
  const stalling: VNodeSketch = { ...motionless, learningRate: 1e-7 }
  const policy = { policy: 'lowerRate', ...SHORT, factor: 0.25, minFactor: 0.2 } as const
  const machine = await VNodeMachine.load(watching(policy, stalling))
  const stalls = stallsOf(machine, 9)
  t.deepEqual(
    stalls.map(({ step, action, rate }) => ({ step, action, rate })),
    [{ step: 9, action: 'lowerRate', rate: 0.25 }],
  )
  // From here on it is a VNode that was given a quarter of the rate.
  const weights = weightsOf(machine.snapshot())
  const [same1, quarter] = [1e-7, 0.25e-7].map((learningRate) => VNodeMachine.load(sketch({ ...stalling, learningRate }), weights))
  const after: string[] = []
  for (const each of [machine, await same1, await quarter]) {
    each.apply(same(10))
    after.push(hashState(weightsOf(each.snapshot())))
    each.dispose()
  }
  t.is(after[0], after[2])
  t.not(after[0], after[1])
})

test('resetHead makes the head anew from seed, VNode and step, clears its slots, and leaves the block', async (t) => {
  const policy = { policy: 'resetHead', ...SHORT } as const
  const stalling: VNodeSketch = { ...plain, learningRate: 1e-9 }
  const [machine, first] = [await VNodeMachine.load(watching(policy, stalling)), await VNodeMachine.load(sketch(stalling))]
  t.deepEqual(stallsOf(machine, 8), [])
  stallsOf(first, 9)
  t.deepEqual(
    stallsOf(machine, 1, same, 9).map(({ step, action }) => ({ step, action })),
    [{ step: 9, action: 'resetHead' }],
  )
  const [reset, other] = [machine.snapshot(), first.snapshot()]
  for (const { name, values } of decodeState(other)) {
    const now = tensorOf(reset, name).values
    if (name.startsWith('optimizer/') && name.includes('/head/'))
      t.true(
        now.every((x) => x === 0),
        `${name} is zero`,
      )
    else if (name === 'head/projector') t.notDeepEqual(now, values, name)
    else if (name !== 'head/head' && name !== 'head/bias') t.deepEqual(now, values, name)
  }
  t.true(decodeState(other).some(({ name, values }) => name.startsWith('optimizer/m/head/') && values.some((x) => x !== 0)))
  const sketched = new Float64Array(SKETCH_SIZE)
  for (const { name, values } of decodeState(weightsOf(reset)))
    addToSketch(sketched, values as Float32Array, new RandomStream(1, 'convergence', 'v1', 'sketch', name))
  const kept = new Float64Array(tensorOf(reset, 'convergence/sketch').values.buffer as ArrayBuffer)
  near(t, kept, sketched, 'what later changes are measured from', 1e-9)
  const twin = await VNodeMachine.load(watching(policy, stalling))
  stallsOf(twin, 9)
  t.is(hashState(twin.snapshot()), hashState(reset), 'the same head wherever it is made')
  t.is(stallsOf(twin, 9, same, 10).length, 1)
  const [one, two] = [reset, twin.snapshot()].map((blob) => tensorOf(blob, 'head/projector').values)
  t.true(
    one.some((x, i) => Math.abs(x - two[i]) > 0.01),
    'another one at another step',
  )
  const seeded = await VNodeMachine.load(watching(policy, { ...stalling, seed: 2 }))
  stallsOf(seeded, 9)
  t.notDeepEqual(tensorOf(seeded.snapshot(), 'head/projector').values, tensorOf(reset, 'head/projector').values)
  for (const each of [machine, first, twin, seeded]) each.dispose()
})

test.serial('a checkpoint after any step has all that it takes to decide the same, and nothing leaks', async (t) => {
  const before = machines.memory().tensors
  for (const policy of ['alert', 'lowerRate', 'resetHead'] as const) {
    const definition = watching({ policy, ...SHORT, cooldown: 1, minDelta: 0.9 })
    const input = (step: number) => stepInput(step, INPUT)
    const whole = await VNodeMachine.load(definition)
    const expected = stallsOf(whole, 30, input)
    t.true(expected.length >= (policy === 'alert' ? 1 : 2), JSON.stringify(expected))
    const hash = hashState(whole.snapshot())
    for (const cut of [1, 2, 3, 8, 9, 11, 20, 29]) {
      const first = await VNodeMachine.load(definition)
      const begun = stallsOf(first, cut, input)
      const blob = first.snapshot()
      const rest = await VNodeMachine.load(definition, blob)
      t.is(hashState(rest.snapshot()), hashState(blob), `after step ${cut}`)
      t.deepEqual([...begun, ...stallsOf(rest, 30 - cut, input, cut + 1)], expected, `after step ${cut}`)
      t.is(hashState(rest.snapshot()), hash, `after step ${cut}`)
      first.dispose()
      rest.dispose()
    }
    whole.dispose()
  }
  t.is(machines.memory().tensors, before)
})

test('the state has every decision by step, and weights have nothing of the watch', async (t) => {
  const machine = await VNodeMachine.load(watching({ policy: 'resetHead', ...SHORT, minDelta: 0.99 }))
  const stalls = stallsOf(machine, 60, (step) => stepInput(step, INPUT))
  t.true(stalls.length === MAX_RESETS + 1)
  const { shape, values } = tensorOf(machine.snapshot(), 'convergence/decisions')
  t.deepEqual(shape, [stalls.length, 2])
  t.deepEqual(
    [...values],
    stalls.flatMap(({ step, action }) => [step, action === 'resetHead' ? 2 : 0]),
  )
  t.false(decodeState(weightsOf(machine.snapshot())).some(({ name }) => name.startsWith('convergence/')))
  const next = await VNodeMachine.load(watching({ policy: 'alert', ...SHORT }), weightsOf(machine.snapshot()))
  t.is(tensorOf(next.snapshot(), 'convergence/decisions').shape[0], 0, 'whoever starts from its weights begins to watch anew')
  await t.throwsAsync(VNodeMachine.load(sketch(plain), machine.snapshot()), { code: 'checkpoint.damaged' } as never)
  const unwatched = await VNodeMachine.load(sketch(plain))
  await t.throwsAsync(VNodeMachine.load(watching('alert'), unwatched.snapshot()), { code: 'checkpoint.damaged' } as never)
  for (const each of [machine, next, unwatched]) each.dispose()
})

test('a rule without a head has none to reset: it alerts', (t) => {
  const definition = watching({ policy: 'resetHead', ...SHORT })
  const none = { parameters: {} } as unknown as LoadedRule
  const watch = new ConvergenceWatch({ definition, rule: none, learner: { parameters: new Map(), slots: new Map() } })
  const output = { dtype: 'float32', shape: [2, 2], bytes: new Uint8Array(16) } as const
  const seen = Array.from({ length: 30 }, (_, i) => stallOf(i + 1, watch.see(i + 1, { output, metrics: { loss: 1 } }).metrics) ?? []).flat()
  t.deepEqual(
    seen.map(({ step, action }) => ({ step, action })),
    [{ step: 9, action: 'alert' }],
  )
})

test('what does not learn does not watch', async (t) => {
  const none = await VNodeMachine.load(watching({ policy: 'alert', ...SHORT }, { ...plain, hasHead: false }))
  t.deepEqual(none.apply(same(1)).metrics, {})
  t.false(decodeState(none.snapshot()).some(({ name }) => name.startsWith('convergence/')))
  none.dispose()
})

test('a convergence is a policy, or one with counts and shares in range', (t) => {
  const full: Convergence = { policy: 'alert', everySteps: 100, patience: 5, minDelta: 0.01, cooldown: 2 }
  t.deepEqual(convergenceOf('alert'), full)
  t.deepEqual(convergenceOf({ policy: 'lowerRate', patience: 3 }), {
    ...full,
    policy: 'lowerRate',
    patience: 3,
    factor: 0.5,
    minFactor: 0.01,
  })
  const good = [
    'alert',
    'lowerRate',
    'resetHead',
    { policy: 'alert', everySteps: 2, minDelta: 0, cooldown: 0 },
    { policy: 'lowerRate', factor: 0.9 },
  ]
  for (const value of good) t.true(isConvergenceOptions(value), JSON.stringify(value))
  const bad = [
    undefined,
    null,
    true,
    3,
    'stop',
    ['alert'],
    {},
    { policy: 'none' },
    { policy: 'alert', everySteps: 1 },
    { policy: 'alert', everySteps: 2.5 },
    { policy: 'alert', patience: 0 },
    { policy: 'alert', patience: '3' },
    { policy: 'alert', minDelta: 1 },
    { policy: 'alert', minDelta: -0.1 },
    { policy: 'alert', cooldown: -1 },
    { policy: 'alert', factor: 0.5 },
    { policy: 'resetHead', minFactor: 0.5 },
    { policy: 'lowerRate', factor: 1 },
    { policy: 'lowerRate', minFactor: 0 },
    { policy: 'alert', more: 1 },
  ]
  for (const value of bad) t.false(isConvergenceOptions(value), JSON.stringify(value))
  t.true(isConvergence(full))
  t.false(isConvergence('alert'), 'a definition leaves nothing out')
  t.false(isConvergence({ policy: 'alert' }))
})

test('a definition of a form that this version does not know is refused', async (t) => {
  const definition = sketch(plain)
  for (const convergence of [
    { policy: 'alert' },
    { ...convergenceOf('alert'), policy: 'grow' },
    { ...convergenceOf('alert'), window: 3 },
  ]) {
    const strange = { ...definition, training: { ...definition.training, convergence: convergence as never } }
    await t.throwsAsync(VNodeMachine.load(strange), { code: 'definition.invalid', message: /'convergence'/ } as never)
  }
})
