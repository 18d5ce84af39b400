import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import type { ExecutionContext } from 'ava'
import { bundleModule } from '../../components/bundle.js'
import type { VNodeMachineDefinition } from '../../components/definition.js'
import type { Options } from '../../components/define.js'
import { startMachines, VNodeMachine } from '../../components/vnode-machine.js'
import { isSwarmError } from '../../runtime/errors.js'
import { decodeState, hashState } from '../../runtime/state.js'
import { sketch, stepInput } from './numeric.js'

const machines = await startMachines()

const SOURCE = `
  import { tf, defineBlock, defineRule } from 'swarmgrad'
  const module = import.meta.url
  // Of what is drawn for it a definition may ask what it likes, each time that it is made.
  const drawn = (x) => {
    if (x.abs().max().dataSync()[0] === 0) throw new Error('no numbers')
    return x
  }
  export const counting = defineBlock({
    module, name: 'counting',
    shape: (_input, { units }) => [units],
    init: ([d], { units }, random) => ({ w: drawn(random.glorot([d, units])) }),
    state: (_input, _options, random) => ({ seen: random.zeros([]), last: random.zeros([1, 4]) }),
    forward: (p, x, context, { fail, undeclared }) => {
      if (context.training) {
        context.state.seen = context.state.seen.add(x.shape[0])
        context.state.last = x
        if (undeclared) context.state.other = x
      }
      if (fail === context.step) throw new Error('on purpose')
      return x.matMul(p.w).tanh()
    },
  })
  export const smooth = defineRule({
    module, name: 'smooth',
    init: ([d], target, random) => {
      drawn(random.normal([1]))
      return { head: random.zeros([d, target.classes]) }
    },
    logits: (p, h) => tf.matMul(h, p.head),
    loss: ({ logits, y }, { epsilon }) => tf.losses.softmaxCrossEntropy(y, logits, undefined, epsilon),
  })
  const loss = ({ logits, y }, { epsilon }) => tf.losses.softmaxCrossEntropy(y, logits, undefined, epsilon)
  const steps = {
    tape: ({ forward, head, parameters, y }, options) => {
      const names = Object.keys(parameters)
      const run = () => loss({ logits: tf.matMul(forward(), head.head), y }, options)
      const { value, grads } = tf.valueAndGrads(run)(Object.values(parameters))
      return { loss: value, gradients: Object.fromEntries(names.map((name, i) => [name, grads[i]])) }
    },
    // The head by hand (softmax minus labels), the block not at all.
    hand: ({ forward, head, y }) => {
      const h = forward()
      const logits = tf.matMul(h, head.head)
      const error = tf.div(tf.sub(tf.softmax(logits), y), y.shape[0])
      return { loss: tf.losses.softmaxCrossEntropy(y, logits), logits, gradients: { 'head/head': tf.matMul(h, error, true) } }
    },
    never: ({ y }) => ({ loss: tf.mean(y), gradients: {} }),
    twice: ({ forward }) => ({ loss: tf.mean(tf.add(forward(), forward())), gradients: {} }),
    stranger: ({ forward }) => ({ loss: tf.mean(forward()), gradients: { 'head/other': tf.zeros([5, 3]) } }),
    shape: ({ forward }) => ({ loss: tf.mean(forward()), gradients: { 'head/head': tf.zeros([3, 5]) } }),
    loss: ({ forward }) => ({ loss: forward(), gradients: {} }),
    nothing: ({ forward }) => void forward(),
    notFinite: ({ forward }) => ({ loss: tf.mean(tf.mul(forward(), NaN)), gradients: {} }),
    inTape: ({ forward, head }) => tf.valueAndGrads(() => { forward().square(); throw new Error('in the tape') })([head.head]),
    throws: () => { throw new Error('on purpose') },
  }
  export const stepping = defineRule({
    module, name: 'stepping',
    init: ([d], target, random) => ({ head: random.zeros([d, target.classes]) }),
    logits: (p, h) => tf.matMul(h, p.head),
    loss,
    step: (values, options) => steps[options.how](values, options),
  })
`

async function userDefinition(t: ExecutionContext, options: Options = {}, how?: string): Promise<VNodeMachineDefinition> {
  const folder = await mkdtemp(join(tmpdir(), 'user-module-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'custom.mjs'), SOURCE)
  const { sha256, code } = await bundleModule(pathToFileURL(join(folder, 'custom.mjs')).href)
  await writeFile(join(folder, 'bundle.mjs'), code)
  const plain = sketch({ input: [4], layers: [{ name: 'counting', options: { units: 5, ...options }, out: [5] }] })
  const [layer] = plain.vnode.layers
  return {
    ...plain,
    vnode: { ...plain.vnode, layers: [{ ...layer, layer: { ...layer.layer, bundle: sha256 } }] },
    training: { ...plain.training, rule: { name: how ? 'stepping' : 'smooth', bundle: sha256, options: { epsilon: 0.1, how } } },
    bundles: { [sha256]: join(folder, 'bundle.mjs') },
  }
}

test.serial("a user's block and rule train, and the block's own state is restored, whatever its shape became", async (t) => {
  const before = machines.memory().tensors
  const definition = await userDefinition(t)
  const [straight, half] = [await VNodeMachine.load(definition), await VNodeMachine.load(definition)]
  const losses: number[] = []
  for (let step = 1; step <= 10; step++) losses.push(straight.apply({ ...stepInput(1, [4], { batch: 6 }), step }).metrics.loss)
  t.true(losses[9] < losses[0])
  for (let step = 1; step <= 5; step++) half.apply({ ...stepInput(1, [4], { batch: 6 }), step })
  half.apply({ ...stepInput(1, [4], { batch: 6 }), step: 6, evaluation: 1 })
  const rest = await VNodeMachine.load(definition, half.snapshot())
  for (let step = 6; step <= 10; step++) rest.apply({ ...stepInput(1, [4], { batch: 6 }), step })
  t.is(hashState(rest.snapshot()), hashState(straight.snapshot()))
  const state = new Map(decodeState(straight.snapshot()).map((tensor) => [tensor.name, tensor]))
  t.deepEqual([...state.get('state/counting-1/seen')!.values], [60])
  t.deepEqual(state.get('state/counting-1/last')!.shape, [6, 4])
  for (const machine of [straight, half, rest]) machine.dispose()
  t.is(machines.memory().tensors, before)
})

test.serial("an error of a user's block names layer and step", async (t) => {
  const machine = await VNodeMachine.load(await userDefinition(t, { fail: 2 }))
  machine.apply(stepInput(1, [4]))
  const alive = machines.memory().tensors
  const error = t.throws(() => machine.apply(stepInput(2, [4])), { message: /layer 'counting-1' threw at step 2: on purpose/ })
  t.true(isSwarmError(error, 'compute.failed'))
  t.is(machines.memory().tensors, alive)
  machine.dispose()
})

test.serial('a state that a block did not declare is refused', async (t) => {
  const machine = await VNodeMachine.load(await userDefinition(t, { undeclared: true }))
  const error = t.throws(() => machine.apply(stepInput(1, [4])), { message: /state 'other' of layer 'counting-1'/ })
  t.true(isSwarmError(error, 'definition.invalid'))
  machine.dispose()
})

test('a definition that its bundle lacks is named', async (t) => {
  const definition = await userDefinition(t)
  const rule = { ...definition.training.rule, name: 'missing' }
  const error = await t.throwsAsync(VNodeMachine.load({ ...definition, training: { ...definition.training, rule } }), {
    message: /no rule 'missing'/,
  })
  t.true(isSwarmError(error, 'definition.invalid'))
})

/** Steps 1 to 8 of the same batch: the states after each. */
async function statesOf(definition: VNodeMachineDefinition): Promise<Uint8Array[]> {
  const machine = await VNodeMachine.load(definition)
  const states = Array.from({ length: 8 }, (_, i) => {
    machine.apply({ ...stepInput(1, [4], { batch: 6 }), step: i + 1 })
    return machine.snapshot()
  })
  machine.dispose()
  return states
}

test.serial("a rule's own step that takes its loss by the tape is the rule without a step, to the bit", async (t) => {
  const before = machines.memory().tensors
  const [own, plain] = [await statesOf(await userDefinition(t, {}, 'tape')), await statesOf(await userDefinition(t))]
  t.deepEqual(
    own.map((state) => hashState(state)),
    plain.map((state) => hashState(state)),
  )
  t.is(machines.memory().tensors, before)
})

test.serial('a parameter that a step has no gradient for stays as it is', async (t) => {
  const states = await statesOf(await userDefinition(t, {}, 'hand'))
  const valuesOf = (state: Uint8Array, name: string) => decodeState(state).find((tensor) => tensor.name === name)!.values
  t.deepEqual(valuesOf(states[7], 'layers/counting-1/w'), valuesOf(states[0], 'layers/counting-1/w'))
  t.notDeepEqual(valuesOf(states[7], 'head/head'), valuesOf(states[0], 'head/head'))
})

for (const [how, code, message] of [
  ['never', 'definition.invalid', /step of rule 'stepping' of .* runs the block: expected exactly once, got 0 times/],
  ['twice', 'definition.invalid', /got 2 times/],
  [
    'stranger',
    'definition.invalid',
    /gradients of .* at step 1: expected tensors by name: layers\/counting-1\/w, head\/head, got 'head\/other'/,
  ],
  ['shape', 'graph.shape', /gradient 'head\/head' .* at step 1: expected float32 \[5, 3\], got float32 \[3, 5\]/],
  ['loss', 'graph.shape', /the loss of step .*expected a scalar, got float32 \[4, 5\]/],
  ['nothing', 'graph.shape', /the loss of step .*expected a scalar, got nothing/],
  ['notFinite', 'run.diverged', /loss of .* at step 1/],
  ['inTape', 'compute.failed', /step of rule 'stepping' of .* threw at step 1: in the tape/],
  ['throws', 'compute.failed', /step of rule 'stepping' of .* threw at step 1: on purpose/],
] as const) {
  test.serial(`a step that is wrong is named: ${how}`, async (t) => {
    const machine = await VNodeMachine.load(await userDefinition(t, {}, how))
    const alive = machines.memory().tensors
    const error = t.throws(() => machine.apply(stepInput(1, [4])), { message })
    t.true(isSwarmError(error, code), String(error))
    t.is(machines.memory().tensors, alive)
    machine.dispose()
  })
}
