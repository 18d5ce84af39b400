import test from 'ava'
import type { ExecutionContext } from 'ava'
import type { VNodeMachineDefinition } from '../../components/definition.js'
import { builtInLayers } from '../../components/layers/index.js'
import { startMachines, VNodeMachine } from '../../components/vnode-machine.js'
import { tf } from '../../components/tf.js'
import { isSwarmError } from '../../runtime/errors.js'
import { decodeState, encodeState, hashState } from '../../runtime/state.js'
import type { StateTensor } from '../../runtime/state.js'
import { RandomStream } from '../../runtime/random.js'
import { differences, inputOf, near, sketch, stepInput } from './numeric.js'
import type { VNodeSketch } from './numeric.js'

const machines = await startMachines()
const alive = (): number => machines.memory().tensors

const mlp: VNodeSketch = {
  input: [6],
  layers: [
    { name: 'dense', options: { units: 5, bias: true }, out: [5] },
    { name: 'batchNorm', options: { momentum: 0.1, epsilon: 1e-5 }, out: [5] },
    { name: 'leakyRelu', options: { slope: 0.01 }, out: [5] },
    { name: 'dropout', options: { rate: 0.2 }, out: [5] },
  ],
}
const conv: VNodeSketch = {
  input: [6, 6, 2],
  layers: [
    { name: 'conv2d', options: { filters: 4, kernelSize: 3, strides: 1, padding: 'same', bias: true }, out: [6, 6, 4] },
    { name: 'tanh', out: [6, 6, 4] },
    { name: 'avgPool', options: { size: 2 }, out: [3, 3, 4] },
  ],
}
const tensorsOf = (machine: VNodeMachine): Map<string, StateTensor> =>
  new Map(decodeState(machine.snapshot()).map((tensor) => [tensor.name, tensor]))
const hashOf = (machine: VNodeMachine): string => hashState(machine.snapshot())

async function trained(definition: VNodeMachineDefinition, from: number, to: number, blob?: Uint8Array): Promise<VNodeMachine> {
  const machine = await VNodeMachine.load(definition, blob)
  for (let step = from; step <= to; step++) machine.apply(stepInput(step, definition.vnode.inputShapes[0]))
  return machine
}

/** Batch norm over four samples is sharply curved; smaller steps drown in the rounding of the loss. */
const STEP = 3e-3

/** One step of SGD moves every parameter by −lr times the derivative of the loss, measured by loading moved parameters. */
async function checkUpdate(t: ExecutionContext, s: VNodeSketch): Promise<void> {
  const learningRate = 0.5
  const definition = sketch({ ...s, optimizer: { name: 'sgd' }, learningRate })
  const target = definition.target
  const options = target.kind === 'continuous' ? { size: target.size } : { classes: target.classes }
  const warm = await VNodeMachine.load(definition)
  warm.apply(stepInput(1, s.input, options)) // so that no head is zero any more
  const blob = warm.snapshot()
  const before = decodeState(blob)
  const input = stepInput(2, s.input, options)
  warm.apply(input)
  const after = tensorsOf(warm)
  warm.dispose()
  for (const parameter of before.filter(({ name }) => name.startsWith('layers/') || name.startsWith('head/'))) {
    const values = parameter.values as Float32Array
    const losses = new Map<Float32Array, number>()
    const moved: Float32Array[] = []
    differences(values, (x) => (moved.push(x), 0), STEP)
    for (const x of moved) {
      const machine = await VNodeMachine.load(
        definition,
        encodeState(before.map((other) => (other === parameter ? { ...other, values: x } : other))),
      )
      losses.set(x, machine.apply(input).metrics.loss)
      machine.dispose()
    }
    let at = 0
    const gradient = differences(values, () => losses.get(moved[at++])!, STEP)
    const got = values.map((value, i) => (value - (after.get(parameter.name)!.values as Float32Array)[i]) / learningRate)
    near(t, got, gradient, parameter.name, 1e-2)
  }
}

for (const [what, s] of Object.entries({
  'pred behind dense, batch norm, leaky relu and dropout': mlp,
  'predsim behind dense, batch norm, tanh and dropout': {
    ...mlp,
    layers: mlp.layers.with(2, { name: 'tanh', out: [5] }),
    rule: { name: 'predsim', options: { w: 0.3, rank: 4 } },
  },
  'pred behind a convolution': conv,
  'predsim behind a convolution': { ...conv, rule: { name: 'predsim', options: { w: 0.2, rank: 3 } } },
  'backprop through two layers': {
    ...mlp,
    layers: [
      ...mlp.layers.slice(0, 2),
      { name: 'tanh', out: [5] },
      { name: 'dense', options: { units: 4, bias: true }, out: [4] },
      { name: 'gelu', out: [4] },
    ],
    rule: { name: 'backprop' },
  },
  'pred on numbers': { ...mlp, layers: mlp.layers.slice(0, 1), target: { kind: 'continuous' as const, size: 2 } },
  'a branch that is added': {
    input: [4],
    layers: [
      { name: 'dense', options: { units: 4, bias: true }, out: [4] },
      { name: 'tanh', out: [4] },
      { name: 'add', out: [4], from: [1, -1] },
      { name: 'concat', out: [8], from: [2, 0] },
    ],
  },
} satisfies { [what: string]: VNodeSketch })) {
  test(`${what}: a step of sgd is the gradient of finite differences`, (t) => checkUpdate(t, s))
}

for (const optimizer of ['adam', 'sgd']) {
  test(`${optimizer}: a state that is saved and loaded goes on with the same bits, and so does a second instance`, async (t) => {
    const definition = sketch({
      ...mlp,
      rule: { name: 'predsim', options: { w: 0.2, rank: 4 } },
      optimizer: { name: optimizer, options: optimizer === 'sgd' ? { momentum: 0.9 } : {} },
    })
    const straight = await trained(definition, 1, 20)
    const half = await trained(definition, 1, 11)
    const rest = await trained(definition, 12, 20, half.snapshot())
    const again = await trained(definition, 1, 20)
    t.is(hashOf(rest), hashOf(straight))
    t.is(hashOf(again), hashOf(straight))
    t.not(hashOf(half), hashOf(straight))
    for (const machine of [straight, half, rest, again]) machine.dispose()
  })
}

test('gradients whose norm is too large are shortened to it, all by one factor; others are left alone', async (t) => {
  const learningRate = 0.5
  /** By how much a step of SGD moves all that learns. */
  const moved = async (clipNorm?: number): Promise<Float64Array> => {
    const machine = await trained(sketch({ ...mlp, optimizer: { name: 'sgd', options: { clipNorm } }, learningRate }), 1, 3)
    const learns = (tensors: Map<string, StateTensor>) =>
      [...tensors.values()].filter(({ name }) => /^(layers|head)\//.test(name)).flatMap(({ values }) => Array.from(values, Number))
    const before = learns(tensorsOf(machine))
    machine.apply(stepInput(4, mlp.input))
    const after = learns(tensorsOf(machine))
    machine.dispose()
    return Float64Array.from(after, (value, i) => value - before[i])
  }
  const normOf = (steps: Float64Array) => Math.hypot(...steps) / learningRate
  t.deepEqual(await moved(1e6), await moved())
  const short = await moved(1e-2)
  t.true(Math.abs(normOf(short) - 1e-2) < 1e-5, String(normOf(short)))
})

test.serial('a VNode that is restored draws no numbers of its own: all of them are in its state', async (t) => {
  const dense = builtInLayers.dense as { init: NonNullable<(typeof builtInLayers.dense)['init']> }
  const { init } = dense
  const drawn: number[] = []
  dense.init = (input, options, random) => {
    const made = init(input, options, random)
    drawn.push(made.w.dataSync().filter((w) => w !== 0).length)
    return made
  }
  try {
    for (const rule of ['pred', 'predsim', 'backprop', 'relay', 'solo']) {
      const definition = sketch({ ...mlp, rule: { name: rule } })
      const machine = await trained(definition, 1, 1)
      const restored = await VNodeMachine.load({ ...definition, training: { ...definition.training, seed: 77 } }, machine.snapshot())
      t.is(hashOf(restored), hashOf(machine), rule)
      for (const each of [machine, restored]) each.dispose()
    }
    t.deepEqual(drawn, [30, 0, 30, 0, 30, 0, 30, 0, 30, 0])
  } finally {
    dense.init = init
  }
})

test('other seeds give other weights; names say what is in a state', async (t) => {
  const [a, b] = [await trained(sketch(mlp), 1, 1), await trained(sketch({ ...mlp, seed: 2 }), 1, 1)]
  t.not(hashOf(a), hashOf(b))
  const own = ['dense-1/b', 'dense-1/w', 'batchNorm-2/beta', 'batchNorm-2/gamma'].map((name) => `layers/${name}`)
  const parameters = [...own, 'head/bias', 'head/head']
  const expected = [
    ...parameters,
    ...['m', 'v'].flatMap((slot) => parameters.map((name) => `optimizer/${slot}/${name}`)),
    'optimizer/beta1Power',
    'optimizer/beta2Power',
    'state/batchNorm-2/mean',
    'state/batchNorm-2/variance',
    'step',
  ]
  t.deepEqual([...tensorsOf(a).keys()].sort(), expected.sort())
  const power = new Float64Array(tensorsOf(a).get('optimizer/beta1Power')!.values.slice().buffer)[0]
  t.is(power, 0.9)
  a.dispose()
  b.dispose()
})

test('evaluation and answers change nothing, at any time', async (t) => {
  const machine = await trained(sketch(mlp), 1, 5)
  const before = hashOf(machine)
  const input = stepInput(5, [6], { evaluation: 1, batch: 9 })
  const first = machine.apply(input)
  t.deepEqual(Object.keys(first.metrics).sort(), ['correct', 'count', 'loss'])
  t.is(first.metrics.count, 9)
  const bytes = first.output.bytes.slice()
  t.deepEqual(machine.apply(input).output.bytes, bytes)
  const { kind, shape, values } = machine.answer(input)
  t.is(kind, 'probabilities')
  t.deepEqual(shape, [9, 3])
  near(t, [values.reduce((a, b) => a + b)], [9], 'sum of probabilities', 1e-5)
  t.is(hashOf(machine), before)
  machine.dispose()
})

test('a VNode without a head passes its output on and has no metrics', async (t) => {
  const machine = await VNodeMachine.load(sketch({ input: [2, 2, 1], layers: [{ name: 'flatten', out: [4] }], hasHead: false }))
  const { output, metrics } = machine.apply(stepInput(1, [2, 2, 1]))
  t.deepEqual(output.shape, [4, 4])
  t.deepEqual(output.bytes, stepInput(1, [2, 2, 1]).inputs[0].output.bytes)
  t.deepEqual(metrics, {})
  machine.dispose()
})

test('the output is that of the pass before the update', async (t) => {
  const definition = sketch({ ...mlp, layers: mlp.layers.slice(0, 1) })
  const [a, b] = [await trained(definition, 1, 3), await trained(definition, 1, 3)]
  const input = stepInput(4, [6])
  t.deepEqual(a.apply(input).output.bytes, b.apply({ ...input, evaluation: 1 }).output.bytes)
  a.dispose()
  b.dispose()
})

test.serial('fifty steps leak nothing, and dispose frees everything', async (t) => {
  const before = alive()
  for (const s of [mlp, conv, { ...mlp, rule: { name: 'predsim' } }] satisfies VNodeSketch[]) {
    const machine = await VNodeMachine.load(sketch(s))
    machine.apply(stepInput(1, s.input))
    const loaded = alive()
    for (let step = 2; step <= 51; step++) {
      machine.apply(stepInput(step, s.input))
      machine.apply(stepInput(step, s.input, { evaluation: 1 }))
      machine.answer(stepInput(step, s.input))
    }
    t.is(alive(), loaded)
    machine.dispose()
    t.is(alive(), before)
  }
})

test.serial('an error of a layer names layer and step, and leaks nothing', async (t) => {
  const before = alive()
  const dense = builtInLayers.dense as { forward: (typeof builtInLayers.dense)['forward'] }
  const { forward } = dense
  const failures: [forward: typeof forward, code: 'compute.failed' | 'graph.shape', message: RegExp][] = [
    [
      (p, x) => {
        tf.matMul(x, p.w)
        throw new Error('boom')
      },
      'compute.failed',
      /layer 'dense-1' threw at step 2: boom/,
    ],
    [
      (p, x) => tf.transpose(tf.matMul(x as tf.Tensor2D, p.w as tf.Tensor2D)),
      'graph.shape',
      /layer 'dense-1' returned.*at step 2: expected float32 \[4, 5\], got float32 \[5, 4\]/,
    ],
    [() => undefined as never, 'graph.shape', /got undefined/],
  ]
  for (const [broken, code, message] of failures) {
    const machine = await trained(sketch(mlp), 1, 1)
    const loaded = alive()
    dense.forward = broken
    try {
      t.true(
        isSwarmError(
          t.throws(() => machine.apply(stepInput(2, [6])), { message }),
          code,
        ),
      )
    } finally {
      dense.forward = forward
    }
    t.is(alive(), loaded)
    machine.dispose()
    t.is(alive(), before)
  }
})

test('a loss that is not finite stops the VNode before its state is touched', async (t) => {
  const machine = await trained(sketch(mlp), 1, 1)
  const before = hashOf(machine)
  const error = t.throws(() => machine.apply(inputOf(2, new Float32Array(24).fill(NaN), [4, 6], Int32Array.of(0, 1, 2, 0))))
  t.true(isSwarmError(error, 'run.diverged'))
  t.is(hashOf(machine), before)
  machine.dispose()
})

test('an output that is not finite is never sent, by a VNode without a loss neither, in training and evaluation', async (t) => {
  const definition = sketch(mlp)
  const machine = await VNodeMachine.load({ ...definition, vnode: { ...definition.vnode, hasHead: false } })
  const input = inputOf(2, new Float32Array(24).fill(Infinity), [4, 6], Int32Array.of(0, 1, 2, 0))
  for (const evaluation of [1, 0]) {
    const error = t.throws(() => machine.apply({ ...input, evaluation }))
    t.true(isSwarmError(error, 'run.diverged'))
    t.regex(error.message, /output of .* at step 2/)
  }
  machine.dispose()
})

test.serial('inputs, labels, order and checkpoints that do not fit are refused', async (t) => {
  const machine = await trained(sketch(mlp), 1, 3)
  const x = new Float32Array(24)
  const refused = (run: () => unknown, code: Parameters<typeof isSwarmError>[1]): boolean => t.true(isSwarmError(t.throws(run), code))
  refused(() => machine.apply(inputOf(4, x, [4, 3, 2], Int32Array.of(0, 1, 2, 0))), 'graph.shape')
  refused(() => machine.apply(inputOf(4, x, [4, 6], Int32Array.of(0, 1, 3, 0))), 'dataset.invalid')
  refused(() => machine.apply(inputOf(4, x, [4, 6], Int32Array.of(0, 1))), 'dataset.invalid')
  refused(() => machine.apply(stepInput(3, [6])), 'internal')
  const other = sketch({ ...mlp, layers: [{ name: 'dense', options: { units: 7, bias: true }, out: [7] }] })
  const alivesBefore = alive()
  const error = await t.throwsAsync(VNodeMachine.load(other, machine.snapshot()), { message: /tensor '.*': expected .*, got/ })
  t.true(isSwarmError(error, 'checkpoint.damaged'))
  t.is(alive(), alivesBefore)
  machine.dispose()
})

test('every rule learns two classes that are no straight line apart', async (t) => {
  const input = (step: number, batch: number): ReturnType<typeof inputOf> => {
    const random = new RandomStream(7, 'rings', step)
    const points = Float32Array.from({ length: 2 * batch }, () => 2 * random.uniform() - 1)
    const labels = Int32Array.from({ length: batch }, (_, i) => (points[2 * i] * points[2 * i + 1] > 0 ? 1 : 0))
    return inputOf(step, points, [batch, 2], labels)
  }
  const layers = [
    { name: 'dense', options: { units: 32, bias: true }, out: [32] },
    { name: 'batchNorm', out: [32] },
    { name: 'leakyRelu', out: [32] },
  ]
  for (const rule of ['pred', 'predsim', 'backprop']) {
    const machine = await VNodeMachine.load(
      sketch({ input: [2], layers, rule: { name: rule }, target: { kind: 'categorical', classes: 2 }, totalSteps: 300, milestones: [0.5] }),
    )
    for (let step = 1; step <= 300; step++) machine.apply(input(step, 64))
    const { correct, count } = machine.apply({ ...input(1000, 500), evaluation: 1 }).metrics
    t.true(correct / count > 0.95, `${rule}: ${correct} of ${count}`)
    machine.dispose()
  }
})

test('the compute class names version, backend, SIMD and kernels, and the benchmark a speed', (t) => {
  t.regex(machines.computeClass, /^4\.22\.0 \| wasm \| simd \| [0-9a-f]{16}$/)
  t.true(machines.benchmark().gflops > 0)
})
