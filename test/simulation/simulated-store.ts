/**
 * The object store of the simulated cluster: one server, which keeps its objects with the product's own file store on a disk that forgets at a
 * crash whatever was not synced; and its clients, whose requests and answers travel over the network.
 */
import { SwarmError, isSwarmError, toSwarmError } from '../../runtime/errors.js'
import { fileStore } from '../../runtime/object-store/file-store.js'
import type { ListedObject, ObjectStore, StoredObject } from '../../runtime/object-store/object-store.js'
import type { NamedPut } from '../../runtime/object-store/repeated-call.js'
import type { RandomStream } from '../../runtime/random.js'
import { type CrashingFileSystem, crashingFileSystem } from '../support/crashing-file-system.js'
import { type Network, STORE } from './network.js'
import type { Process, World } from './world.js'

/** Told of each object that has been put, before its writer is. */
export type PutTap = (key: string, bytes: Uint8Array, writer: string) => void

/** A call of the disk takes up to so long, in ms. */
const DISK_MS = 0.4
/** An answer is waited for so long, in ms. */
const ANSWER_MS = 5_000
/** The same of a state, which may be large. */
const STATE_ANSWER_MS = 60_000

export class StoreServer {
  /** Share of the requests that are refused. */
  refusedShare = 0
  /** What each request takes longer, in ms. */
  slowMs = 0
  process: Process
  readonly #world: World
  readonly #network: Network
  readonly #tap: PutTap
  readonly #stream: RandomStream
  #disk: CrashingFileSystem
  #store: ObjectStore
  /** What ends requests that are under way, and of those that a crash has cut off. */
  #underWay = new Set<() => void>()
  #cut: (() => void)[] = []
  /** Names of the puts that wrote what is there: kept with the objects, as S3 keeps metadata. */
  readonly #writers = new Map<string, { readonly putId: string; readonly etag: string }>()

  constructor(world: World, network: Network, tap: PutTap) {
    this.#world = world
    this.#network = network
    this.#tap = tap
    this.#stream = world.stream('store')
    this.process = world.spawn(STORE)
    this.#disk = crashingFileSystem(() => this.process.clock.sleep(this.#stream.uniform() * DISK_MS))
    this.#store = this.#open()
  }

  client(process: Process): ObjectStore {
    return new StoreClient(process, this)
  }

  /** As it stands on the disk, for whoever looks from outside of the simulation. */
  get objects(): ObjectStore {
    return this.#store
  }

  /** A byte of an object changes on the disk. */
  async rot(key: string, where: number): Promise<void> {
    const { bytes } = await this.#store.get(key)
    bytes[where % bytes.byteLength] ^= 1 << (where & 7)
    await this.#store.put(key, bytes)
  }

  /** The power fails; it is back after a while, with what the disk has kept. */
  crash(): void {
    this.process.kill()
    this.#cut.push(...this.#underWay)
    this.#underWay.clear()
    this.process = this.#world.spawn(STORE)
    this.process.stoppedUntil = Infinity
    this.#disk = this.#disk.crash(() => this.#stream.below(2) === 0)
    this.#store = this.#open()
  }

  restart(): void {
    this.process.stoppedUntil = 0
    // Who is back knows nothing of connections of before, and says so.
    for (const reset of this.#cut.splice(0)) reset()
  }

  /** Sends a request on its way, and its answer back. */
  request<T>(from: Process, what: string, work: (store: ObjectStore) => Promise<T>): Promise<T> {
    const isState = what.includes('/blobs/')
    const transferMs = (sender: Process, receiver: Process, method: 'put' | 'get') =>
      isState && what.startsWith(method) ? this.#network.transferMs(sender, receiver, 'state') : 0
    const server = this.process
    return new Promise((resolve, reject) => {
      const reset = () =>
        this.#world.after(1, from, () => {
          cancel()
          gone('connection reset')
        })
      this.#underWay.add(reset)
      const gone = (reason: string) => {
        this.#underWay.delete(reset)
        reject(new SwarmError('store.unavailable', { what: `${what}: ${reason}`, retryable: true }))
      }
      const cancel = from.clock.after(isState ? STATE_ANSWER_MS : ANSWER_MS, () => gone('no answer'))
      const answer = (end: () => void) => {
        const extra = this.slowMs > 0 ? this.#stream.uniform() * this.slowMs : 0
        this.#network.send(
          server,
          from,
          'store',
          () => {
            cancel()
            this.#underWay.delete(reset)
            end()
          },
          extra,
          transferMs(server, from, 'get'),
        )
      }
      if (!server.isAlive || server.stoppedUntil === Infinity) {
        this.#world.after(1, from, () => {
          cancel()
          gone('connection refused')
        })
        return
      }
      const perform = () => {
        this.#world.note(4, what.length, from.index)
        if (this.refusedShare > 0 && this.#stream.uniform() < this.refusedShare) return answer(() => gone('refused'))
        work(this.#store).then(
          (value) => answer(() => resolve(value)),
          (error: unknown) => answer(() => reject(toSwarmError(error, 'internal', what))),
        )
      }
      this.#network.send(from, server, 'store', perform, 0, transferMs(from, server, 'put'))
    })
  }

  async put(store: ObjectStore, writer: string, key: string, bytes: Uint8Array, { putId, ...options }: NamedPut) {
    try {
      const { etag } = await store.put(key, bytes, { ifMatch: options.ifMatch, ifNoneMatch: options.ifNoneMatch })
      if (putId !== undefined) this.#writers.set(key, { putId, etag })
      this.#tap(key, bytes, writer)
      return { etag }
    } catch (error) {
      const before = this.#writers.get(key)
      if (!isSwarmError(error, 'store.conflict') || putId === undefined || before?.putId !== putId) throw error
      const { etag } = await store.get(key)
      if (etag !== before.etag) throw error
      return { etag }
    }
  }

  #open(): ObjectStore {
    // Other threads have no part in simulated time.
    return fileStore({ root: '/objects', fs: this.#disk, clock: this.process.clock, hashedHereBytes: Infinity })
  }
}

class StoreClient implements ObjectStore {
  readonly #process: Process
  readonly #server: StoreServer

  constructor(process: Process, server: StoreServer) {
    this.#process = process
    this.#server = server
  }

  get(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<StoredObject> {
    return this.#request(`get ${key}`, signal, (store) => store.get(key))
  }

  put(key: string, bytes: Uint8Array, options: NamedPut = {}): Promise<{ etag: string }> {
    const copy = bytes.slice()
    const { name } = this.#process
    return this.#request(`put ${key}`, options.signal, (store) => this.#server.put(store, name, key, copy, options))
  }

  delete(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#request(`delete ${key}`, signal, (store) => store.delete(key))
  }

  async *list(prefix: string, { signal }: { signal?: AbortSignal } = {}): AsyncGenerator<ListedObject> {
    yield* await this.#request(`list ${prefix}`, signal, async (store) => {
      const all: ListedObject[] = []
      for await (const one of store.list(prefix)) all.push(one)
      return all
    })
  }

  async close(): Promise<void> {}

  async #request<T>(what: string, signal: AbortSignal | undefined, work: (store: ObjectStore) => Promise<T>): Promise<T> {
    const aborted = () => new SwarmError('aborted', { what: `${what} was aborted`, cause: signal?.reason })
    if (signal?.aborted) throw aborted()
    const answer = this.#server.request(this.#process, what, work)
    if (!signal) return answer
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(aborted())
      signal.addEventListener('abort', onAbort, { once: true })
      answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
    })
  }
}
