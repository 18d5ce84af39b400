/**
 * Frames: what travels between VNodes. A fixed 64-byte header, msgpack metadata, then raw little-endian tensors, each
 * aligned to 64 bytes. The format is versioned; golden bytes are in test/runtime/frame.test.ts. A frame says the lowest minor version that
 * its reader must know: outputs 0, tombstones 1, feedback 2.
 *
 * | offset | field | | offset | field |
 * |---|---|---|---|---|
 * | 0 | magic `SGFR` | | 24 | position, u64 |
 * | 4 | major, u8 | | 32 | evaluation, u32 |
 * | 5 | minor, u8 | | 36 | metadata bytes, u32 |
 * | 6 | kind, u8 | | 40 | payload offset, u32 |
 * | 7 | marks, u8 | | 44 | payload bytes, u32 |
 * | 8 | generation, u32 | | 48 | crc32 of everything from 56 on, u32 |
 * | 12 | term, u32 | | 52 | crc32 of the first 52 bytes, u32 |
 * | 16 | step, u64 | | 56 | zero |
 */
import { crc32 } from 'node:zlib'
import { Packr } from 'msgpackr'
import { crc32OfEnd } from './crc.js'
import { SwarmError } from './errors.js'
import { sharedBytes } from './shared-memory.js'

export const FRAME_MAJOR = 1
export const FRAME_MINOR = 2
export const FRAME_HEADER_BYTES = 64
const ALIGNMENT = 64
/** The header's last bytes, which are kept free, are checked together with what follows them. */
const BODY_OFFSET = 56
const MAGIC = 0x52464753 // 'SGFR', little-endian

/** What happens after a step (PROTOCOL.md rule 6), as bits; `drain`: the entry is no batch, VNodes only take the feedback that there is. */
export const MARK = { cut: 1, evaluate: 2, pause: 4, decision: 8, end: 16, drain: 32 } as const

/** CRC-32 of no bytes: what `payloadDigest` gives for a tombstone. */
export const TOMBSTONE_DIGEST = 0

export type Dtype = 'float32' | 'int32'

/** Where a frame stands in the log of its run, and who may have sent it. */
export interface FrameHeader {
  readonly kind: 'output'
  /** Bits of MARK. */
  readonly marks: number
  readonly generation: number
  /** Fencing number of the sender's placement. */
  readonly term: number
  /** Number of the batch, from 1. */
  readonly step: number
  /** Place in the run's log, from 1: training and evaluation batches are numbered together. */
  readonly position: number
  /** 0: training. From 1: number of the evaluation batch after `step`. */
  readonly evaluation: number
  readonly run: string
  /** Id of the VNode that made the frame. */
  readonly vnode: string
}

/** A tensor as bytes: row-major, little-endian. */
export interface TensorBytes {
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

export interface Frame {
  readonly header: FrameHeader
  /** float32 (or int32) of shape [batch, …]. */
  readonly output: TensorBytes
  /** int32 [batch] for categorical targets, int32 [batch, tokens] for tokens, float32 [batch, n] for continuous ones. */
  readonly labels: TensorBytes
  /** Of the inputs and labels as the source made them, 64 hex digits (`batchDigest`): joins require it to be equal, and labels to fit it. */
  readonly batch: string
}

/** Stands for an output that there is not: its entry is skipped here, and by everything that reads from here (PROTOCOL.md rule 15). */
export interface Tombstone {
  readonly header: Omit<FrameHeader, 'kind'> & { readonly kind: 'tombstone' }
  /** As in the frames that it stands for. */
  readonly batch: string
}

/** What goes against the graph, to VNodes before the one that made it. */
export interface Feedback {
  /** The position is the one that it is for; the step the one that its tensors are of. */
  readonly header: Omit<FrameHeader, 'kind'> & { readonly kind: 'feedback' }
  /** By name; none: there is nothing for that position. */
  readonly tensors: { readonly [name: string]: TensorBytes }
}

/** Whatever a producer may send. */
type Header = (Frame | Tombstone | Feedback)['header']

interface Metadata {
  run: string
  vnode: string
  batch: string
  tensors: [name: string, dtype: Dtype, shape: number[], offset: number, bytes: number][]
}

/** What the metadata of a frame say, once they have been checked. */
interface Checked {
  readonly metadata: Metadata
  /** Of the header: the checksum of the body, and where its parts are. */
  readonly bodyCrc: number
  readonly metadataBytes: number
  readonly payloadOffset: number
}

/** Kept on the bytes themselves, for whoever reads them again in this process: of a small frame, a WeakMap costs more than reading it again. */
const CHECKED = Symbol('checked')
type Known = Uint8Array & { [CHECKED]?: Checked }

const packr = new Packr({ useRecords: false })
const KINDS = ['', 'output', 'tombstone', 'feedback'] as const
/** The minor version in which each kind came. */
const MINORS = { output: 0, tombstone: 1, feedback: FRAME_MINOR } as const
const BYTES_PER_ELEMENT = 4

/** Encodes a frame into one buffer; shared memory where `shared` is true, so that threads can read it without a copy. */
export function encodeFrame({ header, output, labels, batch }: Frame, shared = false): Uint8Array {
  const tensors = [
    ['output', output],
    ['labels', labels],
  ] as const
  return encode(header, batch, tensors, shared)
}

/** Encodes a tombstone: small, and never read by a worker. */
export function encodeTombstone({ header, batch }: Tombstone): Uint8Array {
  return encode(header, batch, [], false)
}

/** Encodes feedback; parameters as `encodeFrame`. */
export function encodeFeedback({ header, tensors }: Feedback, shared = false): Uint8Array {
  return encode(header, '', Object.entries(tensors), shared)
}

function encode(
  header: Header,
  batch: string,
  tensors: readonly (readonly [name: string, tensor: TensorBytes])[],
  shared: boolean,
): Uint8Array {
  let payloadBytes = 0
  const entries = tensors.map(([name, { dtype, shape, bytes }]): Metadata['tensors'][number] => {
    const offset = payloadBytes
    payloadBytes = align(offset + bytes.byteLength)
    return [name, dtype, [...shape], offset, bytes.byteLength]
  })
  const metadata: Metadata = { run: header.run, vnode: header.vnode, batch, tensors: entries }
  const packed = packr.pack(metadata)
  const payloadOffset = align(FRAME_HEADER_BYTES + packed.byteLength)
  const total = payloadOffset + payloadBytes
  const bytes = shared ? sharedBytes(total) : new Uint8Array(total)
  bytes.set(packed, FRAME_HEADER_BYTES)
  tensors.forEach(([, tensor], i) => bytes.set(tensor.bytes, payloadOffset + entries[i][3]))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint8(4, FRAME_MAJOR)
  view.setUint8(5, MINORS[header.kind])
  view.setUint8(6, KINDS.indexOf(header.kind))
  view.setUint8(7, header.marks)
  view.setUint32(8, header.generation, true)
  view.setUint32(12, header.term, true)
  setUint64(view, 16, header.step)
  setUint64(view, 24, header.position)
  view.setUint32(32, header.evaluation, true)
  view.setUint32(36, packed.byteLength, true)
  view.setUint32(40, payloadOffset, true)
  view.setUint32(44, payloadBytes, true)
  const bodyCrc = crc32(bytes.subarray(BODY_OFFSET))
  view.setUint32(48, bodyCrc, true)
  view.setUint32(52, crc32(bytes.subarray(0, 52)), true)
  ;(bytes as Known)[CHECKED] = { metadata, bodyCrc, metadataBytes: packed.byteLength, payloadOffset }
  return bytes
}

/**
 * Decodes and checks a frame with tensors, which are views into `bytes`.
 * @param isWhole somebody in this process has checked its body before
 * @throws `frame.damaged` wrong magic, checksum, sizes or metadata, or no output
 * @throws `frame.version` another major version; a newer minor one is accepted
 */
export function decodeFrame(bytes: Uint8Array, options: { readonly isWhole?: boolean } = {}): Frame {
  const frame = decodeFrameOrTombstone(bytes, options)
  if (!('output' in frame)) throw damaged('no output where one is needed')
  return frame
}

/** Decodes and checks what a producer may send. Parameters and errors as `decodeFrame`. */
export function decodeFrameOrTombstone(bytes: Uint8Array, options: { readonly isWhole?: boolean } = {}): Frame | Tombstone {
  const { header, metadata, payloadOffset } = open(bytes, options)
  const { batch } = metadata
  if (header.kind === 'tombstone') return { header, batch }
  if (header.kind === 'feedback') throw damaged('feedback where an output is needed')
  const tensor = (wanted: string): TensorBytes => bytesOf(bytes, payloadOffset, tensorOf(metadata, wanted))
  return { header, output: tensor('output'), labels: tensor('labels'), batch }
}

/** Decodes and checks feedback, whose tensors are views into `bytes`. Errors as `decodeFrame`. */
export function decodeFeedback(bytes: Uint8Array, options: { readonly isWhole?: boolean } = {}): Feedback {
  const { header, metadata, payloadOffset } = open(bytes, options)
  if (header.kind !== 'feedback') throw damaged('no feedback where some is needed')
  return { header, tensors: Object.fromEntries(metadata.tensors.map((entry) => [entry[0], bytesOf(bytes, payloadOffset, entry)])) }
}

function bytesOf(bytes: Uint8Array, payloadOffset: number, [, dtype, shape, offset, size]: Metadata['tensors'][number]): TensorBytes {
  return { dtype, shape, bytes: bytes.subarray(payloadOffset + offset, payloadOffset + offset + size) }
}

/** What a producer has sent, of whatever kind. */
export interface AnyFrame {
  readonly header: Header
  /** Empty for feedback. */
  readonly batch: string
  /** All that it names, in its order, as views; of an output only `output` and `labels` are known to lie within the frame. */
  readonly tensors: readonly (readonly [name: string, tensor: TensorBytes])[]
}

/** Checks all of what a producer has sent, and says what is in it. Parameters and errors as `decodeFrame`. */
export function readFrame(bytes: Uint8Array, options: { readonly isWhole?: boolean } = {}): AnyFrame {
  const { header, metadata, payloadOffset } = open(bytes, options)
  const tensors = metadata.tensors.map((entry) => [entry[0], bytesOf(bytes, payloadOffset, entry)] as const)
  return { header, batch: metadata.batch, tensors }
}

function open(bytes: Uint8Array, { isWhole = false }: { readonly isWhole?: boolean }) {
  const fixed = decodeHeader(bytes)
  const { kind, metadataBytes, payloadOffset, payloadBytes, bodyCrc } = fixed
  if (!isWhole && crc32(bytes.subarray(BODY_OFFSET)) !== bodyCrc) throw damaged('checksum of the body')
  const known = (bytes as Known)[CHECKED]
  const isKnown = known?.bodyCrc === bodyCrc && known.metadataBytes === metadataBytes && known.payloadOffset === payloadOffset
  const metadata = isKnown ? known.metadata : unpack(bytes.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + metadataBytes))
  if (kind === 'tombstone') {
    if (metadata.tensors.length > 0 || payloadBytes > 0) throw damaged('a tombstone with tensors')
  } else if (!isKnown) {
    const tensors = kind === 'feedback' ? metadata.tensors : [tensorOf(metadata, 'output'), tensorOf(metadata, 'labels')]
    for (const tensor of tensors) checkTensor(tensor, payloadOffset, payloadBytes)
  }
  if (!isKnown && !isWhole) (bytes as Known)[CHECKED] = { metadata, bodyCrc, metadataBytes, payloadOffset }
  const { marks, generation, term, step, position, evaluation } = fixed
  const { run, vnode } = metadata
  const header = { kind, marks, generation, term, step, position, evaluation, run, vnode } as Header
  return { header, metadata, payloadOffset }
}

function tensorOf({ tensors }: Metadata, wanted: string): Metadata['tensors'][number] {
  for (const entry of tensors) if (entry[0] === wanted) return entry
  throw damaged(`no tensor '${wanted}'`)
}

function checkTensor([name, , shape, offset, size]: Metadata['tensors'][number], payloadOffset: number, payloadBytes: number): void {
  const elements = shape.reduce((a, b) => a * b, 1)
  if (elements * BYTES_PER_ELEMENT !== size || offset + size > payloadBytes) throw damaged(`size of tensor '${name}'`)
  if ((payloadOffset + offset) % ALIGNMENT !== 0) throw damaged(`alignment of tensor '${name}'`)
}

/** The frame as it is under another term: a copy, unless it has that term already. */
export function underTerm(frame: Uint8Array, term: number): Uint8Array {
  const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (viewOf(frame).getUint32(12, true) === term) return frame
  const copy = frame.slice()
  const view = viewOf(copy)
  view.setUint32(12, term, true)
  view.setUint32(52, crc32(copy.subarray(0, 52)), true)
  return copy
}

/** The digest of the batch that a whole frame or a tombstone is of. @throws as `decodeFrame` */
export function batchOf(bytes: Uint8Array): string {
  return decodeFrameOrTombstone(bytes, { isWhole: true }).batch
}

/**
 * CRC-32 of a frame's tensors alone: the same for the same outputs and labels of whatever run. Of a frame that is known to be whole: the
 * checksum that it carries is that of the metadata and the tensors, and the metadata's part is taken out.
 */
export function payloadDigest(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const payloadOffset = view.getUint32(40, true)
  return crc32OfEnd(view.getUint32(48, true), crc32(bytes.subarray(BODY_OFFSET, payloadOffset)), view.getUint32(44, true))
}

function decodeHeader(bytes: Uint8Array) {
  if (bytes.byteLength < FRAME_HEADER_BYTES) throw damaged(`${bytes.byteLength} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint32(0, true) !== MAGIC) throw damaged('magic')
  const major = view.getUint8(4)
  if (major !== FRAME_MAJOR) {
    throw new SwarmError('frame.version', {
      what: 'frame of an unknown version',
      expected: FRAME_MAJOR,
      got: major,
      fix: 'Use the same major version of swarmgrad on all hosts',
    })
  }
  if (crc32(bytes.subarray(0, 52)) !== view.getUint32(52, true)) throw damaged('checksum of the header')
  const metadataBytes = view.getUint32(36, true)
  const payloadOffset = view.getUint32(40, true)
  const payloadBytes = view.getUint32(44, true)
  if (payloadOffset + payloadBytes !== bytes.byteLength || FRAME_HEADER_BYTES + metadataBytes > payloadOffset) throw damaged('sizes')
  const kind = KINDS[view.getUint8(6)]
  if (!kind) throw damaged('kind')
  const header = {
    kind,
    marks: view.getUint8(7),
    generation: view.getUint32(8, true),
    term: view.getUint32(12, true),
    step: uint64(view, 16),
    position: uint64(view, 24),
    evaluation: view.getUint32(32, true),
    metadataBytes,
    payloadOffset,
    payloadBytes,
    bodyCrc: view.getUint32(48, true),
  }
  if (!isSize(header.step) || !isSize(header.position)) throw damaged('numbers')
  return header
}

function unpack(bytes: Uint8Array): Metadata {
  let value: unknown
  try {
    value = packr.unpack(Uint8Array.from(bytes))
  } catch (cause) {
    throw new SwarmError('frame.damaged', { what: 'damaged frame: unreadable metadata', retryable: true, cause })
  }
  const metadata = value as Metadata
  const isValid =
    typeof metadata?.run === 'string' &&
    typeof metadata.vnode === 'string' &&
    typeof metadata.batch === 'string' &&
    Array.isArray(metadata.tensors) &&
    metadata.tensors.every(
      (entry) =>
        Array.isArray(entry) &&
        typeof entry[0] === 'string' &&
        (entry[1] === 'float32' || entry[1] === 'int32') &&
        Array.isArray(entry[2]) &&
        entry[2].every(isSize) &&
        isSize(entry[3]) &&
        isSize(entry[4]),
    )
  if (!isValid) throw damaged('metadata')
  return metadata
}

const TWO_TO_32 = 4_294_967_296

function setUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % TWO_TO_32, true)
  view.setUint32(offset + 4, Math.floor(value / TWO_TO_32), true)
}

/** Not exact beyond 2⁵³: then it is no safe integer. */
const uint64 = (view: DataView, offset: number): number => view.getUint32(offset + 4, true) * TWO_TO_32 + view.getUint32(offset, true)

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const align = (size: number): number => Math.ceil(size / ALIGNMENT) * ALIGNMENT
const damaged = (what: string): SwarmError => new SwarmError('frame.damaged', { what: `damaged frame: ${what}`, retryable: true })
