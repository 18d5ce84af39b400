/**
 * Objects over HTTP, as `httpStore` asks and `storeRoutes` answers.
 *
 *     GET    /v1/store?prefix=…&after=…   { objects: [{ key, sizeBytes }], isLast }, at most 1,000 in order, all after the key `after`
 *     GET    /v1/store/<key>              the bytes, with ETag; HEAD likewise
 *     PUT    /v1/store/<key>              with If-None-Match: * or If-Match: "<etag>" as its condition; answers with ETag
 *     DELETE /v1/store/<key>              204, whether or not there was one
 *
 * `Authorization: Bearer <token>` on each. `Swarmgrad-Put` names a put, so that one whose answer was lost can be repeated. A PUT with
 * `Swarmgrad-Ask` has no body: 204 says that it may be sent here. Instead of bytes any GET, HEAD and PUT may be answered by 307 with the address
 * to ask in `Location` and the headers to send there, and no others, as JSON in `Swarmgrad-Headers`: the token does not leave with it.
 *
 * The body of an error is the JSON of a SwarmError: code, message, retryable.
 */
import { SwarmError, type ErrorCode, type ErrorRecord } from '../errors.js'
import type { ListedObject } from './object-store.js'

export const STORE_PATH = '/v1/store'
export const PUT_ID = 'swarmgrad-put'
export const ASK = 'swarmgrad-ask'
export const SEND_HEADERS = 'swarmgrad-headers'

/** How many objects one answer lists. */
export const PAGE_LENGTH = 1000

/** One answer to a listing. */
export interface ListPage {
  readonly objects: readonly ListedObject[]
  readonly isLast: boolean
}

/** 503 where a code has none and the same call may succeed later, else 500. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  usage: 400,
  'store.invalid-key': 400,
  'cluster.token': 401,
  'store.denied': 403,
  'message.unsigned': 401,
  'message.signature': 401,
  'message.denied': 403,
  'message.damaged': 400,
  'message.version': 400,
  'message.too-large': 413,
  'store.read-only': 403,
  'store.not-found': 404,
  'host.unknown': 404,
  'host.lost': 409,
  'store.conflict': 412,
  'store.too-large': 413,
  'store.full': 507,
}

/** The status that goes with an error. */
export function statusOf({ code, retryable }: ErrorRecord): number {
  return STATUS[code] ?? (retryable ? 503 : 500)
}

/** The error in an answer; where somebody else answered, a proxy for instance, what its status says. @param where what was asked for */
export function errorOfAnswer(status: number, body: string, where: string): SwarmError {
  const record = parseRecord(body)
  if (record) return SwarmError.from(record)
  const parts = { where, got: `status ${status}${body ? `: ${body.slice(0, 200)}` : ''}` }
  if (status === 401)
    return new SwarmError('cluster.token', { ...parts, what: 'the token is not accepted', fix: 'Ask for a new one and join again' })
  if (status === 403) return new SwarmError('store.denied', { ...parts, what: 'this object is not ours' })
  if (status === 413) return new SwarmError('store.too-large', { ...parts, what: 'the object is too large for the server' })
  if (status === 404 || status === 405)
    return new SwarmError('store.unavailable', { ...parts, what: 'no object store is served here', fix: 'Check the address' })
  const retryable = status >= 500 || status === 408 || status === 429
  return new SwarmError('store.unavailable', { ...parts, what: 'the object store failed', retryable })
}

function parseRecord(body: string): ErrorRecord | undefined {
  try {
    const { code, message, retryable } = JSON.parse(body) as Partial<ErrorRecord>
    if (typeof code === 'string' && typeof message === 'string') return { code, message, retryable: retryable === true }
  } catch {
    // Not ours.
  }
}

/** A tag as HTTP writes it. */
export function quoteEtag(etag: string): string {
  return `"${etag}"`
}

/** The tag in a header that `quoteEtag`, or an S3 server, wrote. */
export function unquoteEtag(header: string): string {
  return header.replace(/^(W\/)?"|"$/g, '')
}
