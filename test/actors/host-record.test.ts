/** What is kept of a host: convictions, how long it is in quarantine, and that the same counts once. */
import test from 'ava'
import type { Told, TrustEvent } from '../../actors/calls.js'
import {
  afterTold,
  decodeHostRecord,
  encodeHostRecord,
  newRecord,
  QUARANTINE_MS,
  quarantineAt,
  released,
} from '../../actors/trust/host-record.js'
import { HostRecords, hostRecordKey } from '../../actors/trust/host-records.js'
import { isOnProbation } from '../../actors/trust/reputation.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'

const NOW = 1_700_000_000_000
const convicted = (key: string, more: Partial<TrustEvent> = {}): Told => ({
  key,
  run: 'r1',
  events: [{ pnode: 'bob', event: 'convicted', vnode: 'dense-1', step: 40, evidence: `runs/r1/evidence/${key}`, ...more }],
})

test('each conviction keeps a host out twice as long as the one before, for a week at most', (t) => {
  let bob = newRecord('bob')
  for (const minutes of [10, 20, 40, 80]) {
    bob = afterTold(bob, convicted(`k${minutes}`), NOW)
    t.is(quarantineAt(bob, NOW)?.untilMs, NOW + minutes * 60_000)
  }
  for (let i = 0; i < 20; i++) bob = afterTold(bob, convicted(`more-${i}`), NOW)
  t.is(quarantineAt(bob, NOW)!.untilMs - NOW, 1024 * QUARANTINE_MS)
  t.is(bob.convictions.length, 16, 'what is kept has a limit')
  t.is(bob.reputation.convictions, 24)
})

test('told twice is counted once, however much was told since', (t) => {
  const once = afterTold(newRecord('bob'), convicted('k'), NOW)
  t.is(afterTold(once, convicted('k'), NOW + 1), once)
  const verified: Told = { key: 'v', run: 'r1', events: [{ pnode: 'bob', event: 'verified', vnode: 'v', step: 1 }] }
  t.is(afterTold(afterTold(once, verified, NOW), verified, NOW).reputation.verified, 1)
  let later = once
  for (let i = 0; i < 200; i++)
    later = afterTold(later, { key: `v${i}`, run: 'r1', events: [{ pnode: 'bob', event: 'verified', vnode: 'v', step: i }] }, NOW)
  t.is(later.heard.length, 64)
  t.is(afterTold(later, convicted('k'), NOW).reputation.convictions, 1)
})

test('what is told of others changes nothing', (t) => {
  const ann = newRecord('ann')
  t.is(afterTold(ann, convicted('k'), NOW), ann)
})

test('a quarantine is over when its time is, or when somebody ends it; then comes probation', (t) => {
  const bob = afterTold(newRecord('bob'), convicted('k'), NOW)
  t.like(quarantineAt(bob, NOW + QUARANTINE_MS - 1), {
    reason: 'convicted over dense-1 at step 40 of run r1',
    sinceMs: NOW,
    evidence: 'runs/r1/evidence/k',
  })
  t.is(quarantineAt(bob, NOW + QUARANTINE_MS), undefined)
  const free = released(bob)
  t.is(quarantineAt(free, NOW), undefined)
  t.true(isOnProbation(free.reputation))
  t.is(free.convictions.length, 1)
})

test('the format has not changed, and what is no record is refused by name', (t) => {
  const bob = afterTold(newRecord('bob'), convicted('k'), NOW)
  const golden =
    '{"convictions":[{"atMs":1700000000000,"evidence":"runs/r1/evidence/k","key":"k","run":"r1","step":40,"vnode":"dense-1"}],"heard":["k"],"owner":"","pnode":"bob",' +
    '"quarantine":{"evidence":"runs/r1/evidence/k","reason":"convicted over dense-1 at step 40 of run r1","sinceMs":1700000000000,"untilMs":1700000600000},' +
    '"reputation":{"availability":0.5,"broken":10,"convictions":1,"kept":0,"v":1,"verified":0},"v":1}'
  t.is(new TextDecoder().decode(encodeHostRecord(bob)), golden)
  t.deepEqual(decodeHostRecord(new TextEncoder().encode(golden), 'k'), bob)
  const read = (text: string) => () => decodeHostRecord(new TextEncoder().encode(text), 'trust/hosts/bob')
  t.throws(read(golden.replace(/"v":1}$/, '"v":2}')), { code: 'reputation.version' })
  for (const text of ['', 'null', '{}', golden.replace('"pnode":"bob"', '"pnode":7'), golden.replace('"kept":0', '"kept":-1')])
    t.throws(read(text), { code: 'reputation.damaged' })
})

test('two who write the same record lose nothing of each other', async (t) => {
  const store = memoryStore()
  const [one, other] = [new HostRecords({ store }), new HostRecords({ store })]
  await Promise.all([one.get('bob'), other.get('bob')])
  await one.change('bob', (record) => afterTold(record, convicted('a'), NOW))
  await other.change('bob', (record) => afterTold(record, convicted('b'), NOW))
  t.is((await one.refresh('bob')).reputation.convictions, 2)
  t.deepEqual(
    (await new HostRecords({ store }).all()).map(({ pnode }) => pnode),
    ['bob'],
  )
})

test('a damaged record is no way out of probation, and harms nobody else', async (t) => {
  const store = memoryStore()
  const errors: string[] = []
  await store.put(hostRecordKey('bob'), new TextEncoder().encode('{"v":1}'))
  const records = new HostRecords({ store, onDamaged: ({ code }) => errors.push(code) })
  t.deepEqual(await records.get('bob'), newRecord('bob'))
  await records.change('bob', (record) => afterTold(record, convicted('a'), NOW))
  t.is((await new HostRecords({ store }).get('bob')).reputation.convictions, 1)
  t.deepEqual(errors, ['reputation.damaged'])
  await store.put(hostRecordKey('eve'), encodeHostRecord(newRecord('bob')))
  await t.throwsAsync(new HostRecords({ store }).get('eve'), { code: 'reputation.damaged' })
})
