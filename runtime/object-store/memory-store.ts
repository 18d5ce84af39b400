import { checkKey, checkSignal, closedError, conflictError, notFoundError } from './object-key.js'
import type { ListedObject, ObjectStore, PutOptions, StoredObject } from './object-store.js'

/** What a memory store holds, apart from the store: it outlives the store that is closed, as a disk outlives a process. */
export interface MemoryObjects {
  readonly entries: Map<string, StoredObject>
  /** How many puts there were: the source of etags, so equal histories give equal etags. */
  puts: number
}

/** An empty set of objects, to share between memory stores. */
export function memoryObjects(): MemoryObjects {
  return { entries: new Map(), puts: 0 }
}

/** A store in this process's memory, for tests, verification and simulations: no I/O, no timers, the same turn of the event loop. */
export function memoryStore({ objects = memoryObjects() }: { readonly objects?: MemoryObjects } = {}): ObjectStore {
  return new MemoryStore(objects)
}

/** Each call does its work synchronously, so it needs no locks; promises only carry the result. */
class MemoryStore implements ObjectStore {
  readonly #objects: MemoryObjects
  #closed = false

  constructor(objects: MemoryObjects) {
    this.#objects = objects
  }

  async get(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<StoredObject> {
    this.#admit(signal)
    const object = this.#objects.entries.get(checkKey(key))
    if (!object) throw notFoundError(key)
    return { bytes: new Uint8Array(object.bytes), etag: object.etag }
  }

  async put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<{ etag: string }> {
    this.#admit(options.signal)
    const old = this.#objects.entries.get(checkKey(key))
    const isRefused = (options.ifNoneMatch && old) || (options.ifMatch !== undefined && options.ifMatch !== old?.etag)
    if (isRefused) throw conflictError(key, old?.etag, options)
    const etag = String(++this.#objects.puts)
    this.#objects.entries.set(key, { bytes: new Uint8Array(bytes), etag })
    return { etag }
  }

  async delete(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    this.#admit(signal)
    this.#objects.entries.delete(checkKey(key))
  }

  async *list(prefix: string, { signal }: { signal?: AbortSignal } = {}): AsyncGenerator<ListedObject> {
    this.#admit(signal)
    const keys = [...this.#objects.entries.keys()].filter((key) => key.startsWith(prefix)).sort()
    for (const key of keys) {
      this.#admit(signal)
      const object = this.#objects.entries.get(key)
      if (object) yield { key, sizeBytes: object.bytes.length }
    }
  }

  async close(): Promise<void> {
    this.#closed = true
  }

  #admit(signal: AbortSignal | undefined): void {
    if (this.#closed) throw closedError()
    checkSignal(signal)
  }
}
