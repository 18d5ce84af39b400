/** A liar in one run gets nothing of the next one, until its time is over or somebody releases it; what was verified is in the ledger. */
import test from 'ava'
import { local, train } from '../../actors/train.js'
import type { RunEvent } from '../../actors/events.js'
import { HostRecords } from '../../actors/trust/host-records.js'
import { QUARANTINE_MS, quarantineAt } from '../../actors/trust/host-record.js'
import { isOnProbation } from '../../actors/trust/reputation.js'
import { storedLedgerKey } from '../../actors/trust/ledger-key.js'
import { readLedger } from '../../actors/trust/ledger-reader.js'
import { multiplyAddsOf, micropointsOf } from '../../actors/trust/ledger-entry.js'
import { hostRecordKey } from '../../actors/trust/host-records.js'
import { actor, call } from '../../actors/calls.js'
import { cluster } from '../../actors/cluster.js'
import { evidencePrefix } from '../../actors/checks/evidence.js'
import { readDefinition, samplesOf } from '../../actors/run/run-definition.js'
import { vnodeOf } from '../../runtime/followers.js'
import { readHead } from '../../runtime/head-store.js'
import { type Clock, systemClock } from '../../runtime/clock.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { ADVERSARIES } from '../../adversaries/adversaries.js'
import { measuredAlike } from '../adversaries/measured-alike.js'
import { openPools, renamed, undisturbed } from '../support/chaos-run.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { branching, openObjects, slowBranching, TOTAL_STEPS, TRAINING, watchedStore } from '../support/small-runs.js'
import { until } from '../support/until.js'

const pools = openPools()
test.after.always(() => pools.close())
const LIAR = 'pnode-2'

interface Arrangement {
  readonly liar?: string
  readonly clock?: Clock
  readonly pnodes?: number
  readonly redundancy?: number
}

async function ended(store: ObjectStore, id: string, { liar, clock, pnodes = 4, redundancy = 2 }: Arrangement = {}) {
  const run = train(
    branching,
    TRAINING,
    { on: local({ pnodes, membership: { rateMs: 1e9 } }), store, checkpoint: { everySteps: 10 }, redundancy },
    {
      id,
      clock,
      pool: renamed(pools.inline, `${id}-`),
      disguise: (pnode, honest) => (pnode === liar ? ADVERSARIES['sign-flip'](measuredAlike(honest)) : measuredAlike(honest)),
    },
  )
  const events: RunEvent[] = []
  void (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  const { hash } = await run.result
  const { head } = await readHead(store, id)
  const places = new Set(events.flatMap((event) => (event.type === 'placed' ? [event.pnode] : [])))
  return { hash, head, events, places }
}

/** The same clock, so much later. */
const later = (ms: number): Clock => ({
  now: () => systemClock.now() + ms,
  after: (delayMs, callback) => systemClock.after(delayMs, callback),
  sleep: (delayMs, signal) => systemClock.sleep(delayMs, signal),
})

test.serial('a liar is out of the next run as well, until its time is over: then it has VNodes again, on probation', async (t) => {
  const { store } = openObjects()
  const first = await ended(store, 'first', { liar: LIAR })
  t.deepEqual(first.head.excluded, [LIAR])
  const bob = await new HostRecords({ store }).get(LIAR)
  t.is(bob.convictions.length, 1)
  t.true(bob.convictions[0].evidence!.startsWith(evidencePrefix('first')))
  t.truthy(quarantineAt(bob, systemClock.now()))
  t.true(first.events.some((event) => event.type === 'convicted' && event.evidence === bob.convictions[0].key))

  const second = await ended(store, 'second')
  t.is(second.hash, first.hash)
  t.false(second.places.has(LIAR))
  t.is(second.places.size, 3)

  const third = await ended(store, 'third', { clock: later(QUARANTINE_MS + 60_000) })
  t.is(third.hash, first.hash)
  t.true(third.places.has(LIAR))
  t.is(third.head.excluded, undefined)
  const after = await new HostRecords({ store }).get(LIAR)
  t.is(after.reputation.convictions, 1)
  t.true(isOnProbation(after.reputation))
  t.true(after.reputation.verified > 0, 'and its work is looked at, and found right')
})

test.serial('work that others agree on is in the ledger: of each VNode, each step once for everybody who has applied it', async (t) => {
  const { store } = openObjects()
  const { head } = await ended(store, 'booked', { pnodes: 2 })
  t.is(head.status, 'done')
  const { books, count } = await readLedger({ store, publicKey: (await storedLedgerKey(store)).publicKey, checks: 'signatures' })
  const definition = await readDefinition(store, 'booked')
  const { network } = definition
  const balances = books.balances()
  t.deepEqual(
    balances.map(({ host }) => host),
    ['pnode-1', 'pnode-2'],
  )
  const once = network.vnodes.reduce(
    (sum, { cost }) => sum + micropointsOf(multiplyAddsOf({ cost, samples: TOTAL_STEPS * TRAINING.batchSize })),
    0,
  )
  const earned = balances.reduce((sum, balance) => sum + balance.earned, 0)
  // What is below a millionth of a point is dropped, entry by entry.
  t.true(earned > 0 && 2 * once - earned >= 0 && 2 * once - earned <= count, `${earned} of ${2 * once}`)
  t.is(
    balances.reduce((sum, { steps }) => sum + steps, 0),
    2 * network.vnodes.length * TOTAL_STEPS,
  )
  t.is(definition.timetable.stepsPerEpoch, 20)
  const smaller = {
    ...definition,
    data: { ...definition.data, splits: { train: [{ ...definition.data.splits.train![0], samples: 610 }] } },
  }
  t.deepEqual(
    [samplesOf(smaller, 1, 19), samplesOf(smaller, 11, 20), samplesOf(smaller, 20, 20), samplesOf(smaller, 1, 60)],
    [19 * 32, 9 * 32 + 2, 2, 3 * 610],
  )
  for (const { id } of network.vnodes) t.is(books.bookedThrough('booked', 1, id), TOTAL_STEPS)
})

test.serial('a run whose ledger is slow ends when all of its work is booked', async (t) => {
  const { store } = openObjects()
  const slow = watchedStore(store, (key, when) => (key.startsWith('ledger/') && when === 'before' ? systemClock.sleep(150) : undefined))
  await ended(slow, 'slow', { pnodes: 2 })
  const { network } = await readDefinition(store, 'slow')
  const { books } = await readLedger({ store })
  for (const { id } of network.vnodes) t.is(books.bookedThrough('slow', 1, id), TOTAL_STEPS)
})

test.serial('where nobody is asked to agree, nothing is verified, and nobody is judged', async (t) => {
  const { store } = openObjects()
  await ended(store, 'alone', { pnodes: 2, redundancy: 1 })
  t.is((await readLedger({ store })).count, 0)
  for (const { reputation } of await new HostRecords({ store }).all()) t.is(reputation.verified + reputation.convictions, 0)
})

test.serial('it is in quarantine before its run says so: whatever crashes between, nobody forgets it', async (t) => {
  const { store } = openObjects()
  const convictionsAtHead: number[] = []
  const watched = watchedStore(store, async (key, when) => {
    if (when !== 'after' || key !== 'runs/watched/head') return
    const { head } = await readHead(store, 'watched')
    if (!head.excluded || convictionsAtHead.length > 0) return
    const { convictions } = await new HostRecords({ store }).get(LIAR)
    convictionsAtHead.push(convictions.length)
  })
  await ended(watched, 'watched', { liar: LIAR })
  t.deepEqual(convictionsAtHead, [1])
})

test.serial('a run goes on, and convicts nobody for good, where what is known of hosts cannot be read', async (t) => {
  const { store } = openObjects()
  await store.put(hostRecordKey(LIAR), new TextEncoder().encode('{"v":99}'))
  const { head, events } = await ended(store, 'unread', { liar: LIAR })
  t.deepEqual(head.excluded, [LIAR])
  t.is(head.status, 'done')
  t.true(events.some((event) => event.type === 'warning' && event.error.code === 'reputation.version'))
})

test.serial(
  'what it has of other runs goes elsewhere at once, under new terms, and they end with the same hash; released, it gets something again',
  async (t) => {
    const made = await memoryCluster(t)
    const on = cluster(made.url, { token: made.keys.trainerToken })
    const runs = ['a', 'b'].map((id) => train(slowBranching(4), TRAINING, { on, checkpoint: { everySteps: 5 } }, { id }))
    const placesOf = async (run: string) => Object.entries((await readHead(made.store, run)).head.directory)
    for (const run of runs) for await (const event of run.events()) if (event.type === 'checkpoint') break
    const before = await placesOf('b')
    const [[, { pnode: liar }]] = before
    const [vnode] = before.find(([, place]) => place.pnode === liar)!
    const events = [{ pnode: liar, event: 'convicted' as const, vnode, step: 5 }]
    await call<'Quarantine', 'tell'>(made.system, actor.quarantine, 'tell', { key: 'k', run: 'elsewhere', events })
    await until('it has nothing', async () => {
      const places = [...(await placesOf('a')), ...(await placesOf('b'))]
      return places.every(([, { pnode }]) => pnode !== liar)
    })
    const after = new Map(await placesOf('b'))
    // Whoever audited it may be done.
    for (const [id, { pnode, term }] of before) if (pnode === liar && vnodeOf(id) === id) t.true(after.get(id)!.term > term, id)
    t.is(made.host.members.find(({ pnode }) => pnode === liar)!.state, 'quarantined')
    const results = await Promise.all(runs.map((run) => run.result))
    const { hash } = await undisturbed('branching')
    for (const result of results) t.is(result.hash, hash)
    t.true(await made.host.endQuarantine(liar))
    t.is(made.host.members.find(({ pnode }) => pnode === liar)!.state, 'ready')
    t.deepEqual(made.errors, [])
  },
)
