/** JSON as the only way a value enters or leaves an actor. */
import { SwarmError } from '../errors.js'
import type { ErrorCode } from '../errors.js'
import { MAX_CALL_BYTES } from './actor-system.js'
import type { Json } from './actor-system.js'

/** The JSON text of `value`; an absent one is `null`. @throws `code` if it has none (a cycle, a BigInt, a function) */
export function toText(value: unknown, what: string, code: ErrorCode): string {
  let text: string | undefined
  let cause: unknown
  try {
    text = JSON.stringify(value ?? null)
  } catch (error) {
    cause = error
  }
  if (text === undefined) throw new SwarmError(code, { what: `${what} is not JSON`, got: typeof value, cause })
  return text
}

/** The JSON text of an argument or a result. @throws `code` if it is not JSON, `actor.too-large` beyond MAX_CALL_BYTES of UTF-8 */
export function toCallText(value: unknown, what: string, code: ErrorCode): string {
  const text = toText(value, what, code)
  const sizeBytes = Buffer.byteLength(text)
  if (sizeBytes > MAX_CALL_BYTES) {
    throw new SwarmError('actor.too-large', {
      what: `${what} is too large`,
      expected: `at most ${MAX_CALL_BYTES} bytes of JSON`,
      got: sizeBytes,
    })
  }
  return text
}

/** A value of the caller's own from what `toText` gave. */
export function fromText(text: string): Json {
  return JSON.parse(text) as Json
}
