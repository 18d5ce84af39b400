/** Learning rules in a researcher's own words, each one file in examples/rules: the proof that the interface is open. */
import test from 'ava'
import type { RuleSpec, Shape, Tensors } from '../../components/define.js'
import { specOf } from '../../components/define.js'
import { initializers } from '../../components/initializers.js'
import { startBackend, tf } from '../../components/tf.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { train } from '../../actors/train.js'
import { cwc, default as cwcNetwork } from '../../examples/rules/cwc.js'
import { dgl, default as dglNetwork } from '../../examples/rules/dgl.js'
import { symba, default as symbaNetwork } from '../../examples/rules/symba.js'
import { block, categorical, datasets, dense, flatten, local, network } from '../../index.js'
import { isSwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { checkGradient, randomTensor } from '../components/numeric.js'
import { until } from '../support/until.js'

const target = { kind: 'categorical', classes: 3 } as const
const RULES: { readonly [name: string]: { readonly made: unknown; readonly shape: Shape } } = {
  cwc: { made: cwc, shape: [3, 4, 6] },
  dgl: { made: dgl, shape: [8, 8, 2] },
  symba: { made: symba, shape: [9] },
}
for (const [name, { made, shape }] of Object.entries(RULES)) {
  test(`${name} has the gradients of finite differences by the output and its own parameters`, async (t) => {
    await startBackend()
    const spec = specOf(made, 'rule') as RuleSpec<{}>
    const options = spec.options?.({}) ?? {}
    const parameters = spec.init(shape, target, initializers(1, name), options)
    const names = Object.keys(parameters)
    const y = tf.oneHot(tf.tensor1d([0, 1, 2, 1], 'int32'), 3).toFloat()
    const loss = (h: tf.Tensor, ...values: tf.Tensor[]): tf.Tensor => {
      const given: Tensors = Object.fromEntries(names.map((key, i) => [key, values[i]]))
      return spec.loss({ logits: spec.logits(given, h, options, target), y, h, parameters: given, target }, options)
    }
    const moved = names.map((key) => randomTensor(key, parameters[key].shape, 0.05, 0.5))
    checkGradient(t, name, loss, [randomTensor('h', [4, ...shape], 0.1, 1), ...moved], 1e-2)
  })
}

const LEARNERS = {
  cwc: { net: cwcNetwork, rule: cwc(), atLeast: 0.6 },
  dgl: { net: dglNetwork, rule: dgl(), atLeast: 0.6 },
  symba: { net: symbaNetwork, rule: symba(), atLeast: 0.6 },
}
for (const [name, { net, rule, atLeast }] of Object.entries(LEARNERS)) {
  test.serial(`${name} learns through the actors, and to the same bits when a PNode is killed`, async (t) => {
    t.timeout(180_000)
    const training: TrainingOptions = { data: datasets.glyphs({ train: 1_500, test: 300 }), rule, batchSize: 50, epochs: 2 }
    const begun = (pnodes: number) => {
      let swarm: LocalSwarm | undefined
      const options = { on: local({ pnodes }), store: memoryStore(), checkpoint: { everySteps: 10 } }
      const { result } = train(net, training, options, { onSwarm: (made) => (swarm = made) })
      return { result, swarm: () => swarm }
    }
    const whole = await begun(1).result
    const { result, swarm } = begun(3)
    await until('some steps', () => (swarm()?.monitor.step ?? 0) >= 25)
    await swarm()!.killPNode(swarm()!.computingPNodes[0])
    const broken = await result
    t.is(broken.hash, whole.hash)
    t.true(broken.moves > 0)
    t.true(whole.metrics.accuracy > atLeast, String(whole.metrics.accuracy))
  })
}

test('a rule that a layer cannot use says what to use instead', async (t) => {
  const task = { input: [28, 28, 1], target: categorical(10) } as const
  const data = datasets.glyphs({ train: 100, test: 10 })
  const flat = network(task, [flatten(), block(dense(20))])
  const failing = (rule: TrainingOptions['rule'], net: typeof flat) =>
    t.throwsAsync(train(net, { data, rule }, { on: local({ pnodes: 1, threads: false }), store: memoryStore() }).result)
  const error = await failing(cwc(), flat)
  t.true(isSwarmError(error))
  t.regex(error.message, /cwc needs a multiple of 10 channels, got \[20\]: end each block with conv2d\(20\)/)
  const odd = await failing(symba(), network(task, [flatten(), block(dense(21))]))
  t.regex(odd.message, /symba needs a multiple of 10 units, got \[21\]/)
})
