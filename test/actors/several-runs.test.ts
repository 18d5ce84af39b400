/** Several runs on the same PNodes: what each may take, and what becomes of one that there is no room for. */
import test from 'ava'
import { DEFAULT_TIERS, type Tiers } from '../../actors/placement/admission.js'
import { actor } from '../../actors/calls.js'
import { cluster } from '../../actors/cluster.js'
import { readEvents } from '../../actors/run/event-log.js'
import type { RunEvent } from '../../actors/events.js'
import { resume, train } from '../../actors/train.js'
import { readHead } from '../../runtime/head-store.js'
import { undisturbed } from '../support/chaos-run.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { chain, slowBranching, TRAINING } from '../support/small-runs.js'

/** Room for two small runs and not for three: each needs about 2.6 MB, the most of it for its source's samples. */
const ROOM_BYTES = 6.5e6
/** No PNode that lends so little would get anything. */
const ANYBODY = { tiers: DEFAULT_TIERS.map(() => ({ gflops: 0, memoryBytes: 0 })) as unknown as Tiers }

test('a run that there is no room for waits, says why, and begins when another has ended', async (t) => {
  const { url, keys, store, host, pnodes, system } = await memoryCluster(t, {
    pnodes: ['ann'],
    memoryBytes: ROOM_BYTES,
    membership: ANYBODY,
  })
  const on = cluster(url, { token: keys.trainerToken })
  const slow = slowBranching(15)
  const [first, second] = ['a', 'b'].map((id) => train(slow, { ...TRAINING, epochs: 1 }, { on }, { id }))
  for (const run of [first, second]) for await (const event of run.events()) if (event.type === 'progress') break
  // Whatever placement has forgotten, its PNodes know.
  await system.deactivate(actor.placement)
  await new Promise<void>((resolve) => {
    const look = () => (host.members.every(({ state }) => state === 'ready') ? resolve() : setImmediate(look))
    look()
  })
  const third = train(chain, TRAINING, { on }, { id: 'c' })
  const why: RunEvent[] = []
  let hadBegun: string[] | undefined
  for await (const event of third.events()) {
    if (event.type === 'waiting') why.push(event)
    if (event.type === 'placed') hadBegun ??= [...pnodes[0].vnodes]
  }
  const [result] = await Promise.all([third.result, first.result, second.result])
  t.is(result.hash, (await undisturbed('chain')).hash)
  t.regex(
    why.map((event) => (event.type === 'waiting' ? event.reason : '')).join(),
    /no PNode for .*: got ann: .* more than its 6.5 MB allow/,
  )
  t.truthy(hadBegun)
  // As `explain` reads it.
  const stored: string[] = []
  for await (const { events } of readEvents(store, 'c')) stored.push(...events.map(({ type }) => type))
  t.true(stored.indexOf('waiting') < stored.indexOf('placed'), stored.join())
  t.is(host.members[0].state, 'ready')
})

test('a run that waits can be paused; gone on with while there is still no room it waits again, and ends with the same hash', async (t) => {
  const there = await memoryCluster(t, { pnodes: [] })
  const { url, keys, store } = there
  const on = cluster(url, { token: keys.trainerToken })
  const untilIt = async (run: ReturnType<typeof train>, type: RunEvent['type']) => {
    for await (const event of run.events()) if (event.type === type) return
  }
  const first = train(chain, TRAINING, { on }, { id: 'r' })
  await untilIt(first, 'waiting')
  await first.pause()
  t.like(await first.result, { status: 'paused', steps: 0 })
  t.is((await readHead(store, 'r')).head.status, 'paused')

  const second = resume('r', { on, checkpoint: { everySteps: 5 } })
  await untilIt(second, 'waiting')
  const ann = await there.addPNode('ann')
  await untilIt(second, 'checkpoint')
  await second.pause()
  const { steps } = await second.result
  t.true(steps > 0)

  // Now it has a checkpoint, and again nobody who could go on from it.
  await ann.leave('on purpose')
  const third = resume('r', { on })
  await untilIt(third, 'waiting')
  t.is((await readHead(store, 'r')).head.status, 'running')
  await there.addPNode('bob')
  t.is((await third.result).hash, (await undisturbed('chain')).hash)
})
