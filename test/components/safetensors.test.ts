import { createHash } from 'node:crypto'
import test from 'ava'
import * as fc from 'fast-check'
import { decodeSafetensors, encodeSafetensors, metadataOf } from '../../components/interchange/safetensors.js'
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import type { StateTensor } from '../../runtime/state.js'

const ORIGIN = { version: '0.1.0', run: 'glyphs-3f2', step: 24, network: 'ab'.repeat(32), rule: 'pred' }
const TENSORS: readonly StateTensor[] = [
  { name: 'dense-1/layers/dense-1/w', dtype: 'float32', shape: [2, 3], values: Float32Array.of(1, 2, 3, -4, 0.5, 1e-3) },
  { name: 'dense-1/layers/dense-1/b', dtype: 'float32', shape: [3], values: Float32Array.of(0, -0, 7) },
  { name: 'dense-1/state/count-1/seen', dtype: 'int32', shape: [], values: Int32Array.of(24) },
]
/** Any change of the format needs another version. Read by Python's safetensors 0.8.0 as what it is. */
const GOLDEN = '1c7722d9a82b229ea9dd84956b54a78730d5524b965e2b55646668844ad77275'

const whole = (pieces: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(pieces))
const byName = (a: StateTensor, b: StateTensor): number => (a.name < b.name ? -1 : 1)
const file = (header: object, data: Uint8Array = new Uint8Array(0)): Uint8Array => {
  const json = new TextEncoder().encode(JSON.stringify(header))
  const start = new Uint8Array(8)
  new DataView(start.buffer).setBigUint64(0, BigInt(json.byteLength), true)
  return whole([start, json, data])
}

test('the bytes of a file are these, whatever the order of its tensors', (t) => {
  const bytes = whole(encodeSafetensors(TENSORS, metadataOf(ORIGIN)))
  t.is(createHash('sha256').update(bytes).digest('hex'), GOLDEN)
  t.deepEqual(whole(encodeSafetensors(TENSORS.toReversed(), metadataOf(ORIGIN))), bytes)
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true))
  t.is(headerBytes % 8, 0)
  t.regex(
    new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)),
    /^\{"__metadata__":\{"swarmgrad\.format":"1","swarmgrad\.network":"abab.*"dense-1\/layers\/dense-1\/b":\{"dtype":"F32","shape":\[3\],"data_offsets":\[0,12\]\}/,
  )
})

test('what was written is read: names, shapes, every bit, and where it comes from', (t) => {
  const read = decodeSafetensors(whole(encodeSafetensors(TENSORS, metadataOf(ORIGIN))), 'a.safetensors')
  t.deepEqual(read.origin, ORIGIN)
  t.deepEqual([...read.tensors.values()].toSorted(byName), TENSORS.toSorted(byName))
  const ofBuffer = decodeSafetensors(Buffer.concat(encodeSafetensors(TENSORS)), 'a.safetensors')
  t.deepEqual(ofBuffer.tensors, read.tensors, 'a Buffer shares its memory with others')
  t.true(Object.is(read.tensors.get('dense-1/layers/dense-1/b')!.values[1], -0))
})

test('a file of somebody else has no origin; empty tensors and other keys of its metadata do no harm', (t) => {
  const header = { __metadata__: { format: 'pt' }, none: { dtype: 'F32', shape: [0, 4], data_offsets: [0, 0] } }
  const read = decodeSafetensors(file(header), 'a.safetensors')
  t.is(read.origin, undefined)
  t.deepEqual([...read.tensors.keys()], ['none'])
})

test('a file of another version says which program reads it', (t) => {
  const metadata = { ...metadataOf(ORIGIN), 'swarmgrad.format': '2', 'swarmgrad.version': '3.0.0' }
  const error = t.throws(() => decodeSafetensors(whole(encodeSafetensors(TENSORS, metadata)), 'new.safetensors'), {
    instanceOf: SwarmError,
  })
  t.is(error.code, 'weights.version')
  t.regex(error.message, /new\.safetensors.*expected 1, got 2.*Export it again.*swarmgrad 3\.0\.0/)
})

const good = { a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] } }
const DAMAGED: readonly [what: string, bytes: Uint8Array, says: RegExp][] = [
  ['nothing', new Uint8Array(3), /3 bytes/],
  ['something else', new TextEncoder().encode('{"format":"layers-model"}'), /no header/],
  ['no JSON', whole([Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0), new TextEncoder().encode('{]')]), /no JSON object/],
  ['a list', file([]), /no JSON object/],
  ['a tensor without a shape', file({ a: { dtype: 'F32', data_offsets: [0, 8] } }, new Uint8Array(8)), /entry of tensor 'a'/],
  ['a tensor that is cut short', file(good, new Uint8Array(7)), /'a' is cut short/],
  ['bytes too many', file(good, new Uint8Array(12)), /4 bytes that belong to no tensor/],
  ['a tensor of another size', file({ a: { ...good.a, shape: [3] } }, new Uint8Array(8)), /bytes of tensor 'a'/],
  ['a gap', file({ a: { ...good.a, data_offsets: [4, 12] } }, new Uint8Array(12)), /bytes of tensor 'a'/],
]
for (const [what, bytes, says] of DAMAGED) {
  test(`a damaged file is refused by name: ${what}`, (t) => {
    const error = t.throws(() => decodeSafetensors(bytes, 'bad.safetensors'), { instanceOf: SwarmError })
    t.is(error.code, 'weights.damaged')
    t.regex(error.message, says)
    t.regex(error.message, /bad\.safetensors/)
  })
}

test('elements of another type are refused with what to do', (t) => {
  const error = t.throws(
    () => decodeSafetensors(file({ a: { dtype: 'BF16', shape: [2], data_offsets: [0, 4] } }, new Uint8Array(4)), 'a.safetensors'),
    {
      instanceOf: SwarmError,
    },
  )
  t.is(error.code, 'weights.mismatch')
  t.regex(error.message, /tensor 'a' \(a\.safetensors\): expected F32 or I32, got BF16\. Save it as float32/)
})

test('whatever bytes of a file are changed, it is read or refused by name', (t) => {
  const bytes = whole(encodeSafetensors(TENSORS, metadataOf(ORIGIN)))
  const change = fc.tuple(fc.nat(bytes.byteLength - 1), fc.nat(255))
  const property = fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), fc.nat(bytes.byteLength), (changes, length) => {
    const changed = bytes.slice(0, length % 2 === 0 ? bytes.byteLength : length)
    for (const [at, value] of changes) changed[at % Math.max(1, changed.byteLength)] = value
    try {
      decodeSafetensors(changed, 'a.safetensors')
    } catch (error) {
      if (!isSwarmError(error, 'weights.damaged', 'weights.mismatch', 'weights.version')) throw error
    }
  })
  fc.assert(property, { numRuns: 2000 })
  t.pass()
})
