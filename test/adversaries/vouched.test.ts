/** What control's word for a host is good for in a run, and what becomes of that when it is taken back. */
import test, { type ExecutionContext } from 'ava'
import { ADVERSARIES } from '../../adversaries/adversaries.js'
import { cluster } from '../../actors/cluster.js'
import type { RunEvent } from '../../actors/events.js'
import type { Seams } from '../../actors/pnode/seams.js'
import { local, type RunOptions, train } from '../../actors/train.js'
import { SOURCE } from '../../components/definition.js'
import type { Network } from '../../components/network.js'
import { followed, followersIn } from '../../runtime/followers.js'
import type { Head } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import { changedCompute } from '../../runtime/compute/changed-compute.js'
import type { Compute } from '../../runtime/compute/compute.js'
import { type MemoryCluster, memoryCluster } from '../support/memory-cluster.js'
import { branching, openObjects, slowBranching, TRAINING } from '../support/small-runs.js'
import { until } from '../support/until.js'

const LONG_MS = 3_600_000
const EVERY_STEPS = 5
const ALIKE = { rateMs: 1e9 }

/** All are equally fast, and one lies. */
const withLiar = (name: string, own: Compute): Compute => {
  const start: Compute['start'] = async (signal, options) => ({ ...(await own.start(signal, options)), gflops: 10 })
  const alike = changedCompute(own, { start })
  return name === 'liar' ? ADVERSARIES.forger({ compute: alike } as Seams).compute : alike
}

async function honestHash(net: Network): Promise<string | undefined> {
  const { store } = openObjects()
  return (await train(net, TRAINING, { on: local({ pnodes: 2, threads: false }), store }).result).hash
}

function begin({ url, keys }: MemoryCluster, net: Network, options: RunOptions, id: string) {
  const on = cluster(url, { token: keys.trainerToken })
  const run = train(net, TRAINING, { on, checkpoint: { everySteps: EVERY_STEPS }, redundancy: 2, ...options }, { id })
  const events: RunEvent[] = []
  const story = (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  return { run, events, story }
}

async function convictions(t: ExecutionContext, made: MemoryCluster, id: string) {
  const { run, events, story } = begin(made, branching, {}, id)
  t.is((await run.result).hash, await honestHash(branching))
  await story
  t.deepEqual((await readHead(made.store, id)).head.excluded, ['liar'])
  return events.flatMap((event) => (event.type === 'convicted' ? [event.by] : []))
}

test.serial('whom control vouches for settles disputes, until that is taken back', async (t) => {
  const made = await memoryCluster(t, { pnodes: ['ann', 'bob', 'cyd', 'liar'], membership: ALIKE, compute: withLiar })
  await made.host.trust!.grant('cyd', LONG_MS)
  const before = await convictions(t, made, 'before')
  t.true(before.length > 0 && before.every((by) => by === 'arbiter'), before.join())
  await made.host.trust!.revoke('cyd')
  // Its next run is to have it.
  t.true(await made.host.endQuarantine('liar'))
  const after = await convictions(t, made, 'after')
  t.true(after.length > 0 && after.every((by) => by === 'panel'), after.join())
  t.deepEqual(made.errors, [])
})

test.serial('where followers have to be trusted, those on a host that is not any more move to one that is', async (t) => {
  const net = slowBranching(15)
  const made = await memoryCluster(t, { pnodes: ['ann', 'bob', 'cyd'], membership: ALIKE, compute: withLiar })
  for (const name of ['ann', 'bob']) await made.host.trust!.grant(name, LONG_MS)
  const { run, events } = begin(made, net, { constraints: { areFollowersTrusted: true } }, 'moved')
  const head = async () => (await readHead(made.store, run.id)).head
  await until(
    () => 'a checkpoint',
    () => events.some(({ type }) => type === 'checkpoint'),
  )
  const first = await head()
  t.true(followersIn(first).length > 0)
  for (const id of followersIn(first)) t.not(first.directory[id].pnode, 'cyd')
  const { pnode: out } = first.directory[followersIn(first)[0]]
  const other = out === 'ann' ? 'bob' : 'ann'
  await made.host.trust!.revoke(out)
  /** What nobody answers for is followed, and who follows is answered for. */
  const isCovered = ({ directory }: Head) =>
    Object.entries(directory).every(([id, { pnode }]) =>
      followed(id) === undefined ? id === SOURCE || pnode === other || `${id}~1` in directory : pnode === other,
    )
  await until(
    () => `followers on ${other} alone`,
    async () => isCovered(await head()),
    { limitMs: 60_000 },
  )
  const { status, hash } = await run.result
  t.is(status, 'done')
  t.is(hash, await honestHash(net))
  t.is((await head()).excluded, undefined)
  t.deepEqual(made.errors, [])
})
