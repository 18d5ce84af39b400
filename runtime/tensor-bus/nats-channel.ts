/** One subject that a peer has subscribed to, once at the broker, for all its readers of it. */
import { isSwarmError, type SwarmError, toSwarmError } from '../errors.js'
import type { MemorySubscription } from './memory-subscription.js'
import { type ArrivalCounts, NatsArrivals } from './nats-arrivals.js'
import type { NatsFeed, NatsMessage } from './nats-connection.js'
import { decodePlace } from './nats-header.js'
import type { JoiningRoom } from './nats-joining.js'
import { senderOf } from './nats-subject.js'

export interface ChannelOptions {
  /** As the bus has it, with `.>` behind a wildcard. */
  readonly subject: string
  readonly feed: NatsFeed
  readonly room: JoiningRoom
  readonly counts: ArrivalCounts
  /** Called once, when the last reader has left or the broker has ended the subscription. */
  readonly onEnd: () => void
  /** Hears what ended the subscription, unless the broker refused it: that the connection tells. Must not throw. */
  readonly onError: (error: SwarmError) => void
}

/** Reads a feed as fast as it comes and hands each delivery to all readers; their queues bound what is kept. */
export class NatsChannel {
  /** Rejects with `bus.denied` if the broker refuses the subject, `bus.closed` if the bus closes first. */
  readonly ready: Promise<void>
  readonly #subject: string
  readonly #feed: NatsFeed
  readonly #counts: ArrivalCounts
  readonly #onEnd: () => void
  readonly #onError: (error: SwarmError) => void
  readonly #arrivals: NatsArrivals
  readonly #readers = new Set<MemorySubscription>()
  readonly #pumped: Promise<void>
  #isEnded = false

  constructor({ subject, feed, room, counts, onEnd, onError }: ChannelOptions) {
    this.ready = feed.ready
    this.#subject = subject
    this.#feed = feed
    this.#counts = counts
    this.#onEnd = onEnd
    this.#onError = onError
    const sink = {
      message: (at: string, from: string, bytes: Uint8Array) => {
        for (const reader of this.#readers) reader.offer(at, from, bytes)
      },
      lost: (count: number) => {
        for (const reader of this.#readers) reader.lose(count)
      },
    }
    this.#arrivals = new NatsArrivals(sink, room, counts)
    this.#pumped = this.#pump()
  }

  add(reader: MemorySubscription): void {
    this.#readers.add(reader)
  }

  /** The last one to leave ends the subscription. */
  remove(reader: MemorySubscription): void {
    if (this.#readers.delete(reader) && this.#readers.size === 0) this.#end()
  }

  /** Tells the readers that something may be lost here. */
  foretell(): void {
    this.#arrivals.foretell()
  }

  /** Unsubscribes, and resolves when all that was under way has been handed to the readers. */
  async drain(): Promise<void> {
    await this.#feed.drain()
    await this.#pumped
  }

  async #pump(): Promise<void> {
    try {
      for await (const message of this.#feed) this.#take(message)
    } catch (error) {
      if (!isSwarmError(error, 'bus.denied')) this.#onError(toSwarmError(error, 'internal', `subscription to ${this.#subject}`))
    }
    for (const reader of this.#readers) reader.unsubscribe()
    this.#end()
  }

  #take({ wire, place, bytes }: NatsMessage): void {
    const sender = senderOf(wire, this.#subject)
    if (!sender) return // a wildcard hears its own prefix too, under which nobody asked
    const known = place === undefined ? undefined : decodePlace(place)
    if (known) this.#arrivals.accept(sender, known, bytes)
    else this.#counts.damaged++
  }

  #end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#feed.stop()
    this.#arrivals.close()
    this.#onEnd()
  }
}
