/**
 * The state of a VNode as bytes: the checkpoint blob. A 64-byte preamble, then the canonical stream, whose SHA-256 is the
 * state's hash and the blob's name in the store. Golden bytes are in test/runtime/state.test.ts.
 *
 * Preamble: magic `SGST`, u16 major, u16 minor, u64 bytes of the stream, zeros, and at 60 the CRC-32 of what stands before.
 * Stream: the tensors sorted by name (UTF-16 code units); for each: u32 bytes of the name, the name (UTF-8), u8 dtype
 * (1 float32, 2 int32), u32 rank, u32 per dimension, zeros up to a multiple of 8, the little-endian elements, zeros up to a multiple of 8.
 */
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Dtype } from './frame.js'
import { SwarmError, invariant } from './errors.js'

export const STATE_MAJOR = 1
export const STATE_MINOR = 0
const PREAMBLE_BYTES = 64
const SUM_OFFSET = 60
const MAGIC = 0x54534753 // 'SGST'
/** Dimensions of a tensor, at most. */
const MAX_RANK = 8
const DTYPES = ['', 'float32', 'int32'] as const

/** One named tensor of a state. */
export interface StateTensor {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  /** Row-major; the length is the product of the shape. */
  readonly values: Float32Array | Int32Array
}

/** Encodes a state canonically: the same tensors give the same bytes, whatever their order. */
export function encodeState(tensors: readonly StateTensor[]): Uint8Array {
  const sorted = tensors.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  const names = sorted.map(({ name }) => new TextEncoder().encode(name))
  let total = PREAMBLE_BYTES
  sorted.forEach(({ name, dtype, shape, values }, i) => {
    const isWhole = shape.length <= MAX_RANK && values.length === shape.reduce((a, b) => a * b, 1)
    const isTyped = values instanceof (dtype === 'float32' ? Float32Array : Int32Array)
    invariant(
      isWhole && isTyped,
      () => `state tensor '${name}': ${values.length} ${values.constructor.name} for ${dtype} [${shape.join(',')}]`,
    )
    if (i > 0 && sorted[i - 1].name === sorted[i].name) throw new SwarmError('internal', `two state tensors named '${sorted[i].name}'`)
    total += align8(4 + names[i].byteLength + 1 + 4 + 4 * shape.length) + align8(values.byteLength)
  })
  const bytes = new Uint8Array(total)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint16(4, STATE_MAJOR, true)
  view.setUint16(6, STATE_MINOR, true)
  view.setBigUint64(8, BigInt(total - PREAMBLE_BYTES), true)
  view.setUint32(SUM_OFFSET, crc32(bytes.subarray(0, SUM_OFFSET)), true)
  let at = PREAMBLE_BYTES
  sorted.forEach(({ dtype, shape, values }, i) => {
    const start = at
    view.setUint32(at, names[i].byteLength, true)
    bytes.set(names[i], at + 4)
    at += 4 + names[i].byteLength
    view.setUint8(at, DTYPES.indexOf(dtype))
    view.setUint32(at + 1, shape.length, true)
    at += 5
    for (const size of shape) {
      view.setUint32(at, size, true)
      at += 4
    }
    at = start + align8(at - start)
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at)
    at += align8(values.byteLength)
  })
  return bytes
}

/** SHA-256 of a blob's canonical stream, in hex: the state's hash. */
export function hashState(blob: Uint8Array): string {
  return createHash('sha256').update(blob.subarray(PREAMBLE_BYTES)).digest('hex')
}

/** A blob of so many bytes is hashed sooner than another thread is told of it. */
const HASHED_HERE_BYTES = 64 * 1024

/** As `hashState`; a large blob on another thread. */
export async function hashStateInBackground(blob: Uint8Array<ArrayBuffer>): Promise<string> {
  if (blob.byteLength <= HASHED_HERE_BYTES) return hashState(blob)
  return Buffer.from(await crypto.subtle.digest('SHA-256', blob.subarray(PREAMBLE_BYTES))).toString('hex')
}

/**
 * Decodes a blob; the values are copies.
 * @param expectedHash the hash that the manifest gives; checked first
 * @throws `checkpoint.damaged`, `checkpoint.version`
 */
export function decodeState(blob: Uint8Array, expectedHash?: string): StateTensor[] {
  const damaged = (what: string, expected?: string, got?: string) =>
    new SwarmError('checkpoint.damaged', { what: `damaged checkpoint blob: ${what}`, expected, got })
  if (blob.byteLength < PREAMBLE_BYTES) throw damaged(`${blob.byteLength} bytes`)
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength)
  if (view.getUint32(0, true) !== MAGIC) throw damaged('magic')
  if (view.getUint32(SUM_OFFSET, true) !== crc32(blob.subarray(0, SUM_OFFSET))) throw damaged('preamble')
  const major = view.getUint16(4, true)
  if (major !== STATE_MAJOR) {
    throw new SwarmError('checkpoint.version', {
      what: 'checkpoint of another format version',
      expected: STATE_MAJOR,
      got: major,
      fix: 'Use the version of swarmgrad that wrote it',
    })
  }
  if (view.getBigUint64(8, true) !== BigInt(blob.byteLength - PREAMBLE_BYTES)) throw damaged('length')
  if (expectedHash !== undefined) {
    const hash = hashState(blob)
    if (hash !== expectedHash) throw damaged('hash', expectedHash, hash)
  }
  const tensors: StateTensor[] = []
  let at = PREAMBLE_BYTES
  try {
    while (at < blob.byteLength) {
      const start = at
      const nameBytes = view.getUint32(at, true)
      const name = new TextDecoder('utf-8', { fatal: true }).decode(blob.slice(at + 4, at + 4 + nameBytes))
      at += 4 + nameBytes
      const dtype = DTYPES[view.getUint8(at)]
      const rank = view.getUint32(at + 1, true)
      if (!dtype || rank > MAX_RANK) throw damaged(`tensor '${name}'`)
      at += 5
      const shape = Array.from({ length: rank }, (_, i) => view.getUint32(at + 4 * i, true))
      at = start + align8(at + 4 * rank - start)
      const size = shape.reduce((a, b) => a * b, 1)
      if (at + 4 * size > blob.byteLength) throw damaged(`tensor '${name}' is cut short`)
      const { buffer } = new Uint8Array(blob.subarray(at, at + 4 * size))
      tensors.push({ name, dtype, shape, values: dtype === 'float32' ? new Float32Array(buffer) : new Int32Array(buffer) })
      at += align8(4 * size)
    }
  } catch (error) {
    throw error instanceof SwarmError ? error : damaged('structure')
  }
  return tensors
}

/** Hash of a run: SHA-256 over its VNodes' state hashes (hex, one line each) in graph order. */
export function hashRun(stateHashes: readonly string[]): string {
  return createHash('sha256').update(stateHashes.join('\n')).digest('hex')
}

const align8 = (size: number): number => Math.ceil(size / 8) * 8
