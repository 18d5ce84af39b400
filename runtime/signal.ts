/** The small messages between VNodes: credits and greetings. JSON with a version and a checksum; golden bytes in test/runtime/signal.test.ts. */
import { crc32 } from 'node:zlib'
import { SwarmError } from './errors.js'

export const SIGNAL_VERSION = 1

/** What a VNode tells its producers (credit) or consumers (hello). */
export type Signal =
  | {
      readonly type: 'credit'
      readonly vnode: string
      readonly generation: number
      readonly term: number
      readonly next: number
      readonly upTo: number
      readonly resend: boolean
    }
  | { readonly type: 'hello'; readonly vnode: string; readonly generation: number; readonly term: number }

/** JSON, and behind it the CRC-32 of it, as 8 hexadecimal digits: a flipped digit is a digit too. */
export function encodeSignal(signal: Signal): Uint8Array {
  const text = JSON.stringify({ v: SIGNAL_VERSION, ...signal })
  return encoder.encode(text + sumOf(text))
}

const SUM_DIGITS = 8
const encoder = new TextEncoder()
const decoder = new TextDecoder()
const sumOf = (text: string): string => crc32(text).toString(16).padStart(SUM_DIGITS, '0')

/** @throws `frame.damaged`, `frame.version` */
export function decodeSignal(bytes: Uint8Array): Signal {
  let value: Signal & { v: number }
  try {
    const text = decoder.decode(bytes)
    const json = text.slice(0, -SUM_DIGITS)
    if (sumOf(json) !== text.slice(-SUM_DIGITS)) throw new SyntaxError('checksum')
    value = JSON.parse(json)
  } catch (cause) {
    throw new SwarmError('frame.damaged', { what: 'unreadable signal', retryable: true, cause })
  }
  if (value?.v !== SIGNAL_VERSION)
    throw new SwarmError('frame.version', { what: 'signal of an unknown version', expected: SIGNAL_VERSION, got: String(value?.v) })
  const numbers = value.type === 'credit' ? [value.generation, value.term, value.next, value.upTo] : [value.generation, value.term]
  const isKnown = value.type === 'hello' || (value.type === 'credit' && typeof value.resend === 'boolean')
  const isValid = isKnown && typeof value.vnode === 'string' && numbers.every((number) => Number.isSafeInteger(number) && number >= 0)
  if (!isValid) throw new SwarmError('frame.damaged', { what: 'signal with missing fields', retryable: true })
  return value
}

/**
 * Frames and signals go to `sg.<run>.to.<host>.<vnode>.<kind>`. Who speaks is the bus's to say: on a broker it stands behind the subject,
 * `….from.<host>`, where the broker's permissions bind it.
 */
export function subjectOf(run: string, host: string, vnode: string, kind: 'frame' | 'signal'): string {
  return `sg.${run}.to.${host}.${vnode}.${kind}`
}
