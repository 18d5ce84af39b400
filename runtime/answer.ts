/** How a result or an error travels back to a caller in another process. Golden bytes in test/runtime/answer.test.ts. */
import { SwarmError } from './errors.js'
import type { ErrorRecord } from './errors.js'
import { MAX_CALL_BYTES } from './actor-system/actor-system.js'
import type { Json } from './actor-system/actor-system.js'
import { toText } from './actor-system/json-copy.js'

/** Of the wire form `{"v":1,"ok":…}` or `{"v":1,"error":{…}}`. */
export const ANSWER_VERSION = 1

type Answer = { readonly v?: unknown; readonly ok?: Json; readonly error?: unknown }

export function resultAnswer(result: Json): string {
  return `{"v":${ANSWER_VERSION},"ok":${toText(result, 'the result', 'actor.failed')}}`
}

export function errorAnswer(error: SwarmError): string {
  return JSON.stringify({ v: ANSWER_VERSION, error: error.toJSON() })
}

/** The result that was answered. @throws the error that was answered, `actor.failed` for what is no answer, `actor.too-large` */
export function unwrapAnswer(text: string, what: string): Json {
  let answer: Answer | null
  try {
    answer = JSON.parse(text) as Answer | null
  } catch (cause) {
    throw new SwarmError('actor.failed', { what: 'an answer that is no JSON', where: what, cause })
  }
  if (answer?.v !== ANSWER_VERSION) {
    const got = String(answer?.v)
    throw new SwarmError('actor.failed', { what: 'an answer of another version', where: what, expected: ANSWER_VERSION, got })
  }
  const { ok, error } = answer
  if (isErrorRecord(error)) throw SwarmError.from(error)
  if (ok === undefined) throw new SwarmError('actor.failed', { what: 'an answer with neither result nor error', where: what })
  if (Buffer.byteLength(text) > MAX_CALL_BYTES + ENVELOPE_BYTES) {
    throw new SwarmError('actor.too-large', { what: 'the result is too large', where: what, expected: `at most ${MAX_CALL_BYTES} bytes` })
  }
  return ok
}

/** What the form adds to a result. */
const ENVELOPE_BYTES = Buffer.byteLength(resultAnswer(0)) - 1

function isErrorRecord(value: unknown): value is ErrorRecord {
  const { code, message, retryable } = (value ?? {}) as { [name: string]: unknown }
  return typeof code === 'string' && typeof message === 'string' && typeof retryable === 'boolean'
}
