import test from 'ava'
import * as fc from 'fast-check'
import {
  assertSaid,
  assertVouches,
  decodeTrust,
  encodeTrust,
  signTrust,
  trustBytes,
  type TrustDescriptor,
} from '../../actors/trust/descriptor.js'
import { publicKeyOf, seededIdentity } from '../support/identities.js'

const CONTROL = seededIdentity('control')
const EXAMPLE: TrustDescriptor = { v: 1, number: 3, host: 'lab-1', identity: publicKeyOf('lab-1'), fromMs: 1_000, untilMs: 2_000 }
const SIGNED = signTrust(EXAMPLE, CONTROL)
const keys = { find: (name: string) => (name === publicKeyOf('control') ? CONTROL.publicKey : undefined) }
const LAB = { host: 'lab-1', keys, newest: 3 }
const NOW = { identity: EXAMPLE.identity, nowMs: 1_500 }

const IDENTITY = 'CjV1IWGSpJn6vJzw_5leY9YjyDBj3L8fZye20ZifLwY'
const KEY = '-9mIHAgIS5xuXcWO2Jei81sr5o0Hu1UatpBGVhbEZjw'
const SIGNATURE = 'Gw/CB4vfHw0oCkhnYuzKnYYAVG62sIcshJAbnSXjWS+DlOp5elBTlVy7SOgrwksdRIOthREeV3jOjjhnC+a5Aw=='

// The signature was made with Python's cryptography.
test('golden: the bytes that are signed, the signature and what is stored have not changed', (t) => {
  t.is(
    Buffer.from(trustBytes(EXAMPLE)).toString(),
    `swarmgrad trust 1\n{"fromMs":1000,"host":"lab-1","identity":"${IDENTITY}","number":3,"untilMs":2000,"v":1}`,
  )
  t.is(SIGNED.signature, SIGNATURE)
  t.is(
    Buffer.from(encodeTrust(SIGNED)).toString(),
    `{"descriptor":{"fromMs":1000,"host":"lab-1","identity":"${IDENTITY}","number":3,"untilMs":2000,"v":1},"key":"${KEY}","signature":"${SIGNATURE}"}`,
  )
})
test('what control has signed is believed, from its beginning to just before its end', (t) => {
  const stored = decodeTrust(encodeTrust(SIGNED), 'control/trust/lab-1')
  t.deepEqual(stored, SIGNED)
  t.deepEqual(assertSaid(stored, LAB), EXAMPLE)
  for (const nowMs of [1_000, 1_999]) t.notThrows(() => assertVouches(EXAMPLE, { ...NOW, nowMs }))
  for (const nowMs of [999, 2_000, 1e15]) t.throws(() => assertVouches(EXAMPLE, { ...NOW, nowMs }), { code: 'trust.expired' })
})

test('of which anything was changed is refused', (t) => {
  const changes: Partial<TrustDescriptor>[] = [
    { number: 4 },
    { host: 'lab-2' },
    { identity: publicKeyOf('evil') },
    { fromMs: 0 },
    { untilMs: 1e15 },
  ]
  const host = (change: Partial<TrustDescriptor>) => ({ ...LAB, host: change.host ?? LAB.host })
  for (const change of changes) {
    const altered = { ...SIGNED, descriptor: { ...EXAMPLE, ...change } }
    t.throws(
      () => assertSaid(altered, host(change)),
      { code: 'trust.signature', message: /control has not signed/ },
      JSON.stringify(change),
    )
  }
  const evil = signTrust(EXAMPLE, seededIdentity('evil'))
  t.throws(() => assertSaid(evil, LAB), { code: 'trust.signature', message: /not any more, control’s.*swarmgrad trust grant/ })
  t.throws(() => assertSaid({ ...evil, key: SIGNED.key }, LAB), { code: 'trust.signature', message: /has not signed/ })
  fc.assert(
    fc.property(fc.nat(63), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bytes = Buffer.from(SIGNED.signature, 'base64')
      bytes[at] ^= flip
      t.throws(() => assertSaid({ ...SIGNED, signature: bytes.toString('base64') }, LAB), { code: 'trust.signature' })
    }),
    { numRuns: 50 },
  )
})

test('another host’s, another machine’s, an older one and one that was taken back say nothing', (t) => {
  t.throws(() => assertSaid(SIGNED, { ...LAB, host: 'lab-2' }), { code: 'trust.host', message: /expected lab-2, got lab-1/ })
  t.throws(() => assertSaid(SIGNED, { ...LAB, newest: 4 }), { code: 'trust.replaced', message: /expected number 4, got 3/ })
  t.throws(() => assertVouches(EXAMPLE, { ...NOW, identity: publicKeyOf('evil') }), { code: 'trust.host', message: /got SHA256:/ })
  t.throws(() => assertVouches(EXAMPLE, { ...NOW, identity: undefined }), { code: 'trust.host', message: /nobody of this name/ })
  t.throws(() => assertVouches({ ...EXAMPLE, untilMs: EXAMPLE.fromMs }, NOW), { code: 'trust.revoked' })
})

test('what is damaged is told from what a newer version wrote', (t) => {
  const bytesOf = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))
  const decode = (value: unknown) => decodeTrust(bytesOf(value), 'control/trust/lab-1')
  t.throws(() => decode({ ...SIGNED, descriptor: { ...EXAMPLE, v: 2, more: true } }), {
    code: 'trust.version',
    message: /control\/trust\/lab-1.*expected 1, got 2/,
  })
  const { signature: _, ...unsigned } = SIGNED
  const wrong: unknown[] = [
    '',
    '{',
    'null',
    [],
    {},
    unsigned,
    { ...SIGNED, more: 1 },
    { ...SIGNED, key: 'x' },
    { ...SIGNED, signature: 'ü' },
  ]
  for (const [name, value] of Object.entries({ number: 0, host: '', identity: 'x', fromMs: -1, untilMs: 1.5, more: 1 }))
    wrong.push({ ...SIGNED, descriptor: { ...EXAMPLE, [name]: value } })
  for (const value of wrong) t.throws(() => decode(value), { code: 'trust.damaged' }, JSON.stringify(value))
})
