import { createPrivateKey, createPublicKey } from 'node:crypto'
import test from 'ava'
import * as fc from 'fast-check'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { type Grant, createControlKey, grantBytes, signGrant, verifyGrant } from '../../runtime/grant.js'

const EXAMPLE: Grant = {
  v: 1,
  run: 'r1',
  generation: 2,
  vnode: 'dense',
  term: 7,
  pnode: 'p1',
  checkpoint: { generation: 1, step: 10, position: 12, blob: 'ab' },
  inputs: [{ vnode: 'source', pnode: 'control', term: 1 }],
  outputs: [],
}

/** The key of the first test vector of RFC 8032. */
const SEED = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60'
const privateKey = createPrivateKey({ key: Buffer.from(`302e020100300506032b657004220420${SEED}`, 'hex'), format: 'der', type: 'pkcs8' })
const KEY = { privateKey, publicKey: createPublicKey(privateKey) }

test('the signed bytes and the signature have not changed', (t) => {
  t.is(
    Buffer.from(grantBytes(EXAMPLE)).toString(),
    '{"checkpoint":{"blob":"ab","generation":1,"position":12,"step":10},"generation":2,"inputs":[{"pnode":"control","term":1,"vnode":"source"}],' +
      '"outputs":[],"pnode":"p1","run":"r1","term":7,"v":1,"vnode":"dense"}',
  )
  t.is(signGrant(EXAMPLE, KEY).signature, '/PnclRh8mpQaWFoASU+3U+9aeP9xr/3iPOLSEIP5yJlwE8EGaBdzktZ4aofQh8hqdYmpu+pTJgmBmqep8fMMDg==')
})

test('the skips of a grant are signed with it', (t) => {
  const skipping: Grant = { ...EXAMPLE, skips: [13, 17] }
  t.true(Buffer.from(grantBytes(skipping)).toString().endsWith('"run":"r1","skips":[13,17],"term":7,"v":1,"vnode":"dense"}'))
  t.deepEqual(verifyGrant(signGrant(skipping, KEY), KEY.publicKey), skipping)
  t.throws(() => verifyGrant({ ...signGrant(skipping, KEY), grant: EXAMPLE }, KEY.publicKey), { code: 'grant.refused' })
})

test('a grant passes if the control key signed it, whatever JSON did to the order of its members', (t) => {
  const signed = signGrant(EXAMPLE, KEY)
  t.deepEqual(verifyGrant(signed, KEY.publicKey), EXAMPLE)
  const reversed = Object.fromEntries(Object.entries(EXAMPLE).toReversed()) as unknown as Grant
  t.deepEqual(verifyGrant(JSON.parse(JSON.stringify({ ...signed, grant: reversed })), KEY.publicKey), EXAMPLE)
  const { checkpoint: _, ...first } = EXAMPLE
  t.deepEqual(verifyGrant(JSON.parse(JSON.stringify(signGrant({ ...first, checkpoint: undefined }, KEY))), KEY.publicKey), first)
})

test('a grant of which anything was changed is refused', (t) => {
  const { signature } = signGrant(EXAMPLE, KEY)
  const changes: object[] = [
    { run: 'r2' },
    { generation: 3 },
    { vnode: 'dense2' },
    { term: 8 },
    { term: '7' },
    { pnode: 'p2' },
    { checkpoint: undefined },
    { checkpoint: { ...EXAMPLE.checkpoint, blob: 'ac' } },
    { checkpoint: { ...EXAMPLE.checkpoint, position: 13 } },
    { skips: [13] },
    { inputs: [] },
    { inputs: [{ ...EXAMPLE.inputs[0], pnode: 'p9' }] },
    { inputs: EXAMPLE.outputs, outputs: EXAMPLE.inputs },
    { more: 1 },
  ]
  for (const change of changes)
    t.throws(
      () => verifyGrant({ grant: { ...EXAMPLE, ...change }, signature }, KEY.publicKey),
      { code: 'grant.refused' },
      JSON.stringify(change),
    )
})

test('the signature of another key, of another grant, or of nothing is refused', (t) => {
  const signed = signGrant(EXAMPLE, KEY)
  t.throws(() => verifyGrant(signed, createControlKey().publicKey), { code: 'grant.refused' })
  const { length } = signed.signature
  for (const signature of [
    '',
    'AAAA',
    signGrant({ ...EXAMPLE, term: 8 }, KEY).signature,
    ...[1, 40, length - 4].map((at) => signed.signature.slice(0, at)),
  ])
    t.throws(() => verifyGrant({ grant: EXAMPLE, signature }, KEY.publicKey), { code: 'grant.refused' })
})

test('every flipped bit of a signature is noticed', (t) => {
  const bytes = Buffer.from(signGrant(EXAMPLE, KEY).signature, 'base64')
  t.is(bytes.length, 64)
  for (let at = 0; at < 64; at++) {
    const flipped = Buffer.from(bytes)
    flipped[at] ^= 1
    t.throws(() => verifyGrant({ grant: EXAMPLE, signature: flipped.toString('base64') }, KEY.publicKey), { code: 'grant.refused' })
  }
})

test('another version is refused by name, well signed or not', (t) => {
  for (const v of [0, 2, '1', undefined]) {
    const grant = { ...EXAMPLE, v } as unknown as Grant
    t.throws(() => verifyGrant(signGrant(grant, KEY), KEY.publicKey), { code: 'grant.version', message: /dense/ })
  }
})

test('canonical JSON is JSON, and does not depend on the order of members', (t) => {
  const shuffled = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(shuffled)
    if (value === null || typeof value !== 'object') return value
    return Object.fromEntries(
      Object.entries(value)
        .toReversed()
        .map(([key, member]) => [key, shuffled(member)]),
    )
  }
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
      t.deepEqual(JSON.parse(canonicalJson(value)), JSON.parse(JSON.stringify(value)))
      t.is(canonicalJson(shuffled(value)), canonicalJson(value))
    }),
    { seed: 3, numRuns: 300 },
  )
  t.is(canonicalJson({ b: undefined, a: [undefined, { d: 1, c: 'x"' }] }), '{"a":[null,{"c":"x\\"","d":1}]}')
})
