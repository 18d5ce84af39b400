/** Who is found to lie is out at once, of everything; what it takes to come back; and what all that has to do with being there. */
import test from 'ava'
import { actor, call, type Calls, type Membership, type Profile, type Told, type TrustEvent } from '../../actors/calls.js'
import { listMembers } from '../../actors/placement/parts.js'
import { missingAt } from '../../actors/run/roll-call.js'
import type { Head } from '../../runtime/head.js'
import { member } from '../support/members.js'
import { DEFAULT_MEMBERSHIP, placementActor } from '../../actors/placement/placement.js'
import { QUARANTINE_MS } from '../../actors/trust/host-record.js'
import { HostRecords } from '../../actors/trust/host-records.js'
import { readLedger } from '../../actors/trust/ledger-reader.js'
import { type QuarantineOptions, quarantineActor } from '../../actors/trust/quarantine.js'
import { localActors } from '../../runtime/actor-system/local-actors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { SwarmError } from '../../runtime/errors.js'
import { fakeClock } from '../support/fake-clock.js'
import { ledgerKey } from '../support/ledgers.js'

const profile = (pnode: string, more: Partial<Profile> = {}): Profile => ({
  pnode,
  incarnation: `${pnode}-1`,
  computeClass: 'wasm',
  gflops: 40,
  memoryBytes: 1e9,
  ...more,
})

const told = (key: string, event: TrustEvent['event'], pnode = 'bob', more: Partial<TrustEvent> = {}): Told => ({
  key,
  run: 'r1',
  events: [{ pnode, event, vnode: 'dense-1', step: 40, evidence: `runs/r1/evidence/${key}`, ...more }],
})

interface Arrangement extends Partial<QuarantineOptions> {
  /** What is stored by runs, and by control's actors. */
  readonly store?: ObjectStore
  readonly disk?: ObjectStore
}

/** The control actors that know of hosts, and what is asked of Relocation. */
async function control({ store = memoryStore(), disk = memoryStore(), ...options }: Arrangement = {}) {
  const clock = fakeClock()
  const lost: string[] = []
  const joined: string[] = []
  const errors: SwarmError[] = []
  const system = localActors({ store: disk, clock })
  system.register(placementActor(DEFAULT_MEMBERSHIP))
  system.register(quarantineActor({ store, ledgerKey: () => ledgerKey(), onError: (error) => errors.push(error), ...options }))
  const handlers = {
    joined: (_context: unknown, _memory: unknown, { pnode }: { pnode: string }) => void joined.push(pnode),
    drain: () => [],
    relocate: (_context: unknown, _memory: unknown, { pnode, reason }: { pnode: string; reason: string }) =>
      void lost.push(`${pnode}: ${reason}`),
  }
  system.register({ type: 'Relocation', activate: () => null, handlers })
  await system.start()
  const ask = <M extends keyof Calls['Quarantine']>(method: M, argument: Calls['Quarantine'][M][0]) =>
    system.call(actor.quarantine, method, argument as never) as Promise<unknown> as Promise<Calls['Quarantine'][M][1]>
  const of = async (pnode: string): Promise<Membership> => (await listMembers(system)).find((member) => member.pnode === pnode)!
  const beat = (pnode: string, vnodes: readonly string[] = []) =>
    call<'Placement', 'heartbeat'>(system, actor.placement, 'heartbeat', { pnode, busyShare: 0.5, vnodes })
  return {
    system,
    store,
    disk,
    clock,
    lost,
    joined,
    errors,
    of,
    beat,
    tell: (one: Told) => ask('tell', one),
    standing: async (pnode: string) => (await ask('standings', { pnodes: [pnode] }))[0],
    ask,
    join: (one: Profile) => call<'Placement', 'join'>(system, actor.placement, 'join', one),
    place: (cost = 1, vnodes = 1) =>
      call<'Placement', 'place'>(system, actor.placement, 'place', {
        run: 'r2',
        demands: Array.from({ length: vnodes }, (_, i) => ({ vnode: `v${i}`, cost, memoryBytes: 1 })),
        staying: {},
        code: [],
        avoid: [],
      }),
    /** So long everybody is heard of. */
    alive: async (ms: number, ...pnodes: readonly string[]) => {
      for (let at = 0; at < ms; at += 1_000) {
        await Promise.all(pnodes.map((pnode) => beat(pnode)))
        await clock.advance(1_000)
      }
    },
  }
}

test('who is convicted is out at once: it gets nothing, and what it has goes elsewhere', async (t) => {
  const { join, tell, of, lost, place, beat, standing, system } = await control()
  await join(profile('bob', { gflops: 400 }))
  await beat('bob', ['r3/dense-2'])
  t.is((await place())[0].pnode, 'bob')
  await tell(told('k', 'convicted'))
  t.like(await of('bob'), { state: 'quarantined', quarantine: { reason: 'convicted over dense-1 at step 40 of run r1' } })
  t.deepEqual(lost, ['bob: it is in quarantine: convicted over dense-1 at step 40 of run r1'])
  await t.throwsAsync(place(), { code: 'placement.no-pnode', message: /bob: it is in quarantine/ })
  await beat('bob')
  t.is((await of('bob')).state, 'quarantined', 'being heard of changes nothing')
  await system.deactivate(actor.placement)
  await beat('bob')
  t.is((await of('bob')).state, 'quarantined', 'nor does another activation')
  t.is(lost.length, 2, 'which says again what may not have been heard')
  t.like(await standing('bob'), { auditShare: 1, isOnProbation: true, quarantined: { evidence: 'runs/r1/evidence/k' } })
})

test('it holds for whoever is not there, leaves and comes back, or starts anew', async (t) => {
  const { join, tell, of, system } = await control()
  await tell(told('k', 'convicted'))
  await join(profile('bob'))
  t.is((await of('bob')).state, 'quarantined')
  await join(profile('bob', { incarnation: 'bob-2' }))
  t.is((await of('bob')).state, 'quarantined')
  await call<'Placement', 'forget'>(system, actor.placement, 'forget', { pnode: 'bob' })
  await join(profile('bob', { incarnation: 'bob-3' }))
  t.is((await of('bob')).state, 'quarantined')
  await join(profile('ann'))
  t.is((await of('ann')).state, 'ready')
})

test('who is in quarantine and not there concerns runs once, not every few seconds', async (t) => {
  const { tell, lost, alive, join } = await control()
  await join(profile('ann'))
  await tell(told('k', 'convicted'))
  await alive(30_000, 'ann')
  t.is(lost.length, 1)
})

test('a run that was being placed while one of its PNodes was convicted misses that one, and nobody else', (t) => {
  const placed = { term: 3, incarnation: 'bob-1' }
  const head = { run: 'r', directory: { source: { ...placed, pnode: 'ann' }, 'dense-1': { ...placed, pnode: 'bob' } } } as unknown as Head
  const members = ['ann', 'bob'].map((pnode) => member(pnode, { incarnation: 'bob-1', vnodes: ['r/source', 'r/dense-1'] }))
  t.deepEqual(missingAt(members, head, 3), [])
  const convicted = members.map((each) => (each.pnode === 'bob' ? { ...each, state: 'quarantined' as const } : each))
  t.like(missingAt(convicted, head, 0), [{ pnode: 'bob', what: 'pnode', vnodes: ['r/dense-1'] }])
})

test('what a lost disk of control forgets, the object store knows', async (t) => {
  const before = await control()
  await before.tell(told('k', 'convicted'))
  const { join, of, ask } = await control({ store: before.store })
  await ask('look', { pnodes: [] })
  await join(profile('bob'))
  t.is((await of('bob')).state, 'quarantined')
})

test('the end of its time lets it in again, on probation; so does somebody’s word', async (t) => {
  const { join, tell, of, alive, joined, place, standing, ask, store } = await control()
  await join(profile('bob'))
  await tell(told('k', 'convicted'))
  await alive(QUARANTINE_MS - 2_000, 'bob')
  t.is((await of('bob')).state, 'quarantined')
  joined.length = 0
  await alive(4_000, 'bob')
  t.is((await of('bob')).state, 'ready')
  t.deepEqual(joined, ['bob'], 'runs that wait hear of it')
  t.is((await place())[0].pnode, 'bob')
  t.like(await standing('bob'), { auditShare: 1, isOnProbation: true })
  t.false('quarantined' in (await standing('bob')))

  await tell(told('k2', 'convicted'))
  t.is((await of('bob')).state, 'quarantined')
  t.true(await ask('release', { pnode: 'bob' }))
  t.is((await of('bob')).state, 'ready')
  t.false(await ask('release', { pnode: 'bob' }))
  await t.throwsAsync(ask('release', { pnode: 'nobody' }), { code: 'host.unknown' })

  await tell(told('k3', 'convicted'))
  // As the command does in a folder.
  await new HostRecords({ store }).change('bob', ({ quarantine: _quarantine, ...record }) => record)
  await alive(7_000, 'bob')
  t.is((await of('bob')).state, 'ready')
})

test('placement ends a quarantine by its own clock, whoever else is there', async (t) => {
  const { join, tell, of, alive, system } = await control()
  await join(profile('bob'))
  await tell(told('k', 'convicted'))
  await system.unregister('Quarantine')
  await alive(QUARANTINE_MS - 2_000, 'bob')
  t.is((await of('bob')).state, 'quarantined')
  await alive(4_000, 'bob')
  t.is((await of('bob')).state, 'ready')
})

test('a conviction that placement does not hear of is an error for whoever told it, and counts once when it is told again', async (t) => {
  const { join, tell, of, system, standing } = await control()
  await join(profile('bob'))
  await system.unregister('Placement')
  await t.throwsAsync(tell(told('k', 'convicted')), { code: 'actor.not-found' })
  system.register(placementActor(DEFAULT_MEMBERSHIP))
  await tell(told('k', 'convicted'))
  t.is((await of('bob')).state, 'quarantined')
  const { quarantined } = await standing('bob')
  t.is(quarantined!.untilMs - quarantined!.sinceMs, QUARANTINE_MS)
})

test('a restart of a good host costs its availability, and no integrity', async (t) => {
  const { join, tell, beat, standing, alive } = await control()
  await join(profile('bob'))
  for (let i = 0; i < 20; i++) await tell(told(`v${i}`, 'verified'))
  const before = await standing('bob')
  t.like(before, { isOnProbation: false, auditShare: 0.03 })
  await beat('bob', ['r/v'])
  await join(profile('bob', { incarnation: 'bob-2' }))
  await alive(1_000, 'bob')
  const after = await standing('bob')
  t.true(after.availability < before.availability)
  t.deepEqual({ ...after, availability: 0 }, { ...before, availability: 0 })
  await join(profile('bob', { incarnation: 'bob-3' }))
  await alive(1_000, 'bob')
  t.is((await standing('bob')).availability, after.availability, 'nobody waited for anything of it')
})

test('who has done what it was given, or handed it over, was there; over and over again in a minute counts once', async (t) => {
  const { join, beat, standing, alive, clock } = await control()
  await join(profile('bob'))
  const { availability } = await standing('bob')
  await beat('bob', ['r/v'])
  await beat('bob', [])
  await clock.advance(0)
  const once = (await standing('bob')).availability
  t.true(once > availability)
  for (let i = 0; i < 5; i++) {
    await beat('bob', ['r/v'])
    await clock.advance(1_000)
    await beat('bob', [])
    await clock.advance(0)
  }
  t.is((await standing('bob')).availability, once)
  await alive(61_000, 'bob')
  await beat('bob', ['r/v'])
  await beat('bob', [])
  await clock.advance(0)
  t.true((await standing('bob')).availability > once)
})

test('of two that are equal otherwise, who is worth less gets less; who are worth the same get what they would get without all this', async (t) => {
  const { join, tell, place, of } = await control()
  await Promise.all(['ann', 'bob'].map((pnode) => join(profile(pnode))))
  const share = async () => {
    const decisions = await place(1e9, 8)
    return decisions.filter(({ pnode }) => pnode === 'bob').length
  }
  const equal = await place(1e9, 8)
  t.is(await share(), 4)
  for (let i = 0; i < 30; i++) {
    for (const pnode of ['ann', 'bob']) await tell(told(`${pnode} v${i}`, 'verified', pnode))
  }
  t.deepEqual(await place(1e9, 8), equal)
  t.false('worth' in (await of('bob')))
  for (let i = 0; i < 8; i++) await tell(told(`m${i}`, 'missed'))
  t.is((await of('bob')).worth, 0.75)
  t.is(await share(), 3)
  const [{ candidates }] = await place(1e9, 1)
  t.regex(candidates.find(({ pnode }) => pnode === 'bob')!.reason, /40 GFLOP\/s, of which 75 % count for its reputation/)
})

test('a host that nothing is known of is on probation; one that is trusted is not, until it is convicted', async (t) => {
  const { standing, tell, ask } = await control({ isTrusted: (pnode) => pnode === 'ann' })
  t.deepEqual(await standing('new'), { pnode: 'new', auditShare: 1, integrity: 0.5, availability: 0.5, isOnProbation: true })
  t.like(await standing('ann'), { auditShare: 0.01, isOnProbation: false })
  await tell(told('k', 'convicted', 'ann'))
  t.like(await standing('ann'), { auditShare: 1, isOnProbation: true })
  const names = ['z', 'ann', 'a']
  t.deepEqual(
    (await ask('standings', { pnodes: names })).map(({ pnode }) => pnode),
    names,
  )
})

const work = { generation: 1, firstStep: 31, multiplyAdds: 2.5e12 }

test('verified work is booked under its owner, and forfeited with a conviction; told twice it is booked once', async (t) => {
  const { join, tell, store, ask, clock } = await control()
  await join(profile('bob', { owner: 'Bob' }))
  const all: Told[] = [
    { key: 'v', run: 'r1', events: ['ann', 'bob'].map((pnode, i) => ({ pnode, event: 'verified', vnode: `dense-${i}`, step: 40, work })) },
    told('k', 'convicted'),
  ]
  for (const one of [...all, ...all]) await tell(one)
  await clock.advance(0)
  await ask('settle', null)
  const { books, count } = await readLedger({ store })
  t.deepEqual(books.balances(), [
    { host: 'ann', owner: '', steps: 10, earned: 2_500_000, forfeited: 0 },
    { host: 'bob', owner: 'Bob', steps: 10, earned: 2_500_000, forfeited: 2_500_000 },
  ])
  t.is(count, 3)
})

/** A store in which the ledger cannot be written until `isDown` is false. */
function withoutLedger(real: ObjectStore): ObjectStore & { isDown: boolean } {
  return {
    isDown: true,
    get: (key, more) => real.get(key, more),
    async put(key, bytes, more) {
      if (this.isDown && key.startsWith('ledger/')) throw new SwarmError('store.unavailable', { what: 'down', retryable: true })
      return real.put(key, bytes, more)
    },
    delete: (key, more) => real.delete(key, more),
    list: (prefix, more) => real.list(prefix, more),
    close: () => real.close(),
  }
}

test('a ledger that cannot be written for ten seconds is told of once; it is tried until it can', async (t) => {
  const real = memoryStore()
  const store = withoutLedger(real)
  const { tell, clock, errors } = await control({ store })
  await tell({ key: 'v', run: 'r1', events: [{ pnode: 'bob', event: 'verified', vnode: 'b', step: 40, work }] })
  await clock.advance(5_000)
  t.deepEqual(errors, [])
  await clock.advance(60_000)
  t.deepEqual(
    errors.map(({ code }) => code),
    ['store.unavailable'],
  )
  store.isDown = false
  await clock.advance(2_000)
  t.is((await readLedger({ store: real })).books.bookedThrough('r1', 1, 'b'), 40)
  store.isDown = true
  await tell({ key: 'w', run: 'r1', events: [{ pnode: 'bob', event: 'verified', vnode: 'b', step: 80, work: { ...work, firstStep: 41 } }] })
  await clock.advance(60_000)
  t.is(errors.length, 2, 'and so is the next time')
})

test('what could not be booked is when the store is back, by another activation, too; a booking that cannot be harms no other', async (t) => {
  const real = memoryStore()
  const store = withoutLedger(real)
  const { tell, system, ask, clock, errors } = await control({ store })
  const odd = { ...work, multiplyAdds: 0.5 }
  await tell({
    key: 'v',
    run: 'r1',
    events: [
      { pnode: 'ann', event: 'verified', vnode: 'a', step: 40, work: odd },
      { pnode: 'bob', event: 'verified', vnode: 'b', step: 40, work },
    ],
  })
  await clock.advance(0)
  await system.deactivate(actor.quarantine)
  store.isDown = false
  await ask('standings', { pnodes: [] })
  await clock.advance(5_000)
  const { books } = await readLedger({ store: real })
  t.deepEqual(
    books.balances().map(({ host }) => host),
    ['bob'],
  )
  t.deepEqual(
    errors.map(({ code }) => code),
    ['ledger.invalid'],
  )
})
