/**
 * The safetensors format (github.com/huggingface/safetensors): u64 bytes of the header, little-endian; the header, JSON padded with spaces
 * to a multiple of 8; the elements of the tensors, row-major and little-endian, one tensor after another without gaps.
 * Golden bytes are in test/components/safetensors.test.ts.
 */
import { SwarmError } from '../../runtime/errors.js'
import type { StateTensor } from '../../runtime/state.js'
import { describe } from '../define.js'
import { sizeOf } from '../shapes.js'
import { checkVersion, damaged, type Weights, WEIGHTS_VERSION, type WeightsOrigin } from './weights.js'

/** What the format itself allows. */
const MAX_HEADER_BYTES = 100_000_000
const DTYPES = { float32: 'F32', int32: 'I32' } as const
/** Keys of `__metadata__`, whose values are strings. */
const PREFIX = 'swarmgrad.'

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

/** The file, in pieces to be written one after another: the elements are not copied. The same weights give the same bytes. */
export function encodeSafetensors(tensors: Iterable<StateTensor>, metadata: { readonly [key: string]: string } = {}): Uint8Array[] {
  const sorted = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1))
  const keys = Object.keys(metadata).toSorted()
  const header: { [name: string]: Entry | { [key: string]: string } } = {
    ...(keys.length > 0 && { __metadata__: Object.fromEntries(keys.map((key) => [key, metadata[key]])) }),
  }
  let at = 0
  for (const { name, dtype, shape, values } of sorted) {
    header[name] = { dtype: DTYPES[dtype], shape, data_offsets: [at, (at += values.byteLength)] }
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  const start = new Uint8Array(8 + 8 * Math.ceil(json.byteLength / 8)).fill(0x20)
  new DataView(start.buffer).setBigUint64(0, BigInt(start.byteLength - 8), true)
  start.set(json, 8)
  return [start, ...sorted.map(({ values }) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength))]
}

/** What `__metadata__` says of where the weights come from. */
export function metadataOf({ version, run, step, network, rule }: WeightsOrigin): { readonly [key: string]: string } {
  const entries = { format: WEIGHTS_VERSION, version, run, step, network, rule }
  return Object.fromEntries(Object.entries(entries).map(([key, value]) => [PREFIX + key, String(value)]))
}

/**
 * Reads a file; the values are copies.
 * @param where its path, for errors
 * @throws `weights.damaged`, `weights.version`; `weights.mismatch` for elements that are neither float32 nor int32
 */
export function decodeSafetensors(bytes: Uint8Array, where: string): Weights {
  const { header, from } = readHeader(bytes, where)
  const { __metadata__: metadata, ...entries } = header
  const origin = originOf(metadata, where)
  const tensors = new Map<string, StateTensor>()
  let end = 0
  const inOrder = Object.entries(entries).map(([name, entry]) => ({ name, entry: checkEntry(name, entry, where) }))
  for (const { name, entry } of inOrder.toSorted(
    (a, b) => a.entry.data_offsets[0] - b.entry.data_offsets[0] || a.entry.data_offsets[1] - b.entry.data_offsets[1],
  )) {
    const { dtype, shape, data_offsets: offsets } = entry
    const float = dtype === 'F32'
    if (!float && dtype !== 'I32') {
      const fix = 'Save it as float32: in PyTorch tensor.float()'
      throw new SwarmError('weights.mismatch', { what: `elements of tensor '${name}'`, where, expected: 'F32 or I32', got: dtype, fix })
    }
    if (offsets[0] !== end || offsets[1] - offsets[0] !== 4 * sizeOf(shape)) throw damaged(where, `bytes of tensor '${name}'`)
    end = offsets[1]
    if (from + end > bytes.byteLength) throw damaged(where, `tensor '${name}' is cut short`)
    // Not `slice`, which copies nothing if it is a Buffer's.
    const { buffer } = new Uint8Array(bytes.subarray(from + offsets[0], from + end))
    tensors.set(name, {
      name,
      dtype: float ? 'float32' : 'int32',
      shape,
      values: float ? new Float32Array(buffer) : new Int32Array(buffer),
    })
  }
  if (from + end !== bytes.byteLength) throw damaged(where, `${bytes.byteLength - from - end} bytes that belong to no tensor`)
  return { tensors, isAnswerOnly: false, ...(origin && { origin }) }
}

function readHeader(bytes: Uint8Array, where: string): { readonly header: { readonly [name: string]: unknown }; readonly from: number } {
  if (bytes.byteLength < 8) throw damaged(where, `${bytes.byteLength} bytes`)
  const size = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
  if (size > MAX_HEADER_BYTES || 8 + size > bytes.byteLength) throw damaged(where, 'no header of safetensors')
  try {
    const header: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, 8 + size)))
    if (typeof header !== 'object' || header === null || Array.isArray(header)) throw new TypeError(describe(header))
    return { header: header as { readonly [name: string]: unknown }, from: 8 + size }
  } catch (cause) {
    throw damaged(where, 'its header is no JSON object', cause)
  }
}

function checkEntry(name: string, value: unknown, where: string): Entry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Partial<Entry>
  const isSize = (size: unknown): size is number => Number.isSafeInteger(size) && (size as number) >= 0
  const isOffsets = Array.isArray(offsets) && offsets.length === 2 && offsets.every(isSize)
  if (typeof dtype !== 'string' || !Array.isArray(shape) || !shape.every(isSize) || !isOffsets)
    throw damaged(where, `entry of tensor '${name}'`)
  return value as Entry
}

function originOf(metadata: unknown, where: string): WeightsOrigin | undefined {
  const said = (metadata ?? {}) as { readonly [key: string]: string | undefined }
  const text = (key: string): string => said[PREFIX + key] ?? ''
  if (said[`${PREFIX}format`] === undefined) return undefined
  checkVersion(said[`${PREFIX}format`], where, said[`${PREFIX}version`])
  return { version: text('version'), run: text('run'), step: Number(text('step')), network: text('network'), rule: text('rule') }
}
