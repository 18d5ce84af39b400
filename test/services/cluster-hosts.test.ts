/** PNodes that come, go, hand over; and what becomes of the runs on them. */
import test, { registerCompletionHandler } from 'ava'
import { readHead } from '../../runtime/head-store.js'
import { systemClock } from '../../runtime/clock.js'
import { networks } from '../support/chaos-run.js'
import { embedded, type Outcome, outcomeOf } from '../support/cluster-runs.js'
import { TestCluster, untilStep } from '../support/cluster.js'
import { forFile } from '../support/servers.js'
import { TRAINING } from '../support/small-runs.js'
import { until } from '../support/until.js'

const LONGER = { ...TRAINING, epochs: 20 } as const

const file = forFile()
// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())
let cluster: TestCluster
let expected: Outcome

test.before(async () => {
  expected = await embedded(networks.chain, LONGER)
  cluster = await TestCluster.start(file, { hosts: [] })
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

test.serial('a run waits for the first PNode, and starts when it joins', async (t) => {
  const run = cluster.train(networks.chain, LONGER, { id: 'waiting', everySteps: 20 })
  await systemClock.sleep(1_000)
  const [, { result, ...outcome }] = await Promise.all([cluster.join('a'), outcomeOf(cluster, run)])
  t.deepEqual(outcome, expected)
  t.is(result.moves, 0)
})

test.serial('one that joins in the middle takes over when the only other is lost', async (t) => {
  const run = cluster.train(networks.chain, LONGER, { id: 'joined', everySteps: 20 })
  await untilStep(run, 20)
  const joined = cluster.join('b')
  await untilStep(run, 60)
  await cluster.host('a').kill()
  await joined
  const { result, ...outcome } = await outcomeOf(cluster, run)
  t.deepEqual(outcome, expected)
  t.like(result, { moves: 4, stepsLost: 0, stepsDoubled: 0 })
  const { head } = await readHead(cluster.store, run.id)
  t.deepEqual([...new Set(Object.values(head.directory).map(({ pnode }) => pnode))], ['b'])
})

test.serial('one that is told to go hands over: no step is done again', async (t) => {
  await cluster.host('a').daprd.restart()
  await cluster.host('a').startApp()
  await cluster.join('c')
  await cluster.untilWhole()
  const run = cluster.train(networks.chain, LONGER, { id: 'leaving', everySteps: 20 })
  await untilStep(run, 60)
  const { head } = await readHead(cluster.store, run.id)
  const leaver = head.directory['dense-2'].pnode
  t.is(await cluster.host(leaver).leave(), 0)
  const { result, ...outcome } = await outcomeOf(cluster, run)
  t.deepEqual(outcome, expected)
  t.like(result, { stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  t.true(result.moves > 0)
  // It comes back under its name, with what it was given before.
  await cluster.host(leaver).daprd.restart()
  await cluster.host(leaver).startApp()
})

test.serial('one that is drained hands over without a step redone, and stays until that is taken back', async (t) => {
  await cluster.untilWhole()
  const run = cluster.train(networks.chain, LONGER, { id: 'drained', everySteps: 100 })
  await untilStep(run, 60)
  const { head } = await readHead(cluster.store, run.id)
  const { pnode } = head.directory['dense-2']
  const { client } = cluster
  await until(
    () => `${pnode} has nothing`,
    async () => (await client.drain(pnode)).length === 0,
  )
  const { result, ...outcome } = await outcomeOf(cluster, run)
  t.deepEqual(outcome, expected)
  t.like(result, { stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  t.true(result.moves > 0)
  const stateOf = async () => (await client.pnodes()).find((member) => member.pnode === pnode)?.state
  t.is(await stateOf(), 'draining')
  await client.undrain(pnode)
  t.is(await stateOf(), 'ready')
})

test.serial('several runs share a cluster', async (t) => {
  await cluster.untilWhole()
  const runs = [1, 2, 3].map((i) => cluster.train(networks.chain, LONGER, { id: `shared-${i}`, everySteps: 20, window: i }))
  for (const run of runs) {
    const { result, ...outcome } = await outcomeOf(cluster, run)
    t.deepEqual(outcome, expected)
    t.like(result, { moves: 0, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  }
})
