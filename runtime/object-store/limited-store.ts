/** A store whose objects go out at a limited rate. */
import type { Clock } from '../clock.js'
import type { RateLimit } from '../rate-limit.js'
import { abortedError, checkSignal } from './object-key.js'
import type { ObjectStore } from './object-store.js'

/** `store`, with puts that wait until `limit` has room for them. */
export function limitedStore(store: ObjectStore, limit: RateLimit, clock: Clock): ObjectStore {
  const waiting = new Set<Promise<unknown>>()
  return {
    get: (key, options) => store.get(key, options),
    async put(key, bytes, options) {
      checkSignal(options?.signal)
      const waitMs = limit.reserve(bytes.byteLength)
      if (waitMs === 0) return store.put(key, bytes, options)
      // The caller may change its buffer meanwhile.
      const copy = bytes.slice()
      const put = async () => {
        try {
          await clock.sleep(waitMs, options?.signal)
        } catch (error) {
          throw options?.signal?.aborted ? abortedError(options.signal) : error
        }
        return store.put(key, copy, options)
      }
      const putting = put()
      waiting.add(putting)
      try {
        return await putting
      } finally {
        waiting.delete(putting)
      }
    },
    delete: (key, options) => store.delete(key, options),
    list: (prefix, options) => store.list(prefix, options),
    async close() {
      await Promise.allSettled(waiting)
      await store.close()
    },
  }
}
