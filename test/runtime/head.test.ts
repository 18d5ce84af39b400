import test from 'ava'
import {
  type Head,
  KEPT_MANIFESTS,
  type Manifest,
  type ManifestRef,
  advanced,
  claimed,
  decodeHead,
  decodeManifest,
  encodeRecord,
  excluding,
  firstHead,
  keys,
  placed,
  rolledBack,
  skipped,
  skipsOf,
  waiting,
} from '../../runtime/head.js'

const ref = (step: number, generation = 1): ManifestRef => ({
  key: keys.manifest('r1', generation, step),
  generation,
  step,
  position: step + 2,
})
const MANIFEST: Manifest = {
  v: 2,
  run: 'r1',
  generation: 2,
  step: 10,
  position: 12,
  computeClass: 'wasm',
  vnodes: [{ vnode: 'dense', hash: 'ab', sizeBytes: 64 }],
}
const HEAD = advanced(placed(claimed(firstHead('r1')), [{ vnode: 'dense', pnode: 'p1' }]), ref(10))
const text = (value: string): Uint8Array => new TextEncoder().encode(value)

test('the formats have not changed', (t) => {
  t.is(
    new TextDecoder().decode(encodeRecord(HEAD)),
    '{"counters":{"moves":0,"stepsReplayed":0},"crc32":"7a5a8f11","directory":{"dense":{"pnode":"p1","term":1}},"generation":1,' +
      '"manifests":[{"generation":1,"key":"runs/r1/checkpoints/1-10","position":12,"step":10}],' +
      '"run":"r1","status":"running","termCounter":1,"v":1,"writer":1}\n',
  )
  t.is(
    new TextDecoder().decode(encodeRecord(MANIFEST)),
    '{"computeClass":"wasm","crc32":"650f145c","generation":2,"position":12,"run":"r1","step":10,"v":2,"vnodes":[{"hash":"ab","sizeBytes":64,"vnode":"dense"}]}\n',
  )
  t.deepEqual(
    [keys.head('r1'), keys.definition('r1'), keys.blob('r1', 3, 'ab')],
    ['runs/r1/head', 'runs/r1/definition', 'runs/r1/blobs/3/ab'],
  )
})

const SKIP = { vnode: 'dense', position: 14, step: 12, evaluation: 0 }

test('the format of skips has not changed, and a head without them is as it was', (t) => {
  t.is(
    new TextDecoder().decode(encodeRecord(skipped(firstHead('r1'), SKIP))),
    '{"counters":{"moves":0,"stepsReplayed":0},"crc32":"614dd89a","directory":{},"generation":2,"manifests":[],"run":"r1",' +
      '"skips":[{"evaluation":0,"position":14,"step":12,"vnode":"dense"}],"status":"running","termCounter":0,"v":1,"writer":0}\n',
  )
  t.false('skips' in decodeHead(encodeRecord(HEAD), 'k'))
  t.deepEqual(decodeHead(encodeRecord(skipped(HEAD, SKIP)), 'k').skips, [SKIP])
})

test('a skip raises the generation, keeps every manifest, and outlives rollbacks', (t) => {
  const head = skipped(HEAD, SKIP)
  t.like(head, { generation: HEAD.generation + 1, manifests: HEAD.manifests, directory: {}, skips: [SKIP] })
  t.deepEqual(rolledBack(head, () => false).skips, [SKIP])
})

test('skips of a VNode are given in order, from a position on', (t) => {
  const head = [SKIP, { ...SKIP, position: 13 }, { ...SKIP, vnode: 'other' }].reduce(skipped, HEAD)
  t.deepEqual(
    [skipsOf(head, 'dense'), skipsOf(head, 'dense', 13), skipsOf(head, 'other'), skipsOf(HEAD, 'dense')],
    [[13, 14], [14], [14], []],
  )
})

test('nothing is skipped twice, or within a checkpoint', (t) => {
  t.throws(() => skipped(skipped(HEAD, SKIP), SKIP), { code: 'internal', message: /dense skips 14/ })
  t.throws(() => skipped(HEAD, { ...SKIP, position: 12 }), { code: 'internal', message: /manifest at 12/ })
})

test('what was encoded is decoded', (t) => {
  t.deepEqual(decodeHead(encodeRecord(HEAD), 'k'), HEAD)
  t.deepEqual(decodeManifest(encodeRecord(MANIFEST), 'k'), MANIFEST)
})

test('a record that is cut short is refused, at every length, with its key', (t) => {
  const bytes = encodeRecord(HEAD)
  // Without its last byte, a line feed, it is whole.
  t.deepEqual(decodeHead(bytes.subarray(0, -1), 'k'), HEAD)
  for (let length = 0; length < bytes.byteLength - 1; length++)
    t.throws(() => decodeHead(bytes.subarray(0, length), 'runs/r1/head'), { code: 'store.damaged', message: /runs\/r1\/head/ })
})

test('every flipped bit is noticed', (t) => {
  const bytes = encodeRecord(HEAD)
  // But in the line feed at its end, which may be white space of another kind.
  for (let at = 0; at < bytes.byteLength - 1; at++) {
    for (let bit = 1; bit < 256; bit *= 2) {
      const flipped = Uint8Array.from(bytes)
      flipped[at] ^= bit
      t.throws(() => decodeHead(flipped, 'k'), { code: 'store.damaged' }, `byte ${at}, ${bit}`)
    }
  }
})

test('another version is refused by name, and bytes that are no record never crash the reader', (t) => {
  for (const v of [0, 3, '1', undefined]) {
    t.throws(() => decodeHead(encodeRecord({ ...HEAD, v } as unknown as Head), 'k'), { code: 'head.version' })
    t.throws(() => decodeManifest(encodeRecord({ ...MANIFEST, v } as unknown as Manifest), 'k'), { code: 'manifest.version' })
  }
  for (const value of ['null', '7', '[]', '"x"', '\xff', '{']) {
    t.throws(() => decodeHead(text(value), 'k'), { code: 'store.damaged' })
  }
})

test('terms are drawn from one counter that only grows, through rollbacks too', (t) => {
  const moves = [
    { vnode: 'b', pnode: 'p2' },
    { vnode: 'a', pnode: 'p1' },
  ]
  const first = placed(firstHead('r1'), moves)
  t.deepEqual(first.directory, { b: { pnode: 'p2', term: 1 }, a: { pnode: 'p1', term: 2 } })
  const again = placed(rolledBack(placed(first, [moves[0]])), moves)
  t.deepEqual([again.directory.b.term, again.directory.a.term, again.termCounter, again.generation], [4, 5, 5, 2])
  t.deepEqual(firstHead('r1').directory, {})
  t.is(first.directory.b.term, 1)
})

test('a claim raises the writer and changes nothing else', (t) => {
  t.deepEqual(claimed(HEAD), { ...HEAD, writer: HEAD.writer + 1 })
})

test('the newest manifests are kept, newest first', (t) => {
  const head = [1, 2, 3, 4, 5].reduce((head, step) => advanced(head, ref(step)), firstHead('r1'))
  t.deepEqual(
    head.manifests.map(({ step }) => step),
    [5, 4, 3],
  )
  t.is(head.manifests.length, KEPT_MANIFESTS)
})

test('a manifest never goes back, and never comes from another generation', (t) => {
  for (const wrong of [ref(10), ref(9), ref(11, 2), ref(11, 0)]) t.throws(() => advanced(HEAD, wrong), { code: 'internal', message: /r1/ })
  const back = rolledBack(HEAD)
  t.throws(() => advanced(back, ref(11, 1)), { code: 'internal' })
  t.deepEqual(
    advanced(back, ref(11, 2)).manifests.map(({ generation }) => generation),
    [2, 1],
  )
})

test('a rollback goes to the newest usable manifest, or to the seed, and nobody owns anything then', (t) => {
  const head = { ...advanced(HEAD, ref(20)), status: 'failed' as const }
  const back = rolledBack(head, ({ step }) => step !== 20)
  t.deepEqual([back.manifests.map(({ step }) => step), back.generation, back.status, back.directory], [[10], 2, 'running', {}])
  t.deepEqual(rolledBack(head, () => false).manifests, [])
})

test('whatever makes a run go back, nothing goes on from what somebody who was convicted has left and nobody has verified', (t) => {
  const manifests = [30, 20, 10].map((step) => ref(step))
  const head: Head = { ...firstHead('r'), manifests, unverified: { a: 10, b: 0 } }
  const stepOf = ({ manifests: left }: Head) => left[0]?.step ?? 0
  t.is(stepOf(rolledBack(head)), 30, 'nobody is')
  const without = excluding(head, ['a'])
  t.is(stepOf(rolledBack(without)), 10)
  t.is(stepOf(waiting(without)), 10)
  t.is(stepOf(rolledBack(without, ({ step }) => step !== 10)), 0)
  t.deepEqual(rolledBack(without).unverified, { b: 0 }, 'and once only')
})
