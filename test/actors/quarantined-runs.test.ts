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
import { evidencePrefix } from '../../actors/run/reviews.js'
import { readDefinition } from '../../actors/run/run-definition.js'
import { readHead } from '../../runtime/head-store.js'
import { type Clock, systemClock } from '../../runtime/clock.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { ADVERSARIES, measuredAlike } from '../adversaries/adversaries.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { branching, openObjects, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'

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
  const { network } = await readDefinition(store, 'booked')
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
  for (const { id } of network.vnodes) t.is(books.bookedThrough('booked', 1, id), TOTAL_STEPS)
})

test.serial('where nobody is asked to agree, nothing is verified, and nobody is judged', async (t) => {
  const { store } = openObjects()
  await ended(store, 'alone', { pnodes: 2, redundancy: 1 })
  t.is((await readLedger({ store })).count, 0)
  for (const { reputation } of await new HostRecords({ store }).all()) t.is(reputation.verified + reputation.convictions, 0)
})
