import { SwarmError } from '../errors.js'
import { MAX_KEY_LENGTH } from './object-store.js'

const SEGMENT = /^[A-Za-z0-9._-]+$/
const ONLY_DOTS = /^\.+$/

/** True if `segment` may stand between two slashes of a key. */
export function isKeySegment(segment: string): boolean {
  return SEGMENT.test(segment) && !ONLY_DOTS.test(segment)
}

/**
 * Returns `key` if it is one that every store accepts: nothing in it can leave a store's root or mean something to a server.
 * @throws SwarmError `store.invalid-key`
 */
export function checkKey(key: string): string {
  if (key.length <= MAX_KEY_LENGTH && key.split('/').every(isKeySegment)) return key
  throw new SwarmError('store.invalid-key', {
    what: 'not a key of an object store',
    expected: `1 to ${MAX_KEY_LENGTH} characters, segments of [A-Za-z0-9._-] that are not only dots, divided by single slashes`,
    got: JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}… (${key.length} characters)` : key),
  })
}

/** The error of a call whose signal says stop. */
export function abortedError(signal: AbortSignal): SwarmError {
  return new SwarmError('aborted', { what: 'the call to the object store was aborted', cause: signal.reason })
}

/** @throws SwarmError `aborted` */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortedError(signal)
}

/** The error of every call after `close`. */
export function closedError(): SwarmError {
  return new SwarmError('store.unavailable', { what: 'the object store is closed' })
}

/** The error of a `put` whose condition does not hold. */
export function conflictError(key: string, got: string | undefined, options: { ifNoneMatch?: '*'; ifMatch?: string }): SwarmError {
  return new SwarmError('store.conflict', {
    what: 'the condition of a put does not hold',
    where: key,
    expected: options.ifNoneMatch ? 'no such object' : `etag ${options.ifMatch}`,
    got: got === undefined ? 'no such object' : `etag ${got}`,
  })
}

/** The error of a `get` of what is not there. */
export function notFoundError(key: string): SwarmError {
  return new SwarmError('store.not-found', { what: 'no such object', where: key })
}
