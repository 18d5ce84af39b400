/** What a node says of its queues. */
import test from 'ava'
import { cluster } from '../../actors/cluster.js'
import { pnodeReport, prometheusText } from '../../actors/control/node-endpoints.js'
import { leftBehind, NO_QUEUES, type Queues, sumOf } from '../../actors/pnode/queues.js'
import { train } from '../../actors/train.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { chain, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'

const example: Queues = {
  inbound: { depth: 2, enqueued: 5, done: 3, dropped: { term: 1 } },
  refinement: NO_QUEUES.refinement,
  outbound: { depth: 4, enqueued: 4, done: 0, dropped: {} },
}

test('queues add up, by reason too; what waits at a VNode that goes is dropped with it', (t) => {
  const gone = leftBehind(example)
  t.deepEqual(gone.inbound, { depth: 0, enqueued: 5, done: 3, dropped: { term: 1, gone: 2 } })
  t.deepEqual(sumOf([gone, example, NO_QUEUES]), {
    inbound: { depth: 2, enqueued: 10, done: 6, dropped: { term: 2, gone: 2 } },
    refinement: NO_QUEUES.refinement,
    outbound: { depth: 4, enqueued: 8, done: 0, dropped: { gone: 4 } },
  })
})

test('over a run every input is let in once and taken once, and what a node counts outlives its VNodes', async (t) => {
  const { url, keys, pnodes } = await memoryCluster(t, { pnodes: ['ann', 'bob'] })
  const run = train(chain, TRAINING, { on: cluster(url, { token: keys.trainerToken }), audits: 0 }, { id: 'r' })
  let deepest = 0
  for await (const { type } of run.events()) {
    if (type === 'progress' || type === 'checkpoint') deepest = Math.max(deepest, ...pnodes.map(({ queues }) => queues.outbound.depth))
  }
  await run.result
  t.true(deepest > 0)
  const { inbound, refinement, outbound } = sumOf(pnodes.map(({ queues }) => queues))
  // Three VNodes, each of which reads one producer; two evaluation batches after each of three epochs.
  const entries = TOTAL_STEPS + 6
  t.like(inbound, { depth: 0, enqueued: 3 * entries, done: 3 * entries })
  t.false('gone' in inbound.dropped)
  t.deepEqual(refinement, NO_QUEUES.refinement)
  // The last evaluation is after the last checkpoint: its outputs, and those of the source, go with the VNodes.
  t.like(outbound, { depth: 0, enqueued: 3 * entries })
  t.is(outbound.done + outbound.dropped.gone, outbound.enqueued)

  const [host] = pnodes
  const { pnode, queues } = pnodeReport(host).queueStats() as { pnode: string; queues: Queues }
  t.deepEqual([pnode, queues], [host.pnode, host.queues])
  const text = prometheusText(pnodeReport(host).metrics())
  t.true(text.includes(`swarmgrad_queue_enqueued_total{pnode="${host.pnode}",queue="inbound"} ${host.queues.inbound.enqueued}\n`), text)
  t.true(text.includes(`swarmgrad_queue_depth{pnode="${host.pnode}",queue="refinement"} 0\n`), text)
})

test('the updates after each step are counted in a queue of their own, and all are made', async (t) => {
  const { url, keys, pnodes } = await memoryCluster(t, { pnodes: ['ann', 'bob'] })
  const training = { ...TRAINING, refinement: { passes: 2, inputs: 3 } }
  const run = train(chain, training, { on: cluster(url, { token: keys.trainerToken }), audits: 0 }, { id: 'r' })
  await run.result
  // Two and four after the first two steps, six after each that follows, in each of three VNodes.
  const made = 3 * (2 + 4 + 6 * (TOTAL_STEPS - 2))
  const { refinement, inbound } = sumOf(pnodes.map(({ queues }) => queues))
  t.deepEqual(refinement, { depth: 0, enqueued: made, done: made, dropped: {} })
  t.is(inbound.done, 3 * (TOTAL_STEPS + 6))
  const text = pnodes.map((host) => prometheusText(pnodeReport(host).metrics())).join('')
  const counted = [...text.matchAll(/^swarmgrad_queue_done_total\{pnode="\w+",queue="refinement"\} (\d+)$/gm)].map(([, count]) =>
    Number(count),
  )
  t.deepEqual([counted.length, counted[0] + counted[1]], [2, made])
})
