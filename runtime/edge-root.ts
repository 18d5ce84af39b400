/**
 * The root of a log: one SHA-256 for all that went over one edge in one segment (PROTOCOL.md rule 24). Whoever sends and whoever reads chain the
 * digests of the same frames, so that their roots are equal if and only if both had the same bytes in the same order.
 * A frame of 0.5 MB takes 0.45 ms of a core, nearly all of it SHA-256 of its tensors (measured); a step that makes such a frame takes tens of them.
 * Golden bytes are in test/runtime/commitment.test.ts.
 *
 * root₀ = H(`SGLG`, u8 version, u8 kind, u64 from, name of the producer); rootᵢ = H(rootᵢ₋₁, digestᵢ)
 * digest = H(`SGFD`, u8 version, u8 kind, u8 marks, u64 position, u64 step, u32 evaluation, u32 tensors, text of the batch, and of each tensor: text of
 * its name, u8 dtype, u32 rank, u32 per dimension, u64 bytes, the bytes). Numbers are little-endian; a text is u32 bytes, then UTF-8.
 * Of a frame of the source the tag is `SGFB`, and there are no bytes: last comes the text of `batchDigest` of what it carries (batch-digest.ts), so that
 * its maker, who needs that digest anyway, hashes nothing twice, and whoever audits the source neither makes frames nor gathers what it has seen before.
 */
import { createHash, hash } from 'node:crypto'
import { batchDigest } from './batch-digest.js'
import { invariant } from './errors.js'
import { type AnyFrame, MARK, readFrame, type TensorBytes } from './frame.js'

export const EDGE_ROOT_VERSION = 1
const [LOG_TAG, FRAME_TAG, BATCH_TAG] = ['SGLG', 'SGFD', 'SGFB']
const KINDS = ['', 'output', 'tombstone', 'feedback'] as const
const STREAMS = ['', 'output', 'feedback'] as const
const DTYPES = ['', 'float32', 'int32'] as const
/** Of the marks only those that change what is learnt: a source that is started again asks for cuts and pauses at other steps. */
const STATE_MARKS = MARK.decision | MARK.drain

/** What goes over an edge: whose frames, against or along the graph, behind which position. */
export interface EdgeStream {
  /** Id of the VNode that makes the frames. */
  readonly producer: string
  readonly kind: 'output' | 'feedback'
  /** The segment begins behind this position. */
  readonly from: number
}

/** One frame of a log. */
export interface EdgeEntry {
  readonly position: number
  /** 32 bytes, of `edgeEntryOf`, or in the log of the source of `batchEntryOf` or `receivedBatchEntryOf`. */
  readonly digest: Uint8Array
}

/** Where the log of an edge stands. A value: whoever keeps one can go on from it as often as it likes. */
export interface EdgeRoot {
  readonly stream: EdgeStream
  /** Of the last frame; `stream.from` before the first. */
  readonly position: number
  readonly frames: number
  /** 32 bytes. */
  readonly root: Uint8Array
}

/** The root of a segment's log before its first frame. */
export function startEdgeRoot(stream: EdgeStream): EdgeRoot {
  const { producer, kind, from } = stream
  const bytes = new ByteWriter()
  bytes.ascii(LOG_TAG).u8(EDGE_ROOT_VERSION).u8(STREAMS.indexOf(kind)).u64(from).text(producer)
  return { stream, position: from, frames: 0, root: bytes.hashed() }
}

/** The root with one frame more. @throws `internal` if the frame does not come behind those before */
export function extendEdgeRoot({ stream, position, frames, root }: EdgeRoot, entry: EdgeEntry): EdgeRoot {
  invariant(entry.position > position, () => `log of ${stream.producer}: position ${entry.position} behind ${position}`)
  const next = hash('sha256', Buffer.concat([root, entry.digest]), 'buffer')
  return { stream, position: entry.position, frames: frames + 1, root: next }
}

/**
 * The entry of an encoded frame, a tombstone or feedback. Its term, generation and run do not count: whoever makes the frame again under another
 * term makes the same entry. Nor does how it was packed.
 * @param isWhole somebody in this process has checked its body before
 * @throws `frame.damaged`, `frame.version`
 */
export function edgeEntryOf(frame: Uint8Array, options: { readonly isWhole?: boolean } = {}): EdgeEntry {
  const read = readFrame(frame, options)
  const bytes = new ByteWriter().ascii(FRAME_TAG)
  writeFrame(bytes, read, (values) => bytes.raw(values))
  return { position: read.header.position, digest: bytes.hashed() }
}

/** What there is to know of a batch without its inputs: kind, marks and place, and what its tensors are. */
export interface BatchFrame<Bytes = Pick<Uint8Array, 'byteLength'>> extends Pick<AnyFrame, 'batch'> {
  readonly header: Pick<AnyFrame['header'], 'kind' | 'marks' | 'position' | 'step' | 'evaluation'>
  readonly tensors: readonly (readonly [name: string, tensor: Pick<TensorBytes, 'dtype' | 'shape'> & { readonly bytes: Bytes }])[]
}

/** The entry of a batch that the source sends: whoever has made it knows that `batch` is the digest of its tensors. */
export function batchEntryOf(frame: BatchFrame): EdgeEntry {
  return batchEntry(frame, frame.batch)
}

/** The entry of a batch that has come: what is in it counts, and not what it says of itself. */
export function receivedBatchEntryOf(frame: AnyFrame): EdgeEntry {
  return batchEntry(frame, carriedBy(frame))
}

function batchEntry(frame: BatchFrame, carried: string): EdgeEntry {
  const bytes = new ByteWriter().ascii(BATCH_TAG)
  writeFrame(bytes, frame, () => undefined)
  bytes.text(carried)
  return { position: frame.header.position, digest: bytes.hashed() }
}

/** A source sends nothing but batches; what else comes in its name has no tensors that count. */
function carriedBy(frame: AnyFrame): string {
  if (frame.header.kind !== 'output') return ''
  const [inputs, labels] = tensorsOf(frame).map(([, tensor]) => tensor)
  return batchDigest(inputs, labels.bytes)
}

/** Those of feedback by name: whoever makes it again from a checkpoint has them in another order. */
function tensorsOf<Bytes>({ header, tensors }: BatchFrame<Bytes>): BatchFrame<Bytes>['tensors'] {
  if (header.kind === 'output') return ['output', 'labels'].map((name) => tensors.find((tensor) => tensor[0] === name)!)
  return tensors.toSorted(([a], [b]) => (a < b ? -1 : 1))
}

/** All of a frame that counts; `writeBytes` is given the bytes of each tensor where they have their place. */
function writeFrame<Bytes extends Pick<Uint8Array, 'byteLength'>>(
  bytes: ByteWriter,
  frame: BatchFrame<Bytes>,
  writeBytes: (values: Bytes) => void,
): void {
  const { kind, marks, position, step, evaluation } = frame.header
  const tensors = tensorsOf(frame)
  bytes
    .u8(EDGE_ROOT_VERSION)
    .u8(KINDS.indexOf(kind))
    .u8(marks & STATE_MARKS)
  bytes.u64(position).u64(step).u32(evaluation).u32(tensors.length).text(frame.batch)
  for (const [name, { dtype, shape, bytes: values }] of tensors) {
    bytes.text(name).u8(DTYPES.indexOf(dtype)).u32(shape.length)
    for (const size of shape) bytes.u32(size)
    bytes.u64(values.byteLength)
    writeBytes(values)
  }
}

/** Small fields are gathered, large ones hashed where they are. */
class ByteWriter {
  readonly #hash = createHash('sha256')
  #pending: number[] = []

  u8(value: number): this {
    this.#pending.push(value)
    return this
  }

  u32(value: number): this {
    this.#pending.push(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24)
    return this
  }

  u64(value: number): this {
    return this.u32(value % 4_294_967_296).u32(Math.floor(value / 4_294_967_296))
  }

  ascii(text: string): this {
    for (let i = 0; i < text.length; i++) this.#pending.push(text.charCodeAt(i))
    return this
  }

  text(text: string): this {
    const bytes = new TextEncoder().encode(text)
    return this.u32(bytes.byteLength).raw(bytes)
  }

  raw(bytes: Uint8Array): this {
    this.#flush()
    this.#hash.update(bytes)
    return this
  }

  hashed(): Uint8Array {
    this.#flush()
    return this.#hash.digest()
  }

  #flush(): void {
    if (this.#pending.length > 0) this.#hash.update(Uint8Array.from(this.#pending))
    this.#pending = []
  }
}
