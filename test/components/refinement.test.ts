/** What a VNode learns again from what it has kept. */
import test from 'ava'
import type { Refinement, VNodeMachineDefinition } from '../../components/definition.js'
import { isRefinement, updatesAfter } from '../../components/refinement.js'
import { startMachines, VNodeMachine } from '../../components/vnode-machine.js'
import { weightsOf } from '../../components/vnode-state.js'
import type { MachineInput } from '../../runtime/compute/machine.js'
import { decodeState, hashState } from '../../runtime/state.js'
import { sketch, stepInput, type VNodeSketch } from './numeric.js'

const machines = await startMachines()
const INPUT = [6]
const plain: VNodeSketch = {
  input: INPUT,
  layers: [
    { name: 'dense', options: { units: 5, bias: true }, out: [5] },
    { name: 'batchNorm', options: { momentum: 0.1, epsilon: 1e-5 }, out: [5] },
    { name: 'leakyRelu', options: { slope: 0.01 }, out: [5] },
  ],
}
const dropping: VNodeSketch = { ...plain, layers: [...plain.layers, { name: 'dropout', options: { rate: 0.4 }, out: [5] }] }

function refining(s: VNodeSketch, refinement: Refinement): VNodeMachineDefinition {
  const definition = sketch(s)
  return { ...definition, training: { ...definition.training, refinement } }
}

/** A step and all that follows it, as a host asks for it. */
function step(machine: VNodeMachine, { vnode, training }: VNodeMachineDefinition, number: number): Buffer {
  const output = Buffer.from(machine.apply(stepInput(number, INPUT)).output.bytes)
  for (let update = 0; update < updatesAfter(number, vnode, training.refinement); update++) machine.refine(number, update)
  return output
}

/** What is learnt, without what it was learnt from and when. */
const learnt = (machine: VNodeMachine): string =>
  JSON.stringify(
    decodeState(machine.snapshot())
      .filter(({ name }) => name !== 'step' && !name.startsWith('refinement/'))
      .map(({ name, values }) => [name, Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('hex')]),
  )

test('k passes over the last m inputs are what a plain loop over them learns, and outputs are those before it', async (t) => {
  for (const refinement of [
    { passes: 1, inputs: 1 },
    { passes: 2, inputs: 3 },
    { passes: 3, inputs: 2 },
  ]) {
    const definition = refining(plain, refinement)
    const machine = await VNodeMachine.load(definition)
    const reference = await VNodeMachine.load(sketch(plain))
    const seen: MachineInput[] = []
    let at = 0
    const learn = (input: MachineInput) => Buffer.from(reference.apply({ ...input, step: ++at }).output.bytes)
    for (let number = 1; number <= 5; number++) {
      seen.push(stepInput(number, INPUT))
      t.deepEqual(step(machine, definition, number), learn(seen.at(-1)!), `output of step ${number}`)
      for (let pass = 0; pass < refinement.passes; pass++) for (const input of seen.slice(-refinement.inputs)) learn(input)
      t.is(learnt(machine), learnt(reference), `after step ${number} with ${JSON.stringify(refinement)}`)
    }
    machine.dispose()
    reference.dispose()
  }
})

test('a checkpoint between any two steps has all that it takes to go on with the same bits, dropout too', async (t) => {
  const definition = refining(dropping, { passes: 2, inputs: 3 })
  const before = machines.memory().tensors
  const whole = await VNodeMachine.load(definition)
  for (let number = 1; number <= 7; number++) {
    step(whole, definition, number)
    const restored = await VNodeMachine.load(definition, whole.snapshot())
    t.is(hashState(restored.snapshot()), hashState(whole.snapshot()))
    const other = await VNodeMachine.load(definition, whole.snapshot())
    for (const machine of [restored, other]) for (const next of [1, 2]) step(machine, definition, number + next)
    t.is(hashState(restored.snapshot()), hashState(other.snapshot()))
    if (number < 7) {
      const further = await VNodeMachine.load(definition)
      for (let again = 1; again <= number + 2; again++) step(further, definition, again)
      t.is(hashState(further.snapshot()), hashState(restored.snapshot()), `from a checkpoint after step ${number}`)
      further.dispose()
    }
    restored.dispose()
    other.dispose()
  }
  whole.dispose()
  t.is(machines.memory().tensors, before)
})

test('each update draws dropout of its own', async (t) => {
  const definition = refining(dropping, { passes: 2, inputs: 1 })
  const twice = await VNodeMachine.load(definition)
  twice.apply(stepInput(1, INPUT))
  const from = twice.snapshot()
  const hashes = [0, 1].map((update) => ({ update, machine: VNodeMachine.load(definition, from) }))
  const [first, second] = await Promise.all(
    hashes.map(async ({ update, machine }) => {
      const loaded = await machine
      loaded.refine(1, update)
      const state = learnt(loaded)
      loaded.dispose()
      return state
    }),
  )
  t.not(first, second)
  twice.dispose()
})

test('what is kept is a copy, is no weight, and belongs to the network that it was kept by', async (t) => {
  const definition = refining(plain, { passes: 1, inputs: 2 })
  const machine = await VNodeMachine.load(definition)
  const input = stepInput(1, INPUT)
  const twin = await VNodeMachine.load(definition)
  twin.apply(stepInput(1, INPUT))
  machine.apply(input)
  input.inputs[0].output.bytes.fill(0)
  machine.refine(1, 0)
  twin.refine(1, 0)
  t.is(learnt(machine), learnt(twin))
  const blob = machine.snapshot()
  t.false(decodeState(weightsOf(blob)).some(({ name }) => name.startsWith('refinement/')))
  for (const other of [sketch(plain), refining({ ...plain, hasHead: false }, { passes: 1, inputs: 2 })])
    await t.throwsAsync(VNodeMachine.load(other, blob), { code: 'checkpoint.damaged' } as never)
  const fewer = refining(plain, { passes: 1, inputs: 1 })
  step(machine, definition, 2)
  await t.throwsAsync(VNodeMachine.load(fewer, machine.snapshot()), { code: 'checkpoint.damaged' } as never)
  machine.dispose()
  twin.dispose()
})

test('a refinement is two counts in range, and a VNode that does not learn has no updates', (t) => {
  for (const good of [
    { passes: 1, inputs: 1 },
    { passes: 16, inputs: 64 },
  ])
    t.true(isRefinement(good))
  const bad = [
    null,
    3,
    '1x4',
    {},
    { passes: 1 },
    { passes: 0, inputs: 1 },
    { passes: 17, inputs: 1 },
    { passes: 1, inputs: 65 },
    { passes: 1.5, inputs: 1 },
  ]
  for (const value of [...bad, { passes: 1, inputs: 1, more: 1 }]) t.false(isRefinement(value), JSON.stringify(value))
  const refinement = { passes: 2, inputs: 3 }
  t.deepEqual(
    [1, 2, 3, 4].map((number) => updatesAfter(number, { hasHead: true }, refinement)),
    [2, 4, 6, 6],
  )
  t.is(updatesAfter(4, { hasHead: false }, refinement), 0)
  t.is(updatesAfter(4, { hasHead: true }, undefined), 0)
})
