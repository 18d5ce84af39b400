/** The small messages between VNodes: credits and greetings. JSON with a version; golden bytes in test/runtime/signal.test.ts. */
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

export function encodeSignal(signal: Signal): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ v: SIGNAL_VERSION, ...signal }))
}

/** @throws `frame.damaged`, `frame.version` */
export function decodeSignal(bytes: Uint8Array): Signal {
  let value: Signal & { v: number }
  try {
    value = JSON.parse(new TextDecoder().decode(bytes))
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
