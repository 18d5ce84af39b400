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
  export const counting = defineBlock({
    module, name: 'counting',
    shape: (_input, { units }) => [units],
    init: ([d], { units }, random) => ({ w: random.glorot([d, units]) }),
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
    init: ([d], target, random) => ({ head: random.zeros([d, target.classes]) }),
    logits: (p, h) => tf.matMul(h, p.head),
    loss: ({ logits, y }, { epsilon }) => tf.losses.softmaxCrossEntropy(y, logits, undefined, epsilon),
  })
`

async function userDefinition(t: ExecutionContext, options: Options = {}): Promise<VNodeMachineDefinition> {
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
    training: { ...plain.training, rule: { name: 'smooth', bundle: sha256, options: { epsilon: 0.1 } } },
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
