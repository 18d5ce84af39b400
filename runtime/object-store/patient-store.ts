import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { Clock } from '../clock.js'
import { isSwarmError, type SwarmError } from '../errors.js'
import { checkKey } from './object-key.js'
import type { ListedObject, ObjectStore, StoredObject } from './object-store.js'
import type { ListOptions, NamedPut } from './repeated-call.js'
import { StoreCalls } from './store-calls.js'

export interface PatientStoreOptions {
  readonly clock: Clock
  /** Told of each failure that is waited over, with how long: a store that is silent for ever is nobody's wish. */
  readonly onWait?: (error: SwarmError, delayMs: number) => void
}

/** A server that hiccups is back at once; one that restarts needs seconds, and then shall not meet all hosts in the same instant. */
export const FIRST_DELAY_MS = 20
const LAST_DELAY_MS = 2000

/**
 * The same store, for those who can wait: a call that fails with a retryable `store.unavailable` or `store.full` is repeated, ever more slowly, until it
 * succeeds, fails for another reason, its signal is aborted or the store is closed. A VNode is not lost because MinIO is started again, or wants a larger disk.
 *
 * A put is repeated under one name (`NamedPut`): a conditional one whose success went unheard finds its own work and is done, so repeating it is
 * as safe as doing it once. An unconditional one is done again. A listing goes on after the last key that it gave.
 */
export function patientStore(store: ObjectStore, options: PatientStoreOptions): ObjectStore {
  return new PatientStore(store, options)
}

class PatientStore implements ObjectStore {
  readonly #store: ObjectStore
  readonly #clock: Clock
  readonly #onWait: PatientStoreOptions['onWait']
  readonly #calls = new StoreCalls()
  /** Ends the waits, not the calls. */
  readonly #closing = new AbortController()

  constructor(store: ObjectStore, { clock, onWait }: PatientStoreOptions) {
    this.#store = store
    this.#clock = clock
    // Every call that waits for a store that is away waits for its end, too.
    setMaxListeners(0, this.#closing.signal)
    this.#onWait = onWait
  }

  get(key: string, options: { signal?: AbortSignal } = {}): Promise<StoredObject> {
    return this.#calls.run(key, options.signal, () => this.#insist(options.signal, () => this.#store.get(key, options)))
  }

  put(key: string, bytes: Uint8Array, options: NamedPut = {}): Promise<{ etag: string }> {
    return this.#calls.run(key, options.signal, () => {
      const copy = new Uint8Array(bytes)
      const named: NamedPut = { ...options, putId: options.putId ?? randomUUID() }
      return this.#insist(options.signal, () => this.#store.put(key, copy, named))
    })
  }

  delete(key: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#calls.run(key, options.signal, () => this.#insist(options.signal, () => this.#store.delete(key, options)))
  }

  async *list(prefix: string, { after, signal }: ListOptions = {}): AsyncGenerator<ListedObject> {
    let last = after
    const begin = () => {
      const options: ListOptions = { signal, ...(last !== undefined && { after: checkKey(last) }) }
      return this.#store.list(prefix, options)[Symbol.asyncIterator]()
    }
    let listing = begin()
    for (;;) {
      const next = await this.#calls.run(undefined, signal, () =>
        this.#insist(signal, async () => {
          try {
            return await listing.next()
          } catch (error) {
            listing = begin()
            throw error
          }
        }),
      )
      if (next.done) return
      // One that ignores `after` begins at the beginning.
      if (last !== undefined && next.value.key <= last) continue
      last = next.value.key
      yield next.value
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#calls.close()
    await this.#store.close()
  }

  async #insist<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(2 * delayMs, LAST_DELAY_MS)) {
      try {
        return await work()
      } catch (error) {
        if (!isSwarmError(error, 'store.unavailable', 'store.full') || !error.retryable) throw error
        this.#onWait?.(error, delayMs)
        if (await this.#isClosedBefore(delayMs, signal)) throw error
      }
    }
  }

  /** Waits. True if the store is closed; rejects if the signal is aborted. */
  async #isClosedBefore(delayMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    const { signal: closing } = this.#closing
    const either = new AbortController()
    const onAbort = () => either.abort()
    if (closing.aborted || signal?.aborted) either.abort()
    closing.addEventListener('abort', onAbort, { once: true })
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await this.#clock.sleep(delayMs, either.signal)
      return false
    } catch (error) {
      if (closing.aborted && !signal?.aborted) return true
      throw error
    } finally {
      closing.removeEventListener('abort', onAbort)
      signal?.removeEventListener('abort', onAbort)
    }
  }
}
