/** The TypeScript of the documentation, compiled against the package's own types by its own name; and the package's names. */
import test from 'ava'
import {
  add,
  adam,
  batchNorm,
  block,
  categorical,
  datasets,
  dense,
  dropout,
  flatten,
  leakyRelu,
  local,
  network,
  predsim,
  train,
} from 'swarmgrad'
import * as library from 'swarmgrad'
import * as testing from 'swarmgrad/testing'
import { gated } from '../../examples/custom-block-and-rule/custom.js'

/** As in API.md, for one machine; never called. */
export async function asDocumented(images: Uint8Array): Promise<Int32Array> {
  const hidden = (units: number) => block(dense(units), batchNorm(), leakyRelu(), dropout(0.025))
  const task = { input: [28, 28, 1], target: categorical(10) } as const
  const net = network(task, [flatten(), hidden(256), gated({ units: 256 })])
  const branched = network(task, (x) => {
    const a = hidden(256)(flatten()(x))
    return add(a, hidden(256)(a))
  })
  const training = {
    data: datasets.fashionMnist(),
    rule: predsim(),
    optimizer: adam({ learningRate: 5e-4 }),
    batchSize: 128,
    epochs: 5,
    seed: 1,
  }
  const run = train(net, training, { on: local({ pnodes: 4 }), store: './runs', signal: AbortSignal.timeout(600_000) })
  const other = train(branched, training, { on: local({ threads: false }) })
  for await (const e of run.events()) if (e.type === 'evaluated') other.id.startsWith(String(e.step * e.metrics.accuracy))
  const { status, metrics, hash } = await run.result
  const finished: 'done' | 'paused' = status
  const rows = await run.history()
  rows.map(({ step, epoch, vnodes }) => [finished, hash?.slice(0, 6), metrics.accuracy, step, epoch, vnodes[0].vnode])
  const model = await run.model()
  const { labels, probabilities } = await model.predict(images)
  const [file] = await model.export('digits.safetensors')
  await model.export('web/digits', { format: 'tfjs' })
  await model.close()
  train(net, { ...training, from: file }).id.startsWith('fashion-mnist')
  return probabilities.length > 0 ? labels : new Int32Array()
}

test('the TypeScript of the documentation compiles', (t) => {
  t.is(typeof asDocumented, 'function')
})

test('what a definition needs has its name in the package', (t) => {
  const names = [
    'tf',
    'defineBlock',
    'defineRule',
    'defineDataset',
    'network',
    'block',
    'vnode',
    'categorical',
    'continuous',
    'train',
    'resume',
  ]
  for (const name of names) t.true(name in library, name)
})

test('swarmgrad/testing has the four suites', (t) => {
  t.deepEqual(Object.keys(testing).toSorted(), ['actorSystemSuite', 'computeSuite', 'objectStoreSuite', 'tensorBusSuite'])
})
