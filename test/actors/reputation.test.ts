import test from 'ava'
import * as fc from 'fast-check'
import {
  afterEvent,
  auditShare,
  decodeReputation,
  DEFAULT_REPUTATION_RULES as RULES,
  encodeReputation,
  integrityOf,
  isOnProbation,
  NEW_REPUTATION,
  placementWeight,
  type Reputation,
  type ReputationEvent,
} from '../../actors/trust/reputation.js'

const times = (count: number, event: ReputationEvent): ReputationEvent[] => Array.from({ length: count }, () => event)
const after = (...events: ReputationEvent[]): Reputation => from(NEW_REPUTATION, ...events)
const from = (reputation: Reputation, ...events: ReputationEvent[]): Reputation =>
  events.reduce((one, event) => afterEvent(one, event), reputation)
const STRANGER = { isTrusted: false }
const events = fc.array(fc.constantFrom<ReputationEvent>('verified', 'convicted', 'delivered', 'missed'), { maxLength: 200 })

test('a host that nothing is known of is as likely honest as not, and all of its segments are looked at', (t) => {
  t.is(integrityOf(NEW_REPUTATION), 0.5)
  t.is(auditShare(NEW_REPUTATION, STRANGER), 1)
})

test('after twenty verified segments a host is audited by chance', (t) => {
  const nearly = after(...times(19, 'verified'))
  t.is(auditShare(nearly, STRANGER), 1)
  t.is(auditShare(from(nearly, 'verified'), STRANGER), 0.03)
  t.false(isOnProbation(from(nearly, 'verified')))
})

test('a conviction sets back: integrity falls, and probation begins anew, twice as long each time', (t) => {
  let host = after(...times(500, 'verified'))
  t.true(integrityOf(host) > 0.98)
  for (const needed of [40, 80, 160, 320, 640, 1_280, 1_280]) {
    host = from(host, 'convicted')
    t.true(integrityOf(host) < 0.1)
    host = from(host, ...times(needed - 1, 'verified'))
    t.true(isOnProbation(host), `${needed}`)
    host = from(host, 'verified')
    t.false(isOnProbation(host), `${needed}`)
  }
})

test('a restart or a loss costs a good host no integrity, and no probation', (t) => {
  const good = after(...times(60, 'verified'), ...times(20, 'delivered'))
  const lost = from(good, ...times(30, 'missed'))
  t.is(integrityOf(lost), integrityOf(good))
  t.is(auditShare(lost, STRANGER), 0.03)
  t.true(lost.availability < 0.05 && good.availability > 0.9)
  t.true(placementWeight(lost) < placementWeight(good))
})

test('availability is made good by being there, never by honesty, and the other way round', (t) => {
  const { kept, broken, verified, convictions, availability } = after('verified', 'missed', 'convicted', 'verified')
  const there = from({ ...NEW_REPUTATION, kept, broken, verified, convictions, availability }, ...times(40, 'delivered'))
  t.true(there.availability > 0.95)
  t.deepEqual({ ...there, availability }, { v: 1, kept, broken, verified, convictions, availability })
  t.is(from(there, 'verified', 'convicted').availability, there.availability)
})

test('older evidence fades by events: nobody saves up honesty, and nobody is damned for ever', (t) => {
  const long = after(...times(5_000, 'verified'))
  t.true(long.kept < 100.001)
  t.true(integrityOf(from(long, 'convicted')) < 0.1)
  t.true(integrityOf(from(long, 'convicted', ...times(400, 'verified'))) > 0.97)
})

test('a trusted host is audited less, never not at all, and like any other after a conviction', (t) => {
  const trusted = { isTrusted: true }
  t.is(auditShare(NEW_REPUTATION, trusted), 0.01)
  const convicted = after('convicted')
  t.is(auditShare(convicted, trusted), 1)
  t.is(auditShare(from(convicted, ...times(40, 'verified')), trusted), 0.01)
})

test('the source is audited whole on a host that is not trusted', (t) => {
  const good = after(...times(50, 'verified'))
  t.is(auditShare(good, { isTrusted: false, isSource: true }), 1)
  t.is(auditShare(good, { isTrusted: true, isSource: true }), 0.01)
})

test('whatever happens, the shares and weights stay in range, and the same events give the same record', (t) => {
  fc.assert(
    fc.property(events, fc.boolean(), fc.boolean(), (all, isTrusted, isSource) => {
      const host = after(...all)
      const share = auditShare(host, { isTrusted, isSource })
      t.true(share > 0 && share <= 1)
      t.true(integrityOf(host) > 0 && integrityOf(host) < 1)
      t.true(host.availability >= 0 && host.availability <= 1)
      t.true(placementWeight(host) >= 0 && placementWeight(host) <= 1)
      t.deepEqual(decodeReputation(encodeReputation(host)), host)
      t.true(integrityOf(from(host, 'verified')) > integrityOf(host))
      t.true(integrityOf(from(host, 'convicted')) < integrityOf(host) || integrityOf(host) < 0.1)
    }),
  )
})

test('who is honest is worth more than who is there', (t) => {
  const liar = after(...times(30, 'delivered'), 'convicted')
  const dozer = after(...times(20, 'verified'), ...times(5, 'missed'), ...times(5, 'delivered'))
  t.true(placementWeight(dozer) > placementWeight(liar))
})

test('rules under which somebody would never be audited break an invariant', (t) => {
  const wrong = [
    { auditShare: 0 },
    { trustedAuditShare: 0 },
    { trustedAuditShare: 0.04 },
    { auditShare: 1.1 },
    { decay: 1 },
    { availabilityGain: 0 },
    { convictionWeight: 0 },
    { probationSegments: 0 },
    { auditShare: Number.NaN },
  ]
  for (const change of wrong)
    t.throws(() => auditShare(NEW_REPUTATION, STRANGER, { ...RULES, ...change }), { code: 'internal' }, JSON.stringify(change))
  t.is(auditShare(after(...times(3, 'verified')), STRANGER, { ...RULES, probationSegments: 3, auditShare: 0.1 }), 0.1)
})

test('golden: the stored record has not changed', (t) => {
  const text = '{"availability":0.55,"broken":9.9,"convictions":1,"kept":1,"v":1,"verified":1}'
  t.is(encodeReputation(after('convicted', 'delivered', 'verified')), text)
  t.deepEqual(decodeReputation(text), after('convicted', 'delivered', 'verified'))
})

test('a record of another version, or with numbers that cannot be, is refused', (t) => {
  const text = encodeReputation(NEW_REPUTATION)
  t.throws(() => decodeReputation(text.replace('"v":1', '"v":2')), { code: 'reputation.version', message: /expected 1, got 2/ })
  t.throws(() => decodeReputation('null'), { code: 'reputation.version' })
  t.throws(() => decodeReputation(text.slice(1)), { code: 'reputation.damaged' })
  for (const [was, is] of [
    ['"kept":0', '"kept":-1'],
    ['"kept":0', '"kept":null'],
    ['"availability":0.5', '"availability":1.5'],
    ['"verified":0', '"verified":0.5'],
    ['"convictions":0', '"convictions":-1'],
    ['"broken":0,', ''],
  ])
    t.throws(() => decodeReputation(text.replace(was, is)), { code: 'reputation.damaged' }, is)
})
