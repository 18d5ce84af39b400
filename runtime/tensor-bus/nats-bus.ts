/** The production half of the tensor bus: peers of many machines, joined by a NATS server. */
import { SwarmError } from '../errors.js'
import { MemorySubscription } from './memory-subscription.js'
import { NatsChannel } from './nats-channel.js'
import { connectNats, type NatsAddress, type NatsConnection } from './nats-connection.js'
import { JoiningRoom } from './nats-joining.js'
import { NatsOutbox } from './nats-outbox.js'
import { checkName, subscribedAs } from './nats-subject.js'
import { aborted, checkCapacity, checkSize, untilAborted } from './bus-calls.js'
import type { BusConnect, SubscribeOptions, Subscription, TensorBus } from './tensor-bus.js'

export type { NatsAddress, NatsCredentials } from './nats-connection.js'

export interface NatsBusOptions extends NatsAddress {
  /** What others see as `from`: one token. With credentials it must be the one that they were issued for. */
  readonly name: string
  /** Which of a host's connections this is: the server's events name it `<name>/<part>`. Default `data`. */
  readonly part?: 'control' | 'data'
  /** Hears what has no caller to tell: a refused subject, a broken message of the broker. */
  readonly onError?: (error: SwarmError) => void
}

/** What a NatsBus has seen go wrong since it connected, in messages. */
export interface NatsBusCounts {
  /** Not sent: the broker was away, or too slow for too long. */
  readonly dropped: number
  /** Arrived twice. */
  readonly duplicates: number
  /** Arrived without a valid header, or with sizes that contradict each other. */
  readonly damaged: number
  /** Refused by the broker: a subject to publish or subscribe to, or credentials that ran out. */
  readonly denied: number
  /** Times that the connection came back. */
  readonly reconnects: number
}

/** What a connection to NATS adds to the contract. */
export interface NatsBus extends TensorBus {
  readonly name: string
  readonly counts: NatsBusCounts
  /** Whether the broker is there, as far as is known: what is published while it is not is dropped, and receivers see that. */
  readonly isUp: boolean
}

/**
 * Connects a peer to a NATS server. The connection comes back by itself for ever, unless the broker denies it: then `closed` has
 * `bus.denied`. Losses are found by number: a gap is told with its exact count by the next message that arrives, or when its
 * publisher reconnects; after a reconnect of its own each subscription is told of one loss at once.
 * @throws `bus.unreachable` (retryable), `bus.denied`, `usage` (name)
 */
export async function natsBus(options: NatsBusOptions): Promise<NatsBus> {
  const { name, part = 'data', onError, ...address } = options
  checkName(name)
  const connection = await connectNats({ ...address, clientName: `${name}/${part}` })
  const bus = new ConnectedBus(name, connection, onError)
  connection.listen({ onReconnect: () => bus.resume(), onError: (error) => bus.report(error) })
  return bus
}

/** Connects peers by name, each with its own connection. */
export function natsConnect(options: Omit<NatsBusOptions, 'name'>): BusConnect {
  return (name) => natsBus({ ...options, name })
}

class ConnectedBus implements NatsBus {
  readonly name: string
  readonly closed: Promise<Error | undefined>
  readonly #connection: NatsConnection
  readonly #outbox: NatsOutbox
  readonly #onError: ((error: SwarmError) => void) | undefined
  readonly #room = new JoiningRoom()
  readonly #counts = { dropped: 0, duplicates: 0, damaged: 0, denied: 0, reconnects: 0 }
  /** By the subject that its readers subscribed to. */
  readonly #channels = new Map<string, NatsChannel>()
  readonly #mine = new Set<MemorySubscription>()
  #state: 'open' | 'draining' | 'closed' = 'open'
  #resolveClosed: (error: Error | undefined) => void = () => {}
  #drained: Promise<void> | undefined

  constructor(name: string, connection: NatsConnection, onError?: (error: SwarmError) => void) {
    this.name = name
    this.#connection = connection
    this.#onError = onError
    this.#outbox = new NatsOutbox(name, connection, this.#counts)
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve
    })
    void connection.closed.then((error) => this.#end(error))
  }

  get counts(): NatsBusCounts {
    return { ...this.#counts }
  }

  get isUp(): boolean {
    return this.#connection.isUp
  }

  publish(subject: string, bytes: Uint8Array): void {
    this.#assertNot('closed', `publish to ${subject}`)
    checkSize(subject, bytes)
    this.#outbox.publish(subject, bytes)
  }

  subscribe(subject: string, { capacity, signal }: SubscribeOptions): Subscription {
    this.#assertNot('closed', `subscribe to ${subject}`)
    this.#assertNot('draining', `subscribe to ${subject}`)
    const wire = subscribedAs(subject)
    checkCapacity(subject, capacity)
    const channel = this.#channels.get(subject) ?? this.#open(subject, wire)
    const reader = new MemorySubscription(subject, capacity, () => {
      signal?.removeEventListener('abort', onAbort)
      channel.remove(reader)
    })
    const onAbort = () => reader.unsubscribe()
    void reader.finished.then(() => this.#mine.delete(reader))
    this.#mine.add(reader)
    channel.add(reader)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) reader.unsubscribe()
    return {
      ready: channel.ready,
      unsubscribe: () => reader.unsubscribe(),
      [Symbol.asyncIterator]: () => reader[Symbol.asyncIterator](),
    }
  }

  async flush(signal?: AbortSignal): Promise<void> {
    this.#assertNot('closed', 'flush')
    await untilAborted(this.#connection.flush(), signal)
    if (signal?.aborted) throw aborted('flush', signal)
  }

  drain(signal?: AbortSignal): Promise<void> {
    this.#drained ??= this.#drain(signal)
    return this.#drained
  }

  close(): void {
    this.#end(undefined)
  }

  /** The connection is back: says what may have been lost, to others and to our own readers. */
  resume(): void {
    this.#counts.reconnects++
    this.#outbox.resume()
    for (const channel of this.#channels.values()) channel.foretell()
  }

  /** Counts a refusal and passes it on. */
  report(error: SwarmError): void {
    if (error.code === 'bus.denied') this.#counts.denied++
    try {
      this.#onError?.(error)
    } catch {
      // A listener that fails is its owner's matter: the connection must go on.
    }
  }

  #open(subject: string, wire: string): NatsChannel {
    const channel = new NatsChannel({
      subject,
      feed: this.#connection.subscribe(wire),
      room: this.#room,
      counts: this.#counts,
      onError: (error) => this.report(error),
      onEnd: () => {
        if (this.#channels.get(subject) === channel) this.#channels.delete(subject)
      },
    })
    this.#channels.set(subject, channel)
    return channel
  }

  async #drain(signal?: AbortSignal): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'draining'
    await untilAborted(Promise.race([this.#empty(), this.closed]), signal)
    this.close()
    if (signal?.aborted) throw aborted('drain', signal)
  }

  async #empty(): Promise<void> {
    await Promise.all([...this.#channels.values()].map((channel) => channel.drain()))
    const busy = [...this.#mine].filter((reader) => reader.isIterated)
    for (const reader of this.#mine) reader.unsubscribe()
    // What nobody has begun to iterate has no reader to wait for; its queue stays readable after the close.
    for (const reader of this.#mine) if (!reader.isIterated) this.#mine.delete(reader)
    await Promise.all(busy.map((reader) => reader.finished))
    // What was published to a broker that is away has been dropped: there is nothing to wait for.
    if (this.isUp) await this.#connection.flush()
  }

  #end(error: Error | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#connection.close()
    for (const reader of this.#mine) reader.discard()
    this.#mine.clear()
    this.#resolveClosed(error)
  }

  #assertNot(state: 'draining' | 'closed', what: string): void {
    if (this.#state === state) throw new SwarmError('bus.closed', { what: `the bus is ${state}`, where: `${this.name}: ${what}` })
  }
}
