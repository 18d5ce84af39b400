import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import { isSwarmError } from '../../runtime/errors.js'
import { type StateTensor, decodeState, encodeState, hashRun, hashState, hashStateInBackground } from '../../runtime/state.js'

const example: StateTensor[] = [
  { name: 'kernel', dtype: 'float32', shape: [2, 3], values: new Float32Array([0, 1, -1, 0.5, 1e-30, 3e38]) },
  { name: 'adam/t', dtype: 'int32', shape: [], values: new Int32Array([-7]) },
  { name: 'größe', dtype: 'float32', shape: [0, 4], values: new Float32Array() },
]
const STREAM_HASH = '8db9157cc75240a998f416330eb913d044a1a2ed89c7d366e8b85735fae35117'

test('the format has not changed', (t) => {
  const blob = encodeState(example)
  t.is(Buffer.from(blob.subarray(0, 64)).toString('hex'), `53475354010000006000000000000000${'00'.repeat(44)}2ae7335a`)
  t.is(Buffer.from(blob.subarray(64, 96)).toString('hex'), '060000006164616d2f74020000000000f9ffffff00000000070000006772c3b6')
  t.is(hashState(blob), STREAM_HASH)
  t.is(createHash('sha256').update(blob).digest('hex'), '5fda8f9fa13e2ab1252849f494dd482e9abc2f70bd1bd81ec7c792b452a4e84b')
})

test('the hash of a run is that of its VNodes in their order', (t) => {
  t.is(hashRun(['ab', 'cd']), createHash('sha256').update('ab\ncd').digest('hex'))
  t.not(hashRun(['ab', 'cd']), hashRun(['cd', 'ab']))
})

test('the same tensors give the same bytes, whatever their order; decoding gives copies, sorted by name', async (t) => {
  const blob = encodeState(example.toReversed())
  t.deepEqual(blob, encodeState(example))
  const decoded = decodeState(blob, STREAM_HASH)
  t.deepEqual(
    decoded,
    example.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  )
  blob.fill(0)
  t.is(decoded[0].values[0], -7)
  t.is(await hashStateInBackground(encodeState(example) as Uint8Array<ArrayBuffer>), STREAM_HASH)
  t.deepEqual(decodeState(encodeState([])), [])
})

test('any state comes back bit for bit, from any place in a buffer', (t) => {
  const tensor = fc.tuple(fc.string({ unit: 'binary', maxLength: 9 }), fc.array(fc.nat(3), { maxLength: 8 }), fc.boolean(), fc.nat())
  fc.assert(
    fc.property(fc.uniqueArray(tensor, { maxLength: 5, selector: ([name]) => name.normalize() }), fc.nat(9), (drawn, shift) => {
      const tensors = drawn.map(([name, shape, isFloat, seed]): StateTensor => {
        const bits = Int32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.imul(seed + i, 0x9e3779b1) & 0x3fffffff)
        return { name, dtype: isFloat ? 'float32' : 'int32', shape, values: isFloat ? new Float32Array(bits.buffer) : bits }
      })
      const blob = encodeState(tensors)
      const inside = new Uint8Array(blob.byteLength + shift)
      inside.set(blob, shift)
      const decoded = decodeState(inside.subarray(shift), hashState(blob))
      t.deepEqual(
        decoded,
        tensors.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      )
    }),
    { seed: 11, numRuns: 200 },
  )
})

test('a Buffer, whose slices are views, is decoded to copies as well', (t) => {
  const blob = encodeState([{ name: 'w', dtype: 'float32', shape: [3], values: Float32Array.of(1, 2, 3) }])
  // From the pool that small buffers share.
  const buffer = Buffer.from(blob)
  const [{ values }] = decodeState(buffer)
  t.deepEqual(values, Float32Array.of(1, 2, 3))
  buffer.fill(0)
  t.deepEqual(values, Float32Array.of(1, 2, 3))
})

test('every flipped bit is noticed, given the hash', (t) => {
  const blob = encodeState(example)
  for (let at = 0; at < blob.byteLength; at++) {
    for (const bit of [1, 16, 128]) {
      const flipped = Uint8Array.from(blob)
      flipped[at] ^= bit
      refused(t, flipped, `byte ${at}`, STREAM_HASH)
    }
  }
})

test('flipped bytes never crash the decoder that was given no hash', (t) => {
  const blob = encodeState(example)
  for (let at = 0; at < blob.byteLength; at++) {
    for (const value of [0, 1, 127, 255]) {
      const flipped = Uint8Array.from(blob)
      flipped[at] = value
      try {
        decodeState(flipped)
      } catch (error) {
        t.true(isSwarmError(error, 'checkpoint.damaged', 'checkpoint.version'), `byte ${at}: ${String(error)}`)
      }
    }
  }
})

test('a blob that is cut short or too long is refused, at every length, even if its length says otherwise', (t) => {
  const blob = encodeState(example)
  for (let length = 0; length < blob.byteLength; length++) {
    const short = blob.slice(0, length)
    refused(t, short, `${length} bytes`)
    if (length < 64) continue
    new DataView(short.buffer).setBigUint64(8, BigInt(length - 64), true)
    seal(short)
    refused(t, short, `${length} bytes, as it says`, STREAM_HASH)
  }
  const long = new Uint8Array(blob.byteLength + 8)
  long.set(blob)
  refused(t, long, '8 bytes more')
})

test('a newer minor version is read, another major one is refused', (t) => {
  const blob = encodeState(example)
  const view = new DataView(blob.buffer)
  view.setUint16(6, 3, true)
  view.setUint8(40, 1)
  seal(blob)
  t.deepEqual(decodeState(blob, STREAM_HASH), decodeState(encodeState(example)))
  for (const major of [0, 2, 65_535]) {
    view.setUint16(4, major, true)
    seal(blob)
    refused(t, blob, `major ${major}`, undefined, 'checkpoint.version')
  }
})

test('sizes that lie are refused before anything of that size is made', (t) => {
  // Bytes of the name, rank, and the first dimension of the second tensor in the stream.
  for (const [at, what] of [
    [64, 'name'],
    [75, 'rank'],
    [88 + 4 + 7 + 1, 'rank'],
    [88 + 4 + 7 + 5, 'dimension'],
  ] as const) {
    for (const value of [2 ** 32 - 1, 2 ** 31, 2 ** 24]) {
      const blob = encodeState(example)
      new DataView(blob.buffer).setUint32(at, value, true)
      refused(t, blob, `${what} ${value} at ${at}`)
    }
  }
})

test('a state that could not be read again is not written', (t) => {
  const values = new Float32Array(4)
  const tensor: StateTensor = { name: 'a', dtype: 'float32', shape: [2, 2], values }
  for (const wrong of [
    { ...tensor, shape: [2, 3] },
    { ...tensor, shape: [1, 1, 1, 1, 1, 1, 1, 2, 2] },
    { ...tensor, dtype: 'int32' as const },
  ])
    t.throws(() => encodeState([wrong]), { code: 'internal', message: /state tensor 'a'/ })
  t.throws(() => encodeState([tensor, tensor]), { code: 'internal', message: /two state tensors named 'a'/ })
})

/** Makes a changed preamble whole again. */
function seal(blob: Uint8Array): void {
  new DataView(blob.buffer).setUint32(60, crc32(blob.subarray(0, 60)), true)
}

function refused(
  t: ExecutionContext,
  blob: Uint8Array,
  what: string,
  hash?: string,
  code: 'checkpoint.damaged' | 'checkpoint.version' = 'checkpoint.damaged',
): void {
  const error = t.throws(() => decodeState(blob, hash), undefined, what)
  t.true(isSwarmError(error, code), `${what}: ${String(error)}`)
}
