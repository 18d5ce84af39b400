/** The embedded half of the tensor bus: peers of one process, joined by queues. */
import { SwarmError } from '../errors.js'
import { aborted, checkCapacity, checkSize, untilAborted } from './bus-calls.js'
import type { BusConnect, SubscribeOptions, Subscription, TensorBus } from './tensor-bus.js'
import { MemorySubscription } from './memory-subscription.js'

/** One token of a subject, and the name of a peer: no white space, dot or wildcard. */
const TOKEN = /^[^\s.*>]+$/
const SUBJECT = /^[^\s.*>]+(?:\.[^\s.*>]+)*$/

/**
 * A broker in memory; every peer that connects to it sees the others' messages, and its own.
 *
 * Nothing is copied: a receiver gets the very `Uint8Array` that was published, on a `SharedArrayBuffer` too. Delivery is never
 * re-entrant: `publish` only queues, readers run later. Messages of one broker keep one total order, which is more than the contract asks.
 */
export function memoryBroker(): { connect: BusConnect } {
  const readers = new SubjectIndex()
  return {
    async connect(name) {
      if (!TOKEN.test(name)) {
        throw new SwarmError('usage', {
          what: 'a peer name is one token',
          expected: 'no white space, dot, * or >',
          got: JSON.stringify(name),
        })
      }
      return new MemoryBus(name, readers)
    },
  }
}

/** The subscriptions of all peers, found by subject. */
export class SubjectIndex {
  readonly #exact = new Map<string, Set<MemorySubscription>>()
  /** By the prefix before `.>`. */
  readonly #wild = new Map<string, Set<MemorySubscription>>()

  add(subscription: MemorySubscription): void {
    const { map, key } = this.#placeOf(subscription.subject)
    const set = map.get(key) ?? new Set()
    map.set(key, set.add(subscription))
  }

  remove(subscription: MemorySubscription): void {
    const { map, key } = this.#placeOf(subscription.subject)
    const set = map.get(key)
    set?.delete(subscription)
    if (set?.size === 0) map.delete(key)
  }

  deliver(subject: string, from: string, bytes: Uint8Array): void {
    for (const reader of this.#exact.get(subject) ?? []) reader.offer(subject, from, bytes)
    if (this.#wild.size === 0) return
    for (let dot = subject.lastIndexOf('.'); dot > 0; dot = subject.lastIndexOf('.', dot - 1)) {
      for (const reader of this.#wild.get(subject.slice(0, dot)) ?? []) reader.offer(subject, from, bytes)
    }
  }

  #placeOf(subject: string): { map: Map<string, Set<MemorySubscription>>; key: string } {
    return subject.endsWith('.>') ? { map: this.#wild, key: subject.slice(0, -2) } : { map: this.#exact, key: subject }
  }
}

/** One peer of a memory broker. */
class MemoryBus implements TensorBus {
  readonly closed: Promise<Error | undefined>
  readonly #name: string
  readonly #readers: SubjectIndex
  readonly #mine = new Set<MemorySubscription>()
  #state: 'open' | 'draining' | 'closed' = 'open'
  #resolveClosed: () => void = () => {}
  #drained: Promise<void> | undefined

  constructor(name: string, readers: SubjectIndex) {
    this.#name = name
    this.#readers = readers
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = () => resolve(undefined)
    })
  }

  publish(subject: string, bytes: Uint8Array): void {
    this.#assertNot('closed', `publish to ${subject}`)
    if (!SUBJECT.test(subject)) throw invalidSubject(subject)
    checkSize(subject, bytes)
    this.#readers.deliver(subject, this.#name, bytes)
  }

  subscribe(subject: string, { capacity, signal }: SubscribeOptions): Subscription {
    this.#assertNot('closed', `subscribe to ${subject}`)
    this.#assertNot('draining', `subscribe to ${subject}`)
    if (!SUBJECT.test(subject.endsWith('.>') ? subject.slice(0, -2) : subject)) throw invalidSubject(subject)
    checkCapacity(subject, capacity)
    const subscription = new MemorySubscription(subject, capacity, () => {
      signal?.removeEventListener('abort', onAbort)
      this.#readers.remove(subscription)
    })
    const onAbort = () => subscription.unsubscribe()
    void subscription.finished.then(() => this.#mine.delete(subscription))
    this.#mine.add(subscription)
    this.#readers.add(subscription)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) subscription.unsubscribe()
    return subscription
  }

  async flush(signal?: AbortSignal): Promise<void> {
    this.#assertNot('closed', 'flush')
    if (signal?.aborted) throw aborted('flush', signal)
  }

  drain(signal?: AbortSignal): Promise<void> {
    this.#drained ??= this.#drain(signal)
    return this.#drained
  }

  close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    for (const subscription of this.#mine) subscription.discard()
    this.#mine.clear()
    this.#resolveClosed()
  }

  async #drain(signal?: AbortSignal): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'draining'
    const busy = [...this.#mine].filter((subscription) => subscription.isIterated)
    for (const subscription of this.#mine) subscription.unsubscribe()
    // What nobody has begun to iterate has no reader to wait for; its queue stays readable after the close.
    for (const subscription of this.#mine) if (!subscription.isIterated) this.#mine.delete(subscription)
    await untilAborted(Promise.all(busy.map((subscription) => subscription.finished)), signal)
    this.close()
    if (signal?.aborted) throw aborted('drain', signal)
  }

  #assertNot(state: 'draining' | 'closed', what: string): void {
    if (this.#state === state) throw new SwarmError('bus.closed', { what: `the bus is ${state}`, where: `${this.#name}: ${what}` })
  }
}

function invalidSubject(subject: string): SwarmError {
  return new SwarmError('usage', {
    what: 'invalid subject',
    expected: 'tokens joined by dots; only a subscription may end in .>',
    got: JSON.stringify(subject),
  })
}
