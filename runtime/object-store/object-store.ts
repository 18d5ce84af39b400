/** The seam to durable storage. */

/** An object as read: its bytes and the tag that `ifMatch` takes. */
export interface StoredObject {
  readonly bytes: Uint8Array
  /** Opaque; changes with every successful `put` of other bytes. */
  readonly etag: string
}

export interface PutOptions {
  /** `'*'`: only if there is no such object. */
  readonly ifNoneMatch?: '*'
  /** Only if the object still has this etag. */
  readonly ifMatch?: string
  readonly signal?: AbortSignal
}

/** One entry of a listing. */
export interface ListedObject {
  readonly key: string
  readonly sizeBytes: number
}

/**
 * Durable objects under string keys (`runs/<run>/head`).
 *
 * Implementers guarantee:
 * - a `put` is atomic and durable when it resolves: after a crash the object is the old or the new one, whole, never a mixture; so is a `delete`;
 * - a `put` that fails or is aborted leaves the old object or, where the answer was lost, the new one; with `store.conflict`, `store.full`
 *   and `store.read-only` always the old one;
 * - `ifNoneMatch` and `ifMatch` are decided atomically among all processes that use the store: of N concurrent
 *   conditional writers with the same condition exactly one succeeds, the others get `store.conflict`; so does `ifMatch` where there is no object;
 * - `get` returns the bytes of the last completed `put` (read after write), in a buffer that the caller owns;
 * - `put` stores the bytes as they are at the call: the caller may change the buffer at once, not only when the promise resolves;
 * - objects of 0 B to 100 MB; keys of `[A-Za-z0-9._/-]`, no empty or dot-only segment, at most 512 characters, else `store.invalid-key`;
 *   one key may be the folder of another (`a` and `a/b`);
 * - errors by code: `store.not-found`, `store.conflict`, `store.full`, `store.read-only`, `store.unavailable` (its `retryable` says whether
 *   the same call may succeed later), `aborted`;
 * - a write whose durability is in doubt (a failed fsync) is never reported as done and is never retried on the same file:
 *   the store refuses everything afterwards, as after a crash.
 */
export interface ObjectStore {
  /** @throws `store.not-found` */
  get(key: string, options?: { signal?: AbortSignal }): Promise<StoredObject>
  /** Stores a copy of `bytes`. @throws `store.conflict` if a condition does not hold */
  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<{ etag: string }>
  /** Resolves whether or not there was such an object. */
  delete(key: string, options?: { signal?: AbortSignal }): Promise<void>
  /**
   * Lists the objects whose key starts with `prefix`, in ascending order of keys (by UTF-16 code unit): any string, which need not end at a slash;
   * one that no key starts with lists nothing. An object that is there during the whole listing is in it, once; one that comes or goes meanwhile may be.
   */
  list(prefix: string, options?: { signal?: AbortSignal }): AsyncIterable<ListedObject>
  /** Waits for what is under way; later calls are refused with `store.unavailable`. */
  close(): Promise<void>
}

/** The longest key that a store accepts, in characters. */
export const MAX_KEY_LENGTH = 512
