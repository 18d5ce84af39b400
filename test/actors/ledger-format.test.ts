/** The bytes of a ledger: other people verify them, and later versions of this program. */
import { createHash, createPublicKey, verify } from 'node:crypto'
import test from 'ava'
import { HEAD_KEY, micropointsOf, multiplyAddsOf, pageKey } from '../../actors/trust/ledger-entry.js'
import { parsePublicKey, storedLedgerKey } from '../../actors/trust/ledger-key.js'
import type { ControlKey } from '../../runtime/grant.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { followed, forfeit, ledgerKey, openLedger, work } from '../support/ledgers.js'

const ENTRIES = [
  '{"atMs":1700000000000,"firstStep":1,"generation":1,"host":"ann","kind":"verified","lastStep":10,"micropoints":2500000,"multiplyAdds":2500000000000,' +
    '"number":1,"owner":"Ann","previous":"0000000000000000000000000000000000000000000000000000000000000000","run":"r1","v":1,"vnode":"dense-1"}',
  '{"atMs":1700000000000,"evidence":"runs/r1/audits/1","host":"ann","kind":"forfeit","micropoints":2500000,' +
    '"number":2,"owner":"Ann","previous":"057f4e7d86265eadda1f167dba747e1ddd9ee03d09f5489e4b4705be977a6835","reason":"another hash","v":1}',
]
const SIGNATURES = [
  '8hYkRzx1M8igfmvEjsBmnVIUPgaQhZEGZP7y1bq5+ia8KRNfhDskrXBhFUBGEFtmn5dNrLx6PUio/+hCFGXNBQ==',
  'jihfjgHDWDHbZxMIjrI/Rej+q0Cg9w0tt26MDx5tGD1vx6Ue4L+PUBpPFA63gKTCjSO222LEZUrdyE4U5I5+AQ==',
]
const LINES = ENTRIES.map((entry, index) => `{"entry":${entry},"key":"324be2dea8bc4446","signature":"${SIGNATURES[index]}"}`)
const PUBLIC_KEY = 'MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw='
const HEAD = `{"count":2,"hash":"66a2756092d3af37a4f9dc1dfa2727d82629400e309d8775b0460949855cf0ca","publicKey":"${PUBLIC_KEY}","v":1}`
const HEAD_SIGNATURE = '/WnCiDb9M1UHOCoCJoJPsMwcQMc9UkH/gEXBJ/yL27AyGT1ys/X/0OPyTnuxHOVqqTOG+3UE/jR32wHNGYNDCQ=='

const CHANGE =
  '{"entry":{"atMs":1700000000000,"kind":"key","number":1,"previous":"0000000000000000000000000000000000000000000000000000000000000000","succes' +
  'sions":[{"message":{"body":{"key":"gTl3Dqh9F19Wo1Rmw0x-zMuNipG07jeiXfYPW4_Js5Q","untilMs":0},"from":"control","incarnation":"iojj3XQJ8ZX9Uts' +
  'tPLpdcspnCb8dlBIb83SIAbQPb1w","issuedAtMs":1700000000000,"purpose":"succession","seq":1,"to":"everybody","v":1},"signature":"yFgy5cKjCuMt3dB' +
  'Pzja85f1ZbsWiTwjelJHATNANvnFdDGMdGRH2D7IZGNbT9ZVQTZmosXkFmwlW61WzDq0qCw=="}],"v":1},"key":"47dea58ea00fae94","signature":"iLXpmZJmvaHaoaUQGr' +
  'mMVUzTEgEsJ0PPr+skKBRh7lXTysBUUHF56H6NxNRsUW+dP8nqSEbdrTJDjClHA/YwDw=="}'
const CHANGED_HEAD =
  '{"head":{"count":1,"firstKey":"MCowBQYDK2VwAyEAiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=","hash":"d221f449f4448939add97862e17654c64489a0f' +
  '2261911b8cee2754091d1a7ce","publicKey":"MCowBQYDK2VwAyEAgTl3Dqh9F19Wo1Rmw0x+zMuNipG07jeiXfYPW4/Js5Q=","v":1},"signature":"HVBnZA8JCQDLdrYuif' +
  '1R2XL/GVe1zhOpddXE5Bxzk6X8w+qVOsss3l7/vXVPDJ5O0FBBWX0Sdn78qzl7Pq7EDw=="}'

test('the formats have not changed', async (t) => {
  const store = memoryStore()
  await openLedger({ store }).append([work(), forfeit()])
  const text = async (key: string) => new TextDecoder().decode((await store.get(key)).bytes)
  t.is(await text('ledger/pages/00000001'), `${LINES.join('\n')}\n`)
  t.is(await text('ledger/head'), `{"head":${HEAD},"signature":"${HEAD_SIGNATURE}"}\n`)
  t.deepEqual([HEAD_KEY, pageKey(1), pageKey(12_345_678)], ['ledger/head', 'ledger/pages/00000001', 'ledger/pages/12345678'])
})

test('nor has that of a change of the key', async (t) => {
  const store = memoryStore()
  await openLedger({ store, key: ledgerKey(1) }).append([])
  await openLedger({ store, key: followed(ledgerKey(1), ledgerKey(2)) }).append([])
  const [line, head] = await Promise.all([pageKey(1), HEAD_KEY].map(async (key) => new TextDecoder().decode((await store.get(key)).bytes)))
  t.is(line, `${CHANGE}\n`)
  t.is(head, `${CHANGED_HEAD}\n`)
})

test('whoever has the public key needs nothing of ours to verify an entry', (t) => {
  const publicKey = createPublicKey({ key: Buffer.from(PUBLIC_KEY, 'base64'), format: 'der', type: 'spki' })
  for (const [index, entry] of ENTRIES.entries())
    t.true(verify(null, Buffer.from(`swarmgrad ledger entry\n${entry}`), publicKey, Buffer.from(SIGNATURES[index], 'base64')))
  t.true(verify(null, Buffer.from(`swarmgrad ledger head\n${HEAD}`), publicKey, Buffer.from(HEAD_SIGNATURE, 'base64')))
  const [first, second] = LINES.map((line) => createHash('sha256').update(line).digest('hex'))
  t.is(JSON.parse(ENTRIES[1]).previous, first)
  t.is(JSON.parse(HEAD).hash, second)
})

test('a point is 10^12 multiply-adds; what lies below a millionth of one is dropped, exactly', (t) => {
  t.is(multiplyAddsOf({ cost: 1000, samples: 128 }), 384_000)
  t.is(micropointsOf(1e12), 1_000_000)
  t.deepEqual([0, 999_999, 1_000_000, 1_999_999].map(micropointsOf), [0, 0, 1, 1])
  // Here the quotient as a double is the next integer already.
  t.is(micropointsOf(9_007_199_253_999_999), 9_007_199_253)
})

test('the key of a store is made once, by whoever is first, and is there for the next process', async (t) => {
  const store = memoryStore()
  const keys: ControlKey[] = await Promise.all([storedLedgerKey(store), storedLedgerKey(store)])
  const pem = () => keys.map(({ publicKey }) => publicKey.export({ type: 'spki', format: 'pem' }))
  t.is(pem()[0], pem()[1])
  keys.push(await storedLedgerKey(store))
  t.is(pem()[0], pem()[2])
  await openLedger({ store, key: keys[0] }).append([work()])
  await openLedger({ store, key: keys[2] }).append([work({ cut: 2 })])
  await t.throwsAsync(openLedger({ store, key: ledgerKey() }).append([work({ cut: 3 })]), {
    code: 'ledger.key',
    message: /signed by another key/,
  })
})

test('a key that cannot be read is told from none, and no other is made in its place', async (t) => {
  const store = memoryStore()
  for (const [text, says] of [
    ['{', /unreadable key of the ledger/],
    ['{"v":1,"controlKey":"-----BEGIN"}', /unreadable key of the ledger/],
    ['{"v":2}', /another version.*expected 1, got 2/],
  ] as const) {
    await store.put('control/ledger-key', new TextEncoder().encode(text))
    await t.throwsAsync(storedLedgerKey(store), { code: 'ledger.key', message: says })
    t.is(new TextDecoder().decode((await store.get('control/ledger-key')).bytes), text)
  }
  t.throws(() => parsePublicKey('nonsense', 'a.pem'), { code: 'usage', message: /a\.pem.*expected Ed25519, PEM/ })
})
