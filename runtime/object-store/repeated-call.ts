import type { PutOptions } from './object-store.js'

/**
 * A put with a name of its own, so that it can be repeated after an answer was lost.
 *
 * A store that works over a network promises: a conditional put whose object on the server was written by a put of this very name counts as done,
 * not as a conflict. So a caller that got `store.unavailable` may repeat the put under the same name, and a success is never taken for somebody
 * else's. Without a name each call is its own put. Stores that lose no answers ignore it.
 */
export interface NamedPut extends PutOptions {
  /** Random, `[A-Za-z0-9-]`, at most 64 characters; never used again for another put. */
  readonly putId?: string
}

/** A listing that goes on after a key, so that it can be taken up again. Stores that ignore `after` start at the beginning. */
export interface ListOptions {
  readonly after?: string
  readonly signal?: AbortSignal
}

const PUT_ID = /^[A-Za-z0-9-]{1,64}$/

/** True if `text` can be the name of a put. */
export function isPutId(text: string): boolean {
  return PUT_ID.test(text)
}

/** True if `etag` may be sent in a header without becoming a list, a wildcard or another header. No store gives other ones. */
export function isPlainEtag(etag: string): boolean {
  return etag.length <= 256 && /^[\w.:+/=-]+$/.test(etag)
}
