/**
 * What NatsBus writes before each message, as one NATS header of fixed size: which message of which stream this is, and which
 * part of it. Golden text is in test/runtime/nats-header.test.ts.
 *
 *     Sg: 1m 00c0ffee00000001 00000000002a 00000000 00080000
 *         || stream           sequence     offset   size
 *         |kind: m, a message or a part of one; g, a gap: no message, only the news that `sequence` comes next
 *         version
 */

/** The header's name. */
export const HEADER_NAME = 'Sg'
/** Bytes that the header adds to every part: the NATS preamble, the line and the blank line. */
export const HEADER_BYTES = 'NATS/1.0\r\nSg: \r\n\r\n'.length + '1m '.length + 16 + 1 + 12 + 1 + 8 + 1 + 8

/** The largest sequence number that a header can carry: 48 bits. */
const MAX_SEQUENCE = 0xffff_ffff_ffff
const LINE = /^1([mg]) ([0-9a-f]{16}) ([0-9a-f]{12}) ([0-9a-f]{8}) ([0-9a-f]{8})$/

/** The place of a part among all that a publisher sends under a subject. */
export interface Place {
  /** `message`: these bytes. `gap`: none; every message before `sequence` was published, arrived or not. */
  readonly kind: 'message' | 'gap'
  /** 16 hexadecimal digits that no other publisher, and no earlier life of this one, uses under this subject. */
  readonly stream: string
  /** Number of the message within its stream, from 1 to 2^48 − 1; of a gap, the number that comes next. */
  readonly sequence: number
  /** Where these bytes stand in the message; of a gap, 0. */
  readonly offset: number
  /** Bytes of the whole message; of a gap, how many messages the publisher itself dropped, at most 2^32 − 1. */
  readonly size: number
}

/** The header's value. */
export function encodePlace({ kind, stream, sequence, offset, size }: Place): string {
  return `1${kind === 'message' ? 'm' : 'g'} ${stream} ${hex(sequence, 12)} ${hex(offset, 8)} ${hex(size, 8)}`
}

/** The place that a header's value names, or undefined if it is none of this version. */
export function decodePlace(value: string): Place | undefined {
  const match = LINE.exec(value)
  if (!match) return undefined
  const [, kind, stream, sequence, offset, size] = match
  const place: Place = {
    kind: kind === 'm' ? 'message' : 'gap',
    stream,
    sequence: Number.parseInt(sequence, 16),
    offset: Number.parseInt(offset, 16),
    size: Number.parseInt(size, 16),
  }
  return place.sequence > 0 && place.sequence <= MAX_SEQUENCE ? place : undefined
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
