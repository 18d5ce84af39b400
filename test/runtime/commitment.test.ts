import test from 'ava'
import * as fc from 'fast-check'
import {
  auditSecret,
  brokenLinks,
  checkOpening,
  checkSecret,
  commit,
  createSecret,
  inputsRootOf,
  isSelected,
  type Opening,
  rootOf,
  secretHash,
  type SegmentRoots,
  textOf,
} from '../../runtime/commitment.js'
import { batchDigest } from '../../runtime/batch-digest.js'
import { batchEntryOf, edgeEntryOf, type EdgeRoot, extendEdgeRoot, receivedBatchEntryOf, startEdgeRoot } from '../../runtime/edge-root.js'
import { encodeFeedback, encodeFrame, encodeTombstone, type Frame, MARK, readFrame, underTerm } from '../../runtime/frame.js'
import { entryIsKnown, LogRoot } from '../../runtime/log-root.js'

const hex = (byte: number): string => byte.toString(16).padStart(2, '0').repeat(32)
const ROOTS: SegmentRoots = { before: hex(1), after: hex(2), inputs: { source: hex(3) }, output: hex(4) }
const OPENING: Opening = { salt: hex(5), roots: ROOTS }
const CLAIMED = { run: 'r1', generation: 2, segment: { vnode: 'dense', from: 10, to: 20 }, host: 'p1' }
const SECRET_OF = { run: 'r1', generation: 2, from: 10 }

function frame({ header, ...rest }: { header?: Partial<Frame['header']>; batch?: string; values?: number[] } = {}): Uint8Array {
  const whole = { kind: 'output', marks: 0, generation: 1, term: 1, step: 3, position: 4, evaluation: 0, run: 'r', vnode: 'dense' } as const
  const output = { dtype: 'float32' as const, shape: [1, 2], bytes: new Uint8Array(Float32Array.from(rest.values ?? [1, 2]).buffer) }
  const labels = { dtype: 'int32' as const, shape: [1], bytes: new Uint8Array(Int32Array.of(1).buffer) }
  return encodeFrame({ header: { ...whole, ...header }, output, labels, batch: rest.batch ?? 'b' })
}
const digestOf = (bytes: Uint8Array): string => Buffer.from(edgeEntryOf(bytes).digest).toString('hex')
const batchHash = (bytes: Uint8Array): string => Buffer.from(receivedBatchEntryOf(readFrame(bytes)).digest).toString('hex')
/** Of what `frame` carries. */
const CARRIED = batchDigest({ shape: [1, 2], bytes: new Uint8Array(Float32Array.of(1, 2).buffer) }, new Uint8Array(Int32Array.of(1).buffer))
const at = (position: number, values?: number[]) => edgeEntryOf(frame({ header: { position }, values }))
const rootAfter = (...entries: Parameters<typeof extendEdgeRoot>[1][]): EdgeRoot =>
  entries.reduce(extendEdgeRoot, startEdgeRoot({ producer: 'dense', kind: 'output', from: 0 }))
const textRoot = ({ root }: EdgeRoot): string => Buffer.from(root).toString('hex')

// Made with Python's hashlib, hmac and fractions from what the two files say.
test('golden: what is hashed, and its hashes, have not changed', (t) => {
  t.is(textOf('root', { before: 'a', inputs: { b: 'c' }, output: undefined }), 'swarmgrad root 1\n{"before":"a","inputs":{"b":"c"}}')
  t.is(rootOf(ROOTS), '011200bb43a9cdaeca75c7caa38c37c057f24e098c87aa1a545bf94e17308691')
  t.is(inputsRootOf(ROOTS), '05b0def628d33378e6865c7de1c03ef04a2b4a9891599b5b7e75ea486c7572f0')
  t.is(commit(CLAIMED, OPENING).hash, 'd272e42b07bf7f30c307b499a3ccc2e5dec2b67073d6ee087ae2488f9f7ffc6d')
  t.is(auditSecret(hex(6), SECRET_OF), 'a72ac7174f9e6fddca56580ec1b03016f82cbd701dabe40ebffa48bb3359441d')
  t.is(secretHash(hex(7), SECRET_OF), 'd6f3f0d8c193698747eb91c987fd93b7fa6124afa5fe29324208f4347a0afc22')
  t.is(textRoot(rootAfter()), '8dec427e6f33ed28bdcf692fb62d25fe1e0c60232d66ec01b9451e6d89f79b12')
  t.is(textRoot(rootAfter(at(4))), '3872f5d4d12f8d21cdc209e8b4c9308cb6c134869c7bf2d9d285ad13b05b6017')
  t.is(digestOf(frame()), 'bb983bb8fe15d833298bf447dd4dc327123961c1121fd16eb298e0d00f74a84c')
  t.is(
    digestOf(encodeTombstone({ header: { ...TOMBSTONE }, batch: 'b' })),
    'c20c834cd93f2a56ebbec0cf3e85d61307780b4c46c97ca865c0860dce2fc835',
  )
  t.is(
    digestOf(encodeFeedback({ header: { ...TOMBSTONE, kind: 'feedback' }, tensors: {} })),
    '6d7988d2d1863fee1cc3215839f650531659d8882f92afa4b39aab027a8b714c',
  )
  t.is(batchHash(frame({ batch: CARRIED })), '7de540fb134db9acb78532bc30b286550b9a8eef16ec858d5a748787aa84c009')
})

test('golden: batches of large samples are known by the hashes of each, others by one', (t) => {
  const labels = new Uint8Array(Int32Array.of(1, 2).buffer)
  const digest = (shape: number[], elements: number) =>
    batchDigest({ shape, bytes: new Uint8Array(Float32Array.from({ length: elements }, (_, i) => i).buffer) }, labels)
  t.is(digest([2, 256], 512), 'a7b03fc78b5f18f25b61162f2a5c1d9434fb5c825de7ca4aea6e712f19d439c1')
  t.is(digest([2, 255], 510), '357e0abbe5fccd72dcb5b787e74af09134fb5c825de7ca4aea6e712f19d439c1')
  // Nobody has such a shape but a liar: what it costs is what its bytes cost.
  for (const shape of [[], [0], [2 ** 40, 0], [3, 256]]) t.is(digest(shape, 510), digest([2, 255], 510), shape.join())
  const shared = new Uint8Array(new SharedArrayBuffer(2_048))
  t.is(batchDigest({ shape: [2, 256], bytes: shared }, labels), batchDigest({ shape: [2, 256], bytes: new Uint8Array(2_048) }, labels))
})

test('what the source has sent is known by the digest of what it carries, whoever computes that', (t) => {
  const sent = readFrame(frame({ batch: CARRIED }))
  t.deepEqual(receivedBatchEntryOf(sent), batchEntryOf(sent), 'its maker hashes nothing twice')
  t.notDeepEqual(
    receivedBatchEntryOf(readFrame(frame({ batch: CARRIED, values: [1, 3] }))),
    batchEntryOf(sent),
    'a reader believes no digest',
  )
  t.notDeepEqual(receivedBatchEntryOf(readFrame(frame({ batch: 'b' }))), batchEntryOf(sent), 'nor does it forget what was said')
  t.deepEqual(
    batchEntryOf({ ...sent, header: { ...sent.header, marks: MARK.cut } }),
    batchEntryOf(sent),
    'cuts are where the source wants them',
  )
  t.notDeepEqual(batchEntryOf({ ...sent, header: { ...sent.header, step: 4 } }), batchEntryOf(sent))
  const buried = readFrame(encodeTombstone({ header: { ...TOMBSTONE }, batch: CARRIED }))
  t.notDeepEqual(receivedBatchEntryOf(buried), batchEntryOf(sent), 'whatever else a liar sends in its name')
})

test('the log of the source is the same by frames and by batches, and with what a maker has said of a frame', (t) => {
  const options = { producer: 'source', kind: 'output', isOfSource: true } as const
  const [byFrames, byBatches, told] = [new LogRoot(options, 3), new LogRoot(options, 3), new LogRoot(options, 3)]
  const sent = frame({ batch: CARRIED })
  const batch = readFrame(sent)
  byFrames.add(4, sent)
  byBatches.addBatch(batch)
  const again = frame({ batch: CARRIED })
  entryIsKnown(again, batchEntryOf(batch))
  told.add(4, again)
  t.is(byBatches.at(4), byFrames.at(4))
  t.is(told.at(4), byFrames.at(4))
  const lied = frame({ batch: CARRIED })
  entryIsKnown(lied, { position: 4, digest: new Uint8Array(32) })
  const believed = new LogRoot(options, 3)
  believed.add(4, lied)
  t.not(believed.at(4), byFrames.at(4), 'what a maker has said of its own frame is not looked at again')
})

const TOMBSTONE = {
  kind: 'tombstone',
  marks: 0,
  generation: 1,
  term: 1,
  step: 3,
  position: 4,
  evaluation: 0,
  run: 'r',
  vnode: 'dense',
} as const

test('the digest of a frame is that of what is learnt from it, not of who sends it', (t) => {
  const digest = digestOf(frame())
  t.is(digestOf(underTerm(frame(), 9)), digest)
  t.is(digestOf(frame({ header: { generation: 5, run: 'another', marks: MARK.cut | MARK.pause } })), digest)
  const others = [
    frame({ values: [1, 3] }),
    frame({ batch: 'c' }),
    frame({ header: { position: 5 } }),
    frame({ header: { step: 4 } }),
    frame({ header: { evaluation: 1 } }),
    frame({ header: { marks: MARK.drain } }),
    frame({ header: { marks: MARK.decision } }),
    encodeTombstone({ header: TOMBSTONE, batch: 'b' }),
    encodeFeedback({ header: { ...TOMBSTONE, kind: 'feedback' }, tensors: {} }),
  ].map(digestOf)
  t.is(new Set([digest, ...others]).size, others.length + 1)
  t.throws(() => edgeEntryOf(frame().fill(7, 70, 71)), { code: 'frame.damaged' })
})

test('the root of a log says whose it is, what is in it and in which order', (t) => {
  const root = textRoot(rootAfter(at(1), at(2)))
  t.is(textRoot(rootAfter(at(1), at(2))), root)
  const streams = [
    { producer: 'dense', kind: 'feedback', from: 0 },
    { producer: 'other', kind: 'output', from: 0 },
    { producer: 'dense', kind: 'output', from: 7 },
  ] as const
  const roots = [rootAfter(), rootAfter(at(1)), rootAfter(at(2)), rootAfter(at(1), at(3)), rootAfter(at(1, [5, 6]), at(2))]
  t.is(new Set([root, ...roots.map(textRoot), ...streams.map((stream) => textRoot(startEdgeRoot(stream)))]).size, 9)
  const swapped = rootAfter({ ...at(2), position: 1 }, { ...at(1), position: 2 })
  t.not(textRoot(swapped), root)
  t.deepEqual(rootAfter(at(1), at(4)), { ...rootAfter(at(1), at(4)), position: 4, frames: 2 })
})

test('a frame that does not come behind those before it breaks an invariant', (t) => {
  t.throws(() => rootAfter(at(2), at(2)), { code: 'internal', message: /log of dense: position 2 behind 2/ })
  t.throws(() => rootAfter(at(2), at(1)), { code: 'internal' })
})

test('a root is a value: two logs may go on from it', (t) => {
  const first = rootAfter(at(1))
  const [one, other] = [extendEdgeRoot(first, at(2)), extendEdgeRoot(first, at(3))]
  t.not(textRoot(one), textRoot(other))
  t.is(textRoot(one), textRoot(rootAfter(at(1), at(2))))
})

test('a commitment is opened by what was committed to', (t) => {
  const commitment = commit(CLAIMED, OPENING)
  t.notThrows(() => checkOpening(commitment, JSON.parse(JSON.stringify(OPENING))))
  t.deepEqual(JSON.parse(JSON.stringify(commitment)), { v: 1, ...CLAIMED, hash: commitment.hash })
})

test('a commitment is opened by nothing else', (t) => {
  const commitment = commit(CLAIMED, OPENING)
  const { output: _output, ...silent } = ROOTS
  const others: { readonly [what: string]: unknown } = {
    'another salt': { ...OPENING, salt: hex(9) },
    'another state after it': { ...OPENING, roots: { ...ROOTS, after: hex(9) } },
    'another state before it': { ...OPENING, roots: { ...ROOTS, before: hex(9) } },
    'another input': { ...OPENING, roots: { ...ROOTS, inputs: { source: hex(9) } } },
    'an input of another': { ...OPENING, roots: { ...ROOTS, inputs: { other: hex(3) } } },
    'another output': { ...OPENING, roots: { ...ROOTS, output: hex(9) } },
    'no output': { ...OPENING, roots: silent },
    feedback: { ...OPENING, roots: { ...ROOTS, feedback: { dense: hex(9) } } },
    'feedback that is given': { ...OPENING, roots: { ...ROOTS, given: hex(9) } },
  }
  for (const [what, opening] of Object.entries(others))
    t.throws(() => checkOpening(commitment, opening), { code: 'commitment.broken', message: /of p1\)/ }, what)
  const unreadable = [
    undefined,
    null,
    7,
    {},
    { salt: hex(5) },
    { salt: 'aa', roots: ROOTS },
    { salt: hex(5), roots: { ...ROOTS, after: 3 } },
  ]
  for (const opening of [...unreadable, { salt: hex(5), roots: { ...ROOTS, inputs: { source: 'x' } } }])
    t.throws(() => checkOpening(commitment, opening), { code: 'commitment.broken', message: /cannot be read/ })
})

test('a commitment that was copied is of no use', (t) => {
  const { hash } = commit(CLAIMED, OPENING)
  const { segment } = CLAIMED
  const changes = [
    { host: 'p2' },
    { generation: 3 },
    { run: 'r2' },
    { segment: { ...segment, from: 9 } },
    { segment: { ...segment, to: 21 } },
  ]
  for (const change of [...changes, { segment: { ...segment, vnode: 'other' } }])
    t.throws(() => checkOpening({ v: 1, ...CLAIMED, ...change, hash }, OPENING), { code: 'commitment.broken' })
})

test('a commitment of another version is refused by name', (t) => {
  const later = { ...commit(CLAIMED, OPENING), v: 2 as never }
  t.throws(() => checkOpening(later, OPENING), { code: 'commitment.version', message: /expected 1, got 2/ })
})

test('replays can be compared where state and inputs are the same, whatever came out', (t) => {
  const inputs = inputsRootOf(ROOTS)
  t.is(inputsRootOf({ ...ROOTS, after: hex(9), output: hex(9), given: hex(9) }), inputs)
  t.not(inputsRootOf({ ...ROOTS, before: hex(9) }), inputs)
  t.not(inputsRootOf({ ...ROOTS, inputs: { source: hex(9) } }), inputs)
  t.not(inputsRootOf({ ...ROOTS, feedback: { b: hex(9) } }), inputs)
})

test('a segment that does not continue what is known says where', (t) => {
  const known = { before: hex(1), inputs: { source: hex(3) } }
  t.deepEqual(brokenLinks(ROOTS, known), [])
  t.deepEqual(brokenLinks(ROOTS, { before: hex(9), inputs: { source: hex(8), other: hex(7) }, feedback: { late: hex(6) } }), [
    'state',
    'input other',
    'input source',
    'feedback late',
  ])
})

test('a secret follows from the key and the cut, and is the one that was told', (t) => {
  const key = createSecret()
  const secret = auditSecret(key, SECRET_OF)
  t.is(auditSecret(key, SECRET_OF), secret)
  const others = [{ from: 11 }, { generation: 3 }, { run: 'r2' }].map((change) => auditSecret(key, { ...SECRET_OF, ...change }))
  t.is(new Set([secret, ...others, auditSecret(createSecret(), SECRET_OF)]).size, 5)
  const told = secretHash(secret, SECRET_OF)
  t.notThrows(() => checkSecret(secret, SECRET_OF, told))
  t.throws(() => checkSecret(others[0], SECRET_OF, told), { code: 'commitment.broken', message: /behind position 10/ })
  t.throws(() => checkSecret(secret, { ...SECRET_OF, from: 11 }, told), { code: 'commitment.broken' })
})

const hash32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'))

test('a share of 0 selects nothing, 1 everything, and what a share selects every larger one does too', (t) => {
  fc.assert(
    fc.property(
      hash32,
      hash32,
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (secret, hash, p, q) => {
        const [less, more] = p < q ? [p, q] : [q, p]
        t.false(isSelected(secret, { hash }, 0))
        t.true(isSelected(secret, { hash }, 1))
        t.false(isSelected(secret, { hash }, less) && !isSelected(secret, { hash }, more))
      },
    ),
  )
})

test('the draw is compared exactly with the share', (t) => {
  const [secret, hash] = [hex(1), hex(2)]
  let [low, high] = [0, 1]
  // The draw lies between two neighbours of numbers, and the upper one is the first that selects it.
  for (let i = 0; i < 200; i++) {
    const middle = low + (high - low) / 2
    if (middle === low || middle === high) break
    if (isSelected(secret, { hash }, middle)) high = middle
    else low = middle
  }
  t.is(high, 0.44972613035909625)
  t.false(isSelected(secret, { hash }, low))
})

test('a share that is none breaks an invariant, and a hash that is none is looked at', (t) => {
  for (const share of [-1e-9, 1.0000000001, Number.NaN, Infinity])
    t.throws(() => isSelected(hex(1), { hash: hex(2) }, share), { code: 'internal' })
  t.true(isSelected(hex(1), { hash: 'zz' }, 1e-9))
  t.false(isSelected(hex(1), { hash: 'zz' }, 0))
})

test('three in a hundred are three in a hundred', (t) => {
  const secret = auditSecret(hex(8), SECRET_OF)
  let selected = 0
  for (let i = 0; i < 20_000; i++) {
    const { hash } = commit({ ...CLAIMED, host: `p${i}` }, OPENING)
    if (isSelected(secret, { hash }, 0.03)) selected++
  }
  // Four standard deviations: √(20,000 · 0.03 · 0.97) ≈ 24.
  t.true(Math.abs(selected - 600) < 97, `${selected} of 20,000`)
})
