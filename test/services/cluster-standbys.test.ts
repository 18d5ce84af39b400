/** Standbys on real processes: what a killed PNode had goes on where somebody has followed it, not from the checkpoint. */
import test, { registerCompletionHandler } from 'ava'
import type { RunEvent } from '../../actors/events.js'
import { train } from '../../actors/train.js'
import { SOURCE } from '../../components/definition.js'
import { followersIn, vnodeOf } from '../../runtime/followers.js'
import { readHead } from '../../runtime/head-store.js'
import { embedded, outcomeOf } from '../support/cluster-runs.js'
import { TestCluster } from '../support/cluster.js'
import { forFile } from '../support/servers.js'
import { slowBranching, TRAINING } from '../support/small-runs.js'
import { until } from '../support/until.js'

const STEP_MS = 15
const EVERY_STEPS = 60
const LONGER = { ...TRAINING, epochs: 12 } as const

const file = forFile()
registerCompletionHandler(() => process.exit())

test.serial('a PNode and its sidecar are killed: whoever stood by for its VNodes goes on, with the same hash', async (t) => {
  const cluster = await TestCluster.start(file)
  const net = slowBranching(STEP_MS)
  const run = train(net, LONGER, { on: cluster.on(), checkpoint: { everySteps: EVERY_STEPS }, replicas: 1 })
  const events: RunEvent[] = []
  const watching = (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  const newest = (type: 'progress' | 'checkpoint') => events.findLast((event) => event.type === type) as { step: number } | undefined
  const directory = async () => (await readHead(cluster.store, run.id)).head.directory
  const stand = async () => followersIn({ directory: await directory() }).length
  await until(
    () => 'a checkpoint, and some steps after it',
    () => (newest('progress')?.step ?? 0) > (newest('checkpoint')?.step ?? Infinity) + EVERY_STEPS / 4,
  )
  t.is(await stand(), 5, 'standbys of all')
  const before = await directory()
  const [, { pnode: victim }] = Object.entries(before).find(([id, { pnode }]) => vnodeOf(id) === id && pnode !== before[SOURCE].pnode)!
  const vnodes = Object.keys(before).filter((id) => vnodeOf(id) === id && before[id].pnode === victim)
  const checkpointStep = newest('checkpoint')!.step
  await cluster.host(victim).kill()
  const relocated = (vnode: string) => events.find((event) => event.type === 'relocated' && event.vnode === vnode) as { fromStep: number }
  await until(
    () => `${vnodes.join(', ')} go on`,
    () => vnodes.every((vnode) => relocated(vnode)),
  )
  const after = await directory()
  for (const vnode of vnodes) {
    t.is(after[vnode].pnode, before[`${vnode}~1`].pnode)
    t.true(relocated(vnode).fromStep > checkpointStep, `${vnode} goes on after ${relocated(vnode).fromStep}, not ${checkpointStep}`)
  }
  await until(
    () => 'others stand by',
    async () => (await stand()) === 5,
  )
  const { hash, chains } = await outcomeOf(cluster, run)
  await watching
  const expected = await embedded(net, LONGER)
  t.deepEqual(chains, expected.chains)
  t.is(hash, expected.hash)
})

test.after.always(() => file.end())
