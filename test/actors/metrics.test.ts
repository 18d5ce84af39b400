/** What the types say about metrics is what evaluations measure. */
import test from 'ava'
import { categorical, continuous, dense, fromArrays, local, network, pred, train } from '../../index.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'

const inputs = Float32Array.from({ length: 64 * 3 }, (_, i) => ((i * 7) % 11) / 11)
const training = { rule: pred(), epochs: 1, batchSize: 16 }
const options = () => ({ on: local({ pnodes: 1, threads: false }), store: memoryStore() })

test('of classes: loss, accuracy, count', async (t) => {
  const labels = Int32Array.from({ length: 64 }, (_, i) => i % 2)
  const target = categorical(2)
  const data = fromArrays({ inputs, labels, input: [3], target, test: { inputs, labels } })
  const run = train(network({ input: [3], target }, [dense(4)]), { ...training, data }, options())
  const { metrics } = await run.result
  const { loss, accuracy, count, ...others } = metrics
  t.deepEqual(others, {})
  t.true(loss > 0 && accuracy >= 0 && accuracy <= 1)
  t.is(count, 64)
  // @ts-expect-error classes are not a distance apart
  t.is(metrics.absoluteError, undefined)
  for (const row of await run.history()) t.is(row.metrics.accuracy, accuracy)
  for await (const event of run.events()) if (event.type === 'evaluated') t.is(event.metrics.count, 64)
})

test('of numbers: loss, absolute and squared error, count', async (t) => {
  const target = continuous(1)
  const labels = Float32Array.from({ length: 64 }, (_, i) => inputs[i])
  const data = fromArrays({ inputs, labels, input: [3], target, test: { inputs, labels } })
  const run = train(network({ input: [3], target }, [dense(4)]), { ...training, data }, options())
  const { metrics } = await run.result
  const { loss, absoluteError, squaredError, count, ...others } = metrics
  t.deepEqual(others, {})
  t.true(loss > 0 && absoluteError > 0 && squaredError > 0)
  t.is(count, 64)
  // @ts-expect-error numbers are not right or wrong
  t.is(metrics.accuracy, undefined)
})
