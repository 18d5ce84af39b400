import { createHash, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import { Packr } from 'msgpackr'
import { isSwarmError } from '../../runtime/errors.js'
import {
  type Feedback,
  type Frame,
  MARK,
  TOMBSTONE_DIGEST,
  type Tombstone,
  decodeFeedback,
  decodeFrame,
  decodeFrameOrTombstone,
  encodeFeedback,
  encodeFrame,
  encodeTombstone,
  readFrame,
  payloadDigest,
} from '../../runtime/frame.js'

const bytesOf = (values: Float32Array | Int32Array): Uint8Array => new Uint8Array(values.buffer)

const example: Frame = {
  header: {
    kind: 'output',
    marks: MARK.cut | MARK.evaluate,
    generation: 2,
    term: 7,
    step: 3,
    position: 4,
    evaluation: 0,
    run: 'r1',
    vnode: 'dense',
  },
  output: { dtype: 'float32', shape: [2, 3], bytes: bytesOf(new Float32Array([0, 1, -1, 0.5, 1e-30, 3e38])) },
  labels: { dtype: 'int32', shape: [2], bytes: bytesOf(new Int32Array([1, -2])) },
  batch: 'ab'.repeat(32),
}

test('the format has not changed', (t) => {
  const bytes = encodeFrame(example)
  t.is(bytes.byteLength, 384)
  t.is(Buffer.from(bytes.subarray(0, 16)).toString('hex'), '53474652010001030200000007000000')
  t.is(Buffer.from(bytes.subarray(16, 48)).toString('hex'), '03000000000000000400000000000000000000008e0000000001000080000000')
  t.is(createHash('sha256').update(bytes).digest('hex'), '3d614baead03972552ee3e739aa00e75fe185b841ac394b99b80eafd7735f97f')
})

const tombstone: Tombstone = { header: { ...example.header, kind: 'tombstone' }, batch: example.batch }

test('the format of tombstones has not changed: kind 2 of minor version 1, without a payload', (t) => {
  const bytes = encodeTombstone(tombstone)
  t.is(bytes.byteLength, 192)
  t.is(Buffer.from(bytes.subarray(0, 16)).toString('hex'), '53474652010102030200000007000000')
  t.is(Buffer.from(bytes.subarray(16, 48)).toString('hex'), '030000000000000004000000000000000000000067000000c000000000000000')
  t.is(createHash('sha256').update(bytes).digest('hex'), '4ad8b946ebb0ea4a857f9aa1c43662704a05b4d97d08ad418c4b5751c3c017b7')
  t.is(payloadDigest(bytes), TOMBSTONE_DIGEST)
})

const feedback: Feedback = { header: { ...example.header, kind: 'feedback' }, tensors: { dense: example.output, other: example.labels } }

test('the format of feedback has not changed: kind 3 of minor version 2, tensors by name', (t) => {
  const bytes = encodeFeedback(feedback)
  t.is(bytes.byteLength, 320)
  t.is(Buffer.from(bytes.subarray(0, 16)).toString('hex'), '53474652010203030200000007000000')
  t.is(createHash('sha256').update(bytes).digest('hex'), 'ef9663c84ef6ffd2d2d367f37fab4a3a98d0f4edd38c657040c94377b5593e25')
  t.deepEqual(decodeFeedback(bytes), feedback)
  t.deepEqual(readFrame(bytes).header, feedback.header)
  const nothing = { ...feedback, tensors: {} }
  t.deepEqual(decodeFeedback(encodeFeedback(nothing)), nothing)
})

test('feedback is told from an output, and is never taken for one', (t) => {
  refused(t, encodeFeedback(feedback), 'feedback')
  const notFeedback = { code: 'frame.damaged', message: /no feedback/ }
  for (const other of [encodeFrame(example), encodeTombstone(tombstone)]) t.throws(() => decodeFeedback(other), notFeedback)
  const disguised = encodeFeedback(feedback)
  disguised[6] = 1
  refused(t, seal(disguised), 'an output of other tensors')
  for (let i = 0; i < disguised.length; i++) {
    const flipped = encodeFeedback(feedback).slice()
    flipped[i] ^= 1 << (i % 8)
    t.throws(() => decodeFeedback(flipped), undefined, `byte ${i}`)
  }
})

test('a tombstone is told from an output, and is never taken for one', (t) => {
  t.deepEqual(decodeFrameOrTombstone(encodeTombstone(tombstone)), tombstone)
  t.deepEqual(decodeFrameOrTombstone(encodeFrame(example)), example)
  refused(t, encodeTombstone(tombstone), 'a tombstone')
  const disguised = encodeFrame(example)
  disguised[6] = 2
  refused(t, seal(disguised), 'a tombstone with tensors')
  const emptied = encodeTombstone(tombstone)
  emptied[6] = 1
  refused(t, seal(emptied), 'an output without tensors')
})

test('what was encoded is decoded, in plain and in shared memory, and at any place in a buffer', (t) => {
  t.deepEqual(decodeFrame(encodeFrame(example)), example)
  const shared = encodeFrame(example, true)
  t.true(shared.buffer instanceof SharedArrayBuffer)
  t.deepEqual(Buffer.from(shared), Buffer.from(encodeFrame(example)))
  t.deepEqual(decodeFrame(shared).header, example.header)
  const inside = new Uint8Array(1_000)
  inside.set(shared, 13)
  t.deepEqual(decodeFrame(inside.subarray(13, 13 + shared.byteLength)), example)
})

test('numbers are kept up to their limits, and tensors down to nothing', (t) => {
  const header = {
    ...example.header,
    generation: 2 ** 32 - 1,
    term: 2 ** 32 - 1,
    step: Number.MAX_SAFE_INTEGER,
    position: Number.MAX_SAFE_INTEGER,
  }
  const empty = { dtype: 'float32', shape: [0, 5], bytes: new Uint8Array() } as const
  const frame = { ...example, header, output: empty, labels: { ...empty, shape: [0] } }
  t.deepEqual(decodeFrame(encodeFrame(frame)), frame)
})

test('tensors are aligned to 64 bytes', (t) => {
  for (const run of ['r', 'r'.repeat(33), 'ü'.repeat(70)]) {
    const { output, labels } = decodeFrame(encodeFrame({ ...example, header: { ...example.header, run } }))
    t.deepEqual([output.bytes.byteOffset % 64, labels.bytes.byteOffset % 64], [0, 0])
  }
})

test('every flipped bit is noticed, wherever it is', (t) => {
  const bytes = encodeFrame(example)
  for (let at = 0; at < bytes.byteLength; at++) {
    for (const bit of [1, 16, 128]) {
      const flipped = Uint8Array.from(bytes)
      flipped[at] ^= bit
      refused(t, flipped, `byte ${at}`, at === 4 ? 'frame.version' : 'frame.damaged')
    }
  }
})

test('a frame that is cut short or too long is refused, at every length', (t) => {
  const bytes = encodeFrame(example)
  for (let length = 0; length < bytes.byteLength; length++) refused(t, bytes.subarray(0, length), `${length} bytes`)
  const long = new Uint8Array(bytes.byteLength + 1)
  long.set(bytes)
  refused(t, long, 'one byte more')
})

test('a newer minor version is read, another major one is refused', (t) => {
  const minor = encodeFrame(example)
  minor[5] = 9
  t.deepEqual(decodeFrame(seal(minor)), example)
  for (const major of [0, 2, 255]) {
    const bytes = encodeFrame(example)
    bytes[4] = major
    refused(t, seal(bytes), `major ${major}`, 'frame.version')
  }
})

test('unknown kinds and numbers beyond exact integers are refused', (t) => {
  const kind = encodeFrame(example)
  kind[6] = 3
  refused(t, seal(kind), 'kind 3')
  for (const at of [16, 24]) {
    const bytes = encodeFrame(example)
    bytes[at + 7] = 1
    refused(t, seal(bytes), `number at ${at}`)
  }
})

test('sizes in the header that lie are refused', (t) => {
  for (const at of [36, 40, 44]) {
    for (const value of [0, 1, 63, 2 ** 31, 2 ** 32 - 1]) {
      const bytes = encodeFrame(example)
      new DataView(bytes.buffer).setUint32(at, value, true)
      refused(t, seal(bytes), `${value} at ${at}`)
    }
  }
})

const good = {
  run: 'r1',
  vnode: 'dense',
  batch: 'x',
  tensors: [
    ['output', 'float32', [2, 3], 0, 24],
    ['labels', 'int32', [2], 64, 8],
  ],
}
const withOutput = (...entry: unknown[]) => ({ ...good, tensors: [['output', ...entry], good.tensors[1]] })
const LIES: { readonly [what: string]: unknown } = {
  nothing: null,
  'a number': 7,
  'no run': { ...good, run: undefined },
  'a number as VNode': { ...good, vnode: 3 },
  'no tensors': { ...good, tensors: [] },
  'tensors of another kind': { ...good, tensors: 'output' },
  'a tensor that is not a list': { ...good, tensors: [null, 7] },
  'only labels': { ...good, tensors: [good.tensors[1]] },
  'an unknown dtype': withOutput('float64', [2, 3], 0, 24),
  'a shape that is larger than its bytes': withOutput('float32', [1 << 30, 1 << 30], 0, 24),
  'a shape that overflows': withOutput('float32', [2 ** 52, 2 ** 52, 2 ** 52], 0, 24),
  'bytes beyond the payload': withOutput('float32', [2 ** 30], 0, 2 ** 32),
  'an offset beyond the payload': withOutput('float32', [2, 3], 2 ** 40, 24),
  'an offset between elements': withOutput('float32', [2, 3], 2, 24),
  'a negative size': withOutput('float32', [-2, -3], 0, 24),
  'a broken size': withOutput('float32', [1.5, 4], 0, 24),
  'a size that is not a number': withOutput('float32', [Number.NaN], 0, Number.NaN),
  'a shape that is a text': withOutput('float32', '23', 0, 24),
}

for (const [what, metadata] of Object.entries(LIES)) {
  test(`metadata with ${what} are refused`, (t) => {
    refused(t, withMetadata(new Packr({ useRecords: false }).pack(metadata)), what)
  })
}

test('metadata that announce more than they hold are refused at once', (t) => {
  for (const code of [0xdd, 0xdf, 0xdb, 0xc6, 0xc9])
    refused(t, withMetadata(Uint8Array.from([code, 0xff, 0xff, 0xff, 0xff, 1, 1])), code.toString(16))
  refused(t, withMetadata(new Uint8Array()), 'no metadata')
})

test('honest metadata pass, so that the lies above are what is refused', (t) => {
  t.is(decodeFrame(withMetadata(new Packr({ useRecords: false }).pack(good))).header.run, 'r1')
})

/** A frame with these metadata, and checksums that hold: what a hostile or broken sender makes. */
function withMetadata(metadata: Uint8Array): Uint8Array {
  const bytes = encodeFrame(example)
  bytes.fill(0, 64, 256)
  bytes.set(metadata, 64)
  new DataView(bytes.buffer).setUint32(36, metadata.byteLength, true)
  return seal(bytes)
}

/** Makes the checksums hold again. */
function seal(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer)
  view.setUint32(48, crc32(bytes.subarray(56)), true)
  view.setUint32(52, crc32(bytes.subarray(0, 52)), true)
  return bytes
}

function refused(t: ExecutionContext, bytes: Uint8Array, what: string, code: 'frame.damaged' | 'frame.version' = 'frame.damaged'): void {
  const error = t.throws(() => decodeFrame(bytes), undefined, what)
  t.true(isSwarmError(error, code), `${what}: ${String(error)}`)
  t.is(isSwarmError(error) && error.retryable, code === 'frame.damaged', what)
}

test('the digest of a payload is the CRC-32 of its bytes, whatever the metadata', (t) => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 1, max: 9 }), (run, elements, labels) => {
      const output = { dtype: 'float32', shape: [elements], bytes: randomBytes(4 * elements) } as const
      const frame = {
        ...example,
        header: { ...example.header, run },
        output,
        labels: { dtype: 'int32', shape: [labels], bytes: randomBytes(4 * labels) },
      } as const
      const bytes = encodeFrame(frame)
      const offset = new DataView(bytes.buffer).getUint32(40, true)
      t.is(payloadDigest(bytes), crc32(bytes.subarray(offset)))
    }),
    { seed: 3, numRuns: 200 },
  )
})
