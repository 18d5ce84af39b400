/** PNodes that come, go, hand over, freeze; and what becomes of the runs on them. */
import test, { registerCompletionHandler } from 'ava'
import { readDefinition } from '../../actors/run-definition.js'
import { decodeFrame } from '../../runtime/frame.js'
import { readHead } from '../../runtime/head-store.js'
import { systemClock } from '../../runtime/clock.js'
import { natsBus } from '../../runtime/tensor-bus/nats-bus.js'
import { subjectOf } from '../../runtime/signal.js'
import { networks } from '../support/chaos-run.js'
import { droppedOf, embedded, type Outcome, outcomeOf, until } from '../support/cluster-runs.js'
import { eventOf, TestCluster, untilStep } from '../support/cluster.js'
import { forFile } from '../support/servers.js'
import { TRAINING } from '../support/small-runs.js'

const LONGER = { ...TRAINING, epochs: 20 } as const
/** Long enough to be frozen in its middle. */
const LONGEST = { ...TRAINING, epochs: 60 } as const

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

test.serial('a frozen PNode changes nothing: what it sends late is refused by term, and counted', async (t) => {
  t.timeout(150_000)
  await cluster.untilWhole()
  const should = await embedded(networks.branching, LONGEST)
  const run = cluster.train(networks.branching, LONGEST, { id: 'frozen', window: 32, everySteps: 1 })
  await untilStep(run, 40)
  const { directory } = (await readHead(cluster.store, run.id)).head
  // One that sends to another machine, and not the machine of the source: that one hears of manifests, and goes on.
  const { network } = await readDefinition(cluster.store, run.id)
  const edges = network.vnodes.flatMap(({ id, inputs }) => inputs.map((input) => [input, id]))
  const [sender, reader] = edges.find(
    ([from, to]) => directory[from].pnode !== directory[to].pnode && directory[from].pnode !== directory.source.pnode,
  )!
  const { pnode: frozen, term } = directory[sender]
  const { pnode: watched } = directory[reader]
  const peer = cluster.host(frozen)
  const moved = eventOf(run, (event) => event.type === 'relocated' && event.vnode === sender)
  // First what it says to control stays on its way: then a commit and an evaluation wait when it freezes.
  await peer.daprd.kill('SIGSTOP')
  await systemClock.sleep(1_000)
  peer.signal('SIGSTOP')
  const stoppedMs = performance.now()
  await moved
  // What arrives at the next VNode under the old term, heard with its own host's rights.
  const { joined } = cluster.host(watched)
  const spy = await natsBus({
    servers: [...joined!.broker.servers],
    name: watched,
    credentials: { jwt: joined!.broker.jwt, seed: cluster.hosts.get(watched)!.key.seed },
  })
  t.teardown(() => spy.close())
  let lateFrames = 0
  const heard = spy.subscribe(subjectOf(run.id, watched, reader, 'frame'), { capacity: 4096 })
  void (async () => {
    for await (const delivery of heard) {
      if (delivery.type === 'message' && decodeFrame(delivery.bytes).header.term === term && delivery.from === frozen) lateFrames++
    }
  })()
  await heard.ready
  await systemClock.sleep(Math.max(0, 10_000 - (performance.now() - stoppedMs)))
  peer.signal('SIGCONT')
  await peer.daprd.kill('SIGCONT')
  const frozenS = ((performance.now() - stoppedMs) / 1000).toFixed(1)
  let dropped: Awaited<ReturnType<typeof droppedOf>> = {}
  await until(
    () => `late ones counted: ${lateFrames} frames, ${JSON.stringify(dropped)}`,
    async () => {
      dropped = await droppedOf(cluster, run.id)
      return lateFrames > 0 && dropped.term > 0 && dropped['late commit'] > 0 && dropped['late evaluation'] > 0
    },
  )
  const { result, ...outcome } = await outcomeOf(cluster, run)
  t.log(`frozen for ${frozenS} s, ${lateFrames} late frames, dropped ${JSON.stringify(dropped)}, replayed ${result.stepsReplayed}`)
  t.deepEqual(outcome, should)
  t.like(result, { stepsLost: 0, stepsDoubled: 0 })
  // Nothing of the past keeps it.
  t.is(await peer.leave(), 0)
  await peer.daprd.restart()
  await peer.startApp()
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
