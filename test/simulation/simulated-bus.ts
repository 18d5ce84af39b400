/** The tensor bus of simulated processes. */
import { SwarmError } from '../../runtime/errors.js'
import { MemorySubscription } from '../../runtime/tensor-bus/memory-subscription.js'
import type { SubscribeOptions, Subscription, TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import type { Arrival, Network } from './network.js'
import type { Process, World } from './world.js'

interface Reader {
  readonly process: Process
  readonly subscription: MemorySubscription
  /** Messages that did not come, and of which it will be told when another one does. */
  missed: number
}

/** Sees every frame and signal that arrives, before it is read. */
export type Tap = (message: { readonly from: string; readonly to: string; readonly subject: string; readonly bytes: Uint8Array }) => void

export class SimulatedBroker {
  readonly #world: World
  readonly #network: Network
  readonly #exact = new Map<string, Set<Reader>>()
  /** By the prefix before `.>`. */
  readonly #wild = new Map<string, Set<Reader>>()
  /** Readers by subject, until somebody comes or goes. */
  readonly #routes = new Map<string, readonly Reader[]>()
  readonly #tap: Tap

  constructor(world: World, network: Network, tap: Tap) {
    this.#world = world
    this.#network = network
    this.#tap = tap
  }

  connect(process: Process): TensorBus {
    return new SimulatedBus(process, this)
  }

  add(subject: string, reader: Reader): () => void {
    const isWild = subject.endsWith('.>')
    const map = isWild ? this.#wild : this.#exact
    const key = isWild ? subject.slice(0, -2) : subject
    const readers = map.get(key) ?? new Set()
    map.set(key, readers.add(reader))
    this.#routes.clear()
    return () => {
      this.#routes.clear()
      readers.delete(reader)
      if (readers.size === 0 && map.get(key) === readers) map.delete(key)
    }
  }

  publish(from: Process, subject: string, bytes: Uint8Array): void {
    for (const reader of this.#routes.get(subject) ?? this.#route(subject)) this.#send(from, reader, subject, bytes)
  }

  #route(subject: string): readonly Reader[] {
    const readers = [...(this.#exact.get(subject) ?? [])]
    for (let dot = subject.lastIndexOf('.'); dot > 0; dot = subject.lastIndexOf('.', dot - 1))
      readers.push(...(this.#wild.get(subject.slice(0, dot)) ?? []))
    this.#routes.set(subject, readers)
    return readers
  }

  #send(from: Process, reader: Reader, subject: string, bytes: Uint8Array): void {
    const extraMs = subject.endsWith('.frame') ? this.#network.transferMs(from, reader.process, 'frame') : 0
    this.#network.publish(from, reader.process, (arrival) => this.#arrive(from, reader, subject, bytes, arrival), extraMs)
  }

  #arrive(from: Process, reader: Reader, subject: string, bytes: Uint8Array, arrival: Arrival): void {
    const { process, subscription } = reader
    this.#world.note(2, bytes.byteLength, from.index)
    // A gap is found by what comes after it; of half of them nobody hears until somebody misses something.
    if (arrival.isLost) {
      if (this.#world.events % 2 === 0) reader.missed++
      return
    }
    if (reader.missed > 0) subscription.lose(reader.missed)
    reader.missed = 0
    const arrived = arrival.isCorrupted ? corrupted(bytes, this.#world.events) : bytes
    this.#tap({ from: from.name, to: process.name, subject, bytes: arrived })
    subscription.offer(subject, from.name, arrived)
  }
}

/** A copy with one bit flipped. */
function corrupted(bytes: Uint8Array, where: number): Uint8Array {
  const copy = bytes.slice()
  if (copy.length > 0) copy[where % copy.length] ^= 1 << (where & 7)
  return copy
}

class SimulatedBus implements TensorBus {
  readonly closed: Promise<Error | undefined>
  readonly #process: Process
  readonly #broker: SimulatedBroker
  readonly #mine = new Set<MemorySubscription>()
  #isClosed = false
  #resolveClosed: () => void = () => {}

  constructor(process: Process, broker: SimulatedBroker) {
    this.#process = process
    this.#broker = broker
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = () => resolve(undefined)
    })
    process.onDeath(() => {
      for (const subscription of this.#mine) subscription.unsubscribe()
    })
  }

  publish(subject: string, bytes: Uint8Array): void {
    this.#assertOpen(subject)
    this.#broker.publish(this.#process, subject, bytes)
  }

  subscribe(subject: string, { capacity, signal }: SubscribeOptions): Subscription {
    this.#assertOpen(subject)
    const subscription = new MemorySubscription(subject, capacity, () => {
      signal?.removeEventListener('abort', onAbort)
      remove()
      this.#mine.delete(subscription)
    })
    const onAbort = () => subscription.unsubscribe()
    const remove = this.#broker.add(subject, { process: this.#process, subscription, missed: 0 })
    this.#mine.add(subscription)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) subscription.unsubscribe()
    return subscription
  }

  async flush(): Promise<void> {
    this.#assertOpen('flush')
  }

  async drain(): Promise<void> {
    this.close()
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const subscription of this.#mine) subscription.discard()
    this.#resolveClosed()
  }

  #assertOpen(where: string): void {
    if (this.#isClosed) throw new SwarmError('bus.closed', { what: 'the bus is closed', where })
  }
}
