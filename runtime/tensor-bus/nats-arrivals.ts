/** What arrives under one subscription of NatsBus, as messages and gaps: streams are followed by number, parts are joined. */
import type { Place } from './nats-header.js'
import { SHARED_FROM_BYTES, sharedBytes, weighed } from '../shared-memory.js'
import type { JoiningRoom, OpenMessage } from './nats-joining.js'
import type { Sender } from './nats-subject.js'
import { MAX_MESSAGE_BYTES } from './tensor-bus.js'

/** Publishers that one subscription follows; the one that was silent longest is forgotten, and met again as if for the first time. */
const MAX_PUBLISHERS = 65_536
/** Subjects that one subscription follows of each publisher, likewise: nobody can use up another's. */
const MAX_SUBJECTS = 4_096
/** Streams of one publisher that one subscription follows under one subject: of earlier lives that run out, and of peers that share a name. */
const MAX_LIVES = 16

/** Where messages and losses go, in order. */
export interface ArrivalSink {
  message(subject: string, from: string, bytes: Uint8Array): void
  lost(count: number): void
}

/** What did not count as a message. */
export interface ArrivalCounts {
  /** Without a valid header, or with sizes that contradict each other. */
  damaged: number
  /** Numbers that have been passed already. */
  duplicates: number
}

/** One publisher's messages under one subject. */
interface Stream {
  readonly id: string
  /** The number that is expected, or being joined. */
  next: number
  joining: OpenMessage | undefined
  /** How often the connection had been away when this stream was last heard. */
  absences: number
}

/**
 * Follows every stream of a subscription: delivers each message once, in order, and tells a gap at its place with its exact count.
 * Of a publisher that it has never heard it cannot know what came before the first message: that was before the subscription.
 * Memory: a bounded number of streams, and open messages within `room`.
 */
export class NatsArrivals {
  readonly #sink: ArrivalSink
  readonly #room: JoiningRoom
  readonly #counts: ArrivalCounts
  readonly #publishers = new Map<string, Map<string, Stream[]>>()
  #absences = 0
  /** Losses told when the connection came back, ahead of the messages that show them. */
  #foretold = 0

  constructor(sink: ArrivalSink, room: JoiningRoom, counts: ArrivalCounts) {
    this.#sink = sink
    this.#room = room
    this.#counts = counts
  }

  /** Takes one part, or a message in one part, or a gap. Does not keep `bytes`. */
  accept({ subject, from }: Sender, place: Place, bytes: Uint8Array): void {
    const stream = this.#streamOf(subject, from, place)
    if (place.sequence < stream.next) {
      if (place.kind === 'message') this.#counts.duplicates++
      return
    }
    if (place.sequence > stream.next) this.#skip(stream, place.sequence)
    stream.absences = this.#absences
    if (place.kind === 'gap') return
    const { offset, size } = place
    const filled = stream.joining?.filledBytes ?? 0
    if (offset < filled) {
      this.#counts.duplicates++
      return
    }
    const isSane = size <= MAX_MESSAGE_BYTES && offset + bytes.byteLength <= size && (stream.joining?.sizeBytes ?? size) === size
    if (!isSane) this.#counts.damaged++
    if (!isSane || offset > filled) {
      this.#skip(stream, stream.next + 1)
    } else if (bytes.byteLength === size) {
      stream.next++
      this.#sink.message(subject, from, own(bytes))
    } else {
      this.#join(stream, { subject, from }, place, bytes)
    }
  }

  /** Tells at once that something may be lost: the connection was away. It counts towards what the next message of a stream shows to be missing. */
  foretell(): void {
    this.#absences++
    this.#foretold++
    this.#sink.lost(1)
  }

  /** Forgets messages of which only parts have come. */
  close(): void {
    this.#room.release(this)
  }

  #join(stream: Stream, { subject, from }: Sender, place: Place, bytes: Uint8Array): void {
    stream.joining ??= this.#room.open(this, place.size, () => this.#skip(stream, stream.next + 1))
    const { joining } = stream
    joining.append(bytes)
    if (joining.filledBytes < joining.sizeBytes) return
    this.#room.close(joining)
    stream.joining = undefined
    stream.next++
    this.#sink.message(subject, from, joining.bytes)
  }

  /** Goes on at `sequence`: what stands before it is lost. */
  #skip(stream: Stream, sequence: number): void {
    if (stream.joining) this.#room.close(stream.joining)
    stream.joining = undefined
    const count = sequence - stream.next
    // Only what is missing since the absence may have been told with it.
    const told = stream.absences === this.#absences ? 0 : Math.min(this.#foretold, count)
    this.#foretold -= told
    if (count > told) this.#sink.lost(count - told)
    stream.next = sequence
  }

  #streamOf(subject: string, from: string, { kind, stream: id, sequence, size }: Place): Stream {
    const subjects = remembered(this.#publishers, from, MAX_PUBLISHERS, () => new Map<string, Stream[]>())
    const lives = remembered(subjects, subject, MAX_SUBJECTS, () => [])
    const at = lives.findIndex((stream) => stream.id === id)
    if (at === 0) return lives[0]
    if (at > 0) {
      lives.unshift(...lives.splice(at, 1)) // the one heard last comes first
      return lives[0]
    }
    // A life that begins while this subscription listens begins at 1. Of a stranger only what it owns to have dropped is known to be missing.
    const next = lives.length > 0 ? 1 : sequence
    const missing = lives.length === 0 && kind === 'gap' ? Math.min(size, sequence - 1) : 0
    const stream: Stream = { id, next: next - missing, joining: undefined, absences: 0 }
    lives.unshift(stream)
    if (lives.length > MAX_LIVES) lives.pop()
    return stream
  }
}

/** The value under `key`, made if there is none; the key becomes the youngest, and beyond `limit` the oldest goes. */
function remembered<Value>(map: Map<string, Value>, key: string, limit: number, make: () => Value): Value {
  const value = map.get(key) ?? make()
  map.delete(key)
  if (map.size >= limit) map.delete(map.keys().next().value!)
  map.set(key, value)
  return value
}

/** The bytes for keeps: what the client hands out is a view into a socket's buffer, unaligned and several times as large, unless it was collected in shared memory. */
function own(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer instanceof SharedArrayBuffer) return weighed(bytes)
  if (bytes.byteLength < SHARED_FROM_BYTES) return new Uint8Array(bytes)
  const copy = sharedBytes(bytes.byteLength)
  copy.set(bytes)
  return copy
}
