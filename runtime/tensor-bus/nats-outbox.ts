/** The sending half of NatsBus: numbers messages, cuts them to the broker's size, and sheds what cannot be sent without growing memory. */
import { randomBytes } from 'node:crypto'
import { encodePlace, HEADER_BYTES } from './nats-header.js'
import { publishedAs } from './nats-subject.js'
import { MAX_MESSAGE_BYTES } from './tensor-bus.js'

/** What an outbox sends through. */
export interface OutboxLink {
  /** Whether the broker is there to take messages. */
  readonly isUp: boolean
  /** The most bytes of one NATS message, header included. */
  readonly maxPayloadBytes: number
  /** Hands one NATS message over; false if the connection is gone. */
  send(wire: string, place: string, bytes: Uint8Array): boolean
  /** Resolves when the broker has taken all that was sent; rejects if the connection went away first. */
  acknowledged(): Promise<void>
}

/** The most bytes that wait for a broker that does not take them: one of the largest messages. More is dropped, which receivers see by number. */
export const MAX_UNSENT_BYTES = MAX_MESSAGE_BYTES
/** The broker is asked how far it has come each time so much more was sent: rarely enough to cost nothing. */
const ASK_EVERY_BYTES = 1024 * 1024
/** Subjects whose numbers are kept; the one unused longest goes, and begins a new stream if it comes back. */
const MAX_SUBJECTS = 65_536
const NOTHING = new Uint8Array(0)

/** All that was published under one subject. */
interface Line {
  readonly wire: string
  readonly stream: string
  next: number
  /** Messages that were not sent and of which no receiver has been told. */
  dropped: number
}

export interface OutboxCounts {
  /** Messages that were not sent: the broker was away, or too slow for too long. */
  dropped: number
}

/** Publishes for one peer. Nothing here waits or throws, except for a subject that makes no sense. */
export class NatsOutbox {
  readonly #name: string
  readonly #link: OutboxLink
  readonly #counts: OutboxCounts
  readonly #maxUnsentBytes: number
  readonly #lines = new Map<string, Line>()
  /** Ten random digits of this life of the peer; six more count its lines. */
  readonly #life = randomBytes(5).toString('hex')
  #linesMade = 0
  #unsentBytes = 0
  #sentSinceAsked = 0
  #isAsking = false
  #mustTell = false

  constructor(name: string, link: OutboxLink, counts: OutboxCounts, maxUnsentBytes = MAX_UNSENT_BYTES) {
    this.#name = name
    this.#link = link
    this.#counts = counts
    this.#maxUnsentBytes = maxUnsentBytes
  }

  /** Sends a message, in parts if it must, or drops it and remembers that. @throws `usage` (subject) */
  publish(subject: string, bytes: Uint8Array): void {
    const line = this.#lineOf(subject)
    const sequence = line.next++
    const isFull = this.#unsentBytes > 0 && this.#unsentBytes + bytes.byteLength > this.#maxUnsentBytes
    if (isFull || !this.#link.isUp || !this.#send(line, sequence, bytes)) {
      line.dropped++
      this.#counts.dropped++
      this.#mustTell = true
      return
    }
    this.#unsentBytes += bytes.byteLength
    this.#sentSinceAsked += bytes.byteLength
    if (this.#sentSinceAsked >= ASK_EVERY_BYTES) this.#ask()
  }

  /** Begins again after the connection was away: tells receivers how far each subject had come, so that a lost last message is missed too. */
  resume(): void {
    this.#unsentBytes = 0
    this.#sentSinceAsked = 0
    this.#mustTell = false
    for (const line of this.#lines.values()) this.#tell(line)
  }

  #send({ wire, stream }: Line, sequence: number, bytes: Uint8Array): boolean {
    const size = bytes.byteLength
    const partBytes = Math.max(1, this.#link.maxPayloadBytes - HEADER_BYTES)
    let offset = 0
    do {
      const part = size <= partBytes ? bytes : bytes.subarray(offset, offset + partBytes)
      if (!this.#link.send(wire, encodePlace({ kind: 'message', stream, sequence, offset, size }), part)) return false
      offset += partBytes
    } while (offset < size)
    return true
  }

  #tell(line: Line): void {
    const { wire, stream, next: sequence } = line
    const size = Math.min(line.dropped, 0xffff_ffff)
    if (this.#link.send(wire, encodePlace({ kind: 'gap', stream, sequence, offset: 0, size }), NOTHING)) line.dropped = 0
  }

  /** Asks how far the broker has come, unless a question is under way. */
  #ask(): void {
    if (this.#isAsking) return
    this.#isAsking = true
    const asked = this.#unsentBytes
    this.#sentSinceAsked = 0
    this.#link.acknowledged().then(
      () => {
        this.#isAsking = false
        this.#unsentBytes = Math.max(0, this.#unsentBytes - asked)
        if (this.#mustTell) this.#tellDropped()
        if (this.#sentSinceAsked >= ASK_EVERY_BYTES) this.#ask()
      },
      () => {
        this.#isAsking = false // `resume` begins again
      },
    )
  }

  #tellDropped(): void {
    this.#mustTell = false
    for (const line of this.#lines.values()) if (line.dropped > 0) this.#tell(line)
  }

  #lineOf(subject: string): Line {
    const known = this.#lines.get(subject)
    if (known) {
      // Kept in order of use; the youngest needs no move.
      if (this.#lines.size === MAX_SUBJECTS) {
        this.#lines.delete(subject)
        this.#lines.set(subject, known)
      }
      return known
    }
    const wire = publishedAs(subject, this.#name)
    const count = (this.#linesMade++ & 0xff_ffff).toString(16).padStart(6, '0')
    const line: Line = { wire, stream: `${this.#life}${count}`, next: 1, dropped: 0 }
    if (this.#lines.size >= MAX_SUBJECTS) this.#lines.delete(this.#lines.keys().next().value!)
    this.#lines.set(subject, line)
    return line
  }
}
