/** A store whose writes are refused, or slow, for a while. */
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { RandomStream } from '../../runtime/random.js'

export interface ShakyStore {
  readonly store: ObjectStore
  /** Share of the writes that are refused now, 0 to 1. */
  refusedShare: number
  /** How much longer a write takes now at most, in ms. */
  slowMs: number
}

/** @param stream decides which writes, in the order in which they are made */
export function shakyStore(inner: ObjectStore, stream: RandomStream): ShakyStore {
  const shake = async (key: string) => {
    if (made.slowMs > 0) await systemClock.sleep(stream.below(made.slowMs))
    if (stream.uniform() >= made.refusedShare) return
    throw new SwarmError('store.unavailable', { what: 'the store refuses', where: key, retryable: true })
  }
  const made: ShakyStore = {
    refusedShare: 0,
    slowMs: 0,
    store: {
      get: (key, options) => inner.get(key, options),
      async put(key, bytes, options) {
        const own = bytes.slice()
        await shake(key)
        return inner.put(key, own, options)
      },
      async delete(key, options) {
        await shake(key)
        await inner.delete(key, options)
      },
      list: (prefix, options) => inner.list(prefix, options),
      close: () => inner.close(),
    },
  }
  return made
}
