/** Rules that send something against the graph: `relay`, which must be backpropagation, and `solo`, whose blocks share an output matrix. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { readManifest } from '../../actors/run/checkpoints.js'
import { type Internals, train } from '../../actors/train.js'
import { verifyRun } from '../../actors/verify.js'
import { readDefinition, weightsKey } from '../../actors/run/run-definition.js'
import { fromArrays } from '../../components/datasets/index.js'
import type { Layer } from '../../components/define.js'
import {
  add,
  backprop,
  batchNorm,
  block,
  categorical,
  conv2d,
  datasets,
  dense,
  dropout,
  embedding,
  flatten,
  leakyRelu,
  local,
  maxPool,
  network,
  positionEmbedding,
  relay,
  solo,
  tokens,
  transformerBlock,
} from '../../index.js'
import type { Network } from '../../components/network.js'
import { isSwarmError } from '../../runtime/errors.js'
import { keys } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { type StateTensor, decodeState } from '../../runtime/state.js'
import { temporaryFolder } from '../support/idx-files.js'
import { halfASteps, noWindow, ofSomethingElse, scaledByPast, stranger, throwing } from '../support/feedback-definitions.js'
import { until } from '../support/until.js'

const TASK = { input: [28, 28, 1], target: categorical(10) } as const
const hidden = (units: number): Layer => block(dense(units), batchNorm(), leakyRelu(), dropout(0.1))
const chain = network(TASK, [flatten(), hidden(32), hidden(24), hidden(16)])
/** VNodes with two readers at different distances from the output, and joins. */
const branching = network(TASK, (x) => {
  const a = hidden(24)(flatten()(x))
  const b = hidden(24)(a)
  return hidden(16)(add(hidden(24)(b), add(b, a)))
})
const conv = network(TASK, [
  block(conv2d(4), batchNorm(), leakyRelu(), maxPool(2)),
  block(conv2d(6), leakyRelu(), maxPool(2), dropout(0.1)),
  block(flatten(), dense(16), leakyRelu()),
])

const VERSE = 'the quick brown fox jumps over the lazy dog.\n'
const CHARACTERS = new Set(VERSE).size
const transformer = network({ input: [8], target: tokens(CHARACTERS) }, [
  block(embedding(CHARACTERS, 16), positionEmbedding(), transformerBlock({ heads: 2 })),
  transformerBlock({ heads: 2 }),
])

async function verse(): Promise<string> {
  const file = join(await temporaryFolder(), 'verse.txt')
  await writeFile(file, VERSE.repeat(40))
  return file
}

const DATA = { data: datasets.glyphs({ train: 640, test: 64 }), batchSize: 32, epochs: 3, seed: 5 } as const

interface Learning extends Partial<TrainingOptions> {
  readonly pnodes?: number
  readonly replicas?: number
  readonly everySteps?: number
  readonly internals?: Internals
}

function learn(net: Network, { pnodes = 2, replicas = 0, everySteps = 10, internals, ...training }: Learning) {
  const store = memoryStore()
  const options = { on: local({ pnodes }), store, checkpoint: { everySteps }, replicas }
  const run = train(net, { ...DATA, ...training }, options, { id: 'r', ...internals })
  return { store, run, result: run.result }
}

/** The states after a step, by VNode. */
async function statesOf(store: ObjectStore, step?: number): Promise<Map<string, StateTensor[]>> {
  const { head } = await readHead(store, 'r')
  const ref = step === undefined ? head.manifests[0] : head.manifests.find((manifest) => manifest.step === step)
  const { vnodes, generation } = await readManifest(store, ref!)
  const states = vnodes.map(async ({ vnode, hash }) => {
    const { bytes } = await store.get(keys.blob('r', generation, hash))
    return [vnode, decodeState(bytes, hash)] as const
  })
  return new Map(await Promise.all(states))
}

const outputOf = (state: readonly StateTensor[]): string =>
  Buffer.from(state.find(({ name }) => name === 'head/output')!.values.buffer).toString('base64')

/** Everything that layers and the head are and that the optimizer knows, by name, as bytes. */
async function learnedIn(store: ObjectStore): Promise<{ readonly [name: string]: string }> {
  const all = [...(await statesOf(store)).values()].flat()
  const named = all.filter(({ name }) => /^(layers|head|state|optimizer\/\w+\/)/.test(name))
  return Object.fromEntries(
    named.map(({ name, values }) => [name, Buffer.from(values.buffer).toString('base64')]).toSorted(([a], [b]) => (a < b ? -1 : 1)),
  )
}

const remembering = network(TASK, [flatten(), block(dense(16), leakyRelu(), scaledByPast()), hidden(16)])

for (const [name, net] of Object.entries({ chain, branching, conv, transformer, remembering })) {
  test.serial(`relay is backpropagation, bit for bit: ${name}`, async (t) => {
    t.timeout(180_000)
    const text = net === transformer ? { data: datasets.text(await verse(), { context: 8 }), batchSize: 16 } : {}
    const [twin, relayed] = [learn(net, { ...text, rule: backprop() }), learn(net, { ...text, rule: relay() })]
    const [{ metrics: expected }, { metrics, status }] = await Promise.all([twin.result, relayed.result])
    t.is(status, 'done')
    t.deepEqual(metrics, expected)
    const [learned, byTwin] = await Promise.all([learnedIn(relayed.store), learnedIn(twin.store)])
    t.true(Object.keys(learned).length > 10)
    t.deepEqual(learned, byTwin)
    // Nothing is under way at the end.
    for (const [vnode, state] of await statesOf(relayed.store))
      t.false(
        state.some(({ name: tensor }) => tensor.startsWith('lesson/')),
        vnode,
      )
  })
}

const DISTURBED: { readonly [what: string]: { readonly net: Network; readonly training: Learning } } = {
  'relay, one batch at a time': { net: branching, training: { rule: relay(), everySteps: 7 } },
  'relay, three batches at a time': { net: chain, training: { rule: relay({ window: 3 }), everySteps: 7 } },
  solo: { net: network(TASK, [flatten(), hidden(24), hidden(24), hidden(24)]), training: { rule: solo(), everySteps: 7 } },
}

for (const [what, { net, training }] of Object.entries(DISTURBED)) {
  for (const replicas of [0, 1]) {
    test.serial(`the same hash when PNodes are killed, ${replicas} standbys: ${what}`, async (t) => {
      t.timeout(180_000)
      const { store, result } = learn(net, training)
      const { hash } = await result
      t.is((await verifyRun(store, 'r')).difference, undefined)

      let swarm: LocalSwarm | undefined
      const internals = { onSwarm: (made: LocalSwarm) => (swarm = made) }
      const killed = learn(net, { ...training, pnodes: 4, replicas, internals })
      for (const step of [9, 23, 38]) {
        await until('some steps', () => (swarm?.monitor.step ?? 0) >= step)
        await swarm!.killPNode(swarm!.computingPNodes[0])
      }
      const broken = await killed.result
      t.true(broken.moves > 0)
      t.is(broken.hash, hash)
    })
  }
}

test.serial('with several batches under way what comes back is older, and still the same every time', async (t) => {
  t.timeout(180_000)
  const [one, three] = [learn(chain, { rule: relay() }), learn(chain, { rule: relay({ window: 3 }) })]
  const again = learn(chain, { rule: relay({ window: 3 }), pnodes: 3, everySteps: 13 })
  const [a, b, c] = await Promise.all([one.result, three.result, again.result])
  t.not(a.hash, b.hash)
  t.is(b.hash, c.hash)
  // All derivatives have come back before anything is evaluated: what is reported is of the parameters that there are.
  for (const state of (await statesOf(three.store)).values()) t.false(state.some(({ name }) => /^(lesson|feedback)\//.test(name)))
  t.true(b.metrics.accuracy > 0.3, JSON.stringify(b.metrics))
})

test.serial('solo: all but the last block use its output matrix as it was 26 to 50 steps before', async (t) => {
  t.timeout(180_000)
  const net = network(TASK, [flatten(), hidden(24), hidden(24), hidden(24)])
  const cutSteps = new Set([25, 50, 51, 75, 76, 99, 100, 101])
  const { store, run } = learn(net, { rule: solo(), epochs: 6, everySteps: 1_000, internals: { cutSteps } })
  const matrices = new Map<string, string>()
  for await (const event of run.events()) {
    if (event.type !== 'checkpoint') continue
    const states = [...(await statesOf(store, event.step)).values()]
    states.forEach((state, i) => {
      const { values } = state.find(({ name }) => name === 'head/output')!
      matrices.set(`${i} at ${event.step}`, Buffer.from(values.buffer).toString('base64'))
    })
  }
  await run.result
  const lent = { 51: 25, 75: 25, 76: 50, 99: 50, 100: 50, 101: 75 }
  for (const [step, before] of Object.entries(lent)) {
    for (const vnode of [0, 1]) t.is(matrices.get(`${vnode} at ${step}`), matrices.get(`2 at ${before}`), step)
  }
  // Until then it is as it was at first, the same for all; the last block goes on learning it.
  t.is(matrices.get('0 at 50'), matrices.get('1 at 25'))
  t.is(new Set([25, 50, 51, 75, 76].map((step) => matrices.get(`2 at ${step}`))).size, 5)
})

test.serial('solo: whoever starts from a run has the output matrix of its last block everywhere', async (t) => {
  t.timeout(120_000)
  const net = network(TASK, [flatten(), hidden(24), hidden(24), hidden(24)])
  const { store, result } = learn(net, { rule: solo() })
  await result
  const before = [...(await statesOf(store)).values()].map(outputOf)
  t.not(before[0], before[2])
  const next = train(net, { ...DATA, rule: solo(), epochs: 1, from: 'r' }, { on: local({ pnodes: 1 }), store }, { id: 'next' })
  await next.result
  const { initial } = await readDefinition(store, 'next')
  const weights = await Promise.all(Object.values(initial!).map(async (hash) => decodeState((await store.get(weightsKey(hash))).bytes)))
  t.deepEqual(weights.map(outputOf), [before[2], before[2], before[2]])
})

test.serial('solo: a last head that begins anew is lent as it is then', async (t) => {
  t.timeout(120_000)
  const net = network(TASK, [flatten(), hidden(16), hidden(16)])
  const convergence = { policy: 'resetHead', everySteps: 25, patience: 1, minDelta: 0.99, cooldown: 0 } as const
  const { run, store } = learn(net, { rule: solo(), epochs: 5, everySteps: 1_000, convergence, internals: { cutSteps: new Set([50, 76]) } })
  const seen: { [place: string]: string } = {}
  let resets = 0
  for await (const event of run.events()) {
    if (event.type === 'stalled' && event.action === 'resetHead') resets++
    if (event.type === 'checkpoint')
      [...(await statesOf(store, event.step)).values()].forEach((state, i) => (seen[`${i} at ${event.step}`] = outputOf(state)))
  }
  await run.result
  t.true(resets > 0)
  t.is(seen['0 at 76'], seen['1 at 50'])
})

test.serial('relay: a batch that is too much for a block in the middle leaves nothing there that is not finite', async (t) => {
  t.timeout(120_000)
  const inputs = Array.from({ length: 96 }, (_, i) => Array.from({ length: 4 }, (_, j) => (i === 40 ? 3e38 : Math.sin(i * 7 + j))))
  const data = fromArrays({ inputs, labels: inputs.map((_, i) => i % 2), target: categorical(2), input: [4] })
  const net = network({ input: [4], target: categorical(2) }, [hidden(8), hidden(8), hidden(8)])
  const { store, result } = learn(net, { data, rule: relay(), batchSize: 16, epochs: 2, nonFinite: 'skip', validation: 0 })
  const { status } = await result
  t.is(status, 'done')
  for (const [vnode, state] of await statesOf(store))
    for (const { name, values } of state) t.true(values.every(Number.isFinite), `${vnode} ${name}`)

  // Without such states it is the block itself that gives the step up, not the last one, which alone has a loss.
  const plain = () => block(dense(8), leakyRelu())
  const stateless = network({ input: [4], target: categorical(2) }, [plain(), plain(), plain()])
  const { run } = learn(stateless, { data, rule: relay(), batchSize: 16, epochs: 1, nonFinite: 'skip', validation: 0 })
  const givenUp: string[] = []
  for await (const event of run.events()) if (event.type === 'deadLettered') givenUp.push(event.vnode)
  t.is(givenUp[0], 'dense-1')
})

test('what a rule may not ask for is refused by name', async (t) => {
  const cases = [
    [noWindow(), /feedback of rule 'noWindow': expected .*window: 1 to 1024.*"window":0/],
    [halfASteps(), /feedback of rule 'halfASteps'.*2\.5/],
    [ofSomethingElse(), /feedback of rule 'ofSomethingElse'.*"outputs"/],
    [stranger(), /rule 'stranger' shares the parameter 'body', which its init does not make/],
  ] as const
  const net = network(TASK, [flatten(), hidden(8), hidden(8)])
  for (const [rule, says] of cases) await refused(t, learn(net, { rule }).result, 'definition.invalid', says)
  await refused(t, learn(net, { rule: throwing() }).result, 'definition.threw', /feedback of rule 'throwing' threw: not today/)
})

test('what these rules cannot do is refused before the run begins', async (t) => {
  await refused(
    t,
    learn(chain, { rule: solo() }).result,
    'definition.invalid',
    /share the head of.*expected outputs \[16\].*\[32\].*pred\(\)/,
  )
  const refinement = { passes: 1, inputs: 2 }
  await refused(t, learn(chain, { rule: relay(), refinement }).result, 'usage', /refinement.*relay/)
  await refused(t, learn(chain, { rule: relay(), convergence: 'alert' }).result, 'usage', /convergence.*relay/)
  t.throws(() => relay({ window: 0 }), { message: /window/ })
})

async function refused(t: ExecutionContext, action: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  const error = await t.throwsAsync(action)
  t.true(isSwarmError(error, code as never), String(error))
  t.regex(error.message, message)
}
