/** A short cut: what is published to a subject of this same peer is handed over in memory, without the broker. */
import { SwarmError } from '../errors.js'
import { SubjectIndex } from './memory-bus.js'
import { MemorySubscription } from './memory-subscription.js'
import { publishedAs } from './nats-subject.js'
import { checkSize } from './bus-calls.js'
import type { SubscribeOptions, Subscription, TensorBus } from './tensor-bus.js'

/** A bus that knows the name it connected with. */
export interface NamedBus extends TensorBus {
  readonly name: string
}

/**
 * `inner`, with a short cut for the subjects that `isMine` names: their messages go to this peer's own subscriptions in memory, as the
 * very view that was published, and to nobody else. Everything else goes to `inner`; subscriptions hear both.
 *
 * `isMine` must answer the same for a subject as long as it is in use: order holds within each way. `inner` belongs to the bus that is
 * returned: draining and closing it drains and closes `inner`.
 */
export function loopbackBus(inner: NamedBus, isMine: (subject: string) => boolean): NamedBus {
  return new LoopbackBus(inner, isMine)
}

class LoopbackBus implements NamedBus {
  readonly name: string
  readonly closed: Promise<Error | undefined>
  readonly #inner: TensorBus
  readonly #isMine: (subject: string) => boolean
  readonly #index = new SubjectIndex()
  readonly #readers = new Set<MemorySubscription>()
  #state: 'open' | 'draining' | 'closed' = 'open'
  #drained: Promise<void> | undefined

  constructor(inner: NamedBus, isMine: (subject: string) => boolean) {
    this.name = inner.name
    this.#inner = inner
    this.#isMine = isMine
    this.closed = inner.closed
    void inner.closed.then(() => this.#end())
  }

  publish(subject: string, bytes: Uint8Array): void {
    if (this.#state === 'closed' || !this.#isMine(subject)) {
      this.#inner.publish(subject, bytes)
      return
    }
    publishedAs(subject, this.name) // refuses what is no subject
    checkSize(subject, bytes)
    this.#index.deliver(subject, this.name, bytes)
  }

  subscribe(subject: string, { capacity, signal }: SubscribeOptions): Subscription {
    if (this.#state === 'draining') {
      throw new SwarmError('bus.closed', { what: 'the bus is draining', where: `${this.name}: subscribe to ${subject}` })
    }
    const far = this.#inner.subscribe(subject, { capacity })
    const reader = new MemorySubscription(subject, capacity, () => {
      signal?.removeEventListener('abort', onAbort)
      this.#index.remove(reader)
      far.unsubscribe()
    })
    const onAbort = () => reader.unsubscribe()
    void reader.finished.then(() => this.#readers.delete(reader))
    this.#readers.add(reader)
    this.#index.add(reader)
    void merge(far, reader)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) reader.unsubscribe()
    return {
      ready: far.ready,
      unsubscribe: () => reader.unsubscribe(),
      [Symbol.asyncIterator]: () => reader[Symbol.asyncIterator](),
    }
  }

  flush(signal?: AbortSignal): Promise<void> {
    return this.#inner.flush(signal)
  }

  drain(signal?: AbortSignal): Promise<void> {
    this.#drained ??= this.#drain(signal)
    return this.#drained
  }

  close(): void {
    this.#end()
    this.#inner.close()
  }

  async #drain(signal?: AbortSignal): Promise<void> {
    if (this.#state === 'open') this.#state = 'draining'
    const busy = [...this.#readers].filter((reader) => reader.isIterated)
    for (const reader of this.#readers) reader.unsubscribe()
    // What nobody has begun to iterate has no reader to wait for; its queue stays readable after the close.
    for (const reader of this.#readers) if (!reader.isIterated) this.#readers.delete(reader)
    const onAbort = () => this.close() // ends the readers, and so the wait
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
    await Promise.all(busy.map((reader) => reader.finished))
    signal?.removeEventListener('abort', onAbort)
    if (signal?.aborted) throw new SwarmError('aborted', { what: 'drain aborted', cause: signal.reason })
    await this.#inner.drain(signal)
  }

  #end(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    for (const reader of this.#readers) reader.discard()
    this.#readers.clear()
  }
}

/** Puts what comes from afar into the reader's queue, which alone bounds what waits. */
async function merge(far: Subscription, reader: MemorySubscription): Promise<void> {
  for await (const delivery of far) {
    if (delivery.type === 'lost') reader.lose(delivery.count)
    else reader.offer(delivery.subject, delivery.from, delivery.bytes)
  }
  reader.unsubscribe()
}
