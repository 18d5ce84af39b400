/** A bus whose large messages go out at a limited rate. */
import type { Clock } from '../clock.js'
import { SwarmError } from '../errors.js'
import type { RateLimit } from '../rate-limit.js'
import type { NamedBus } from './loopback-bus.js'
import { publishedAs } from './nats-subject.js'
import { MAX_MESSAGE_BYTES, type SubscribeOptions, type Subscription } from './tensor-bus.js'

/** Credits and heartbeats, which must not wait behind tensors: they are paid for, but go at once. */
const SMALL_BYTES = 4 * 1024

interface Waiting {
  readonly subject: string
  readonly bytes: Uint8Array
  readonly dueMs: number
}

/**
 * `bus`, with messages of more than 4 KB sent when `limit` has room for them. Their number is bounded by what receivers have granted: a
 * message that still waits when it is asked for again (the very same bytes under the same subject) waits once.
 */
export function limitedBus(bus: NamedBus, limit: RateLimit, clock: Clock): NamedBus {
  return new LimitedBus(bus, limit, clock)
}

class LimitedBus implements NamedBus {
  readonly name: string
  readonly closed: Promise<Error | undefined>
  readonly #bus: NamedBus
  readonly #limit: RateLimit
  readonly #clock: Clock
  #queue: Waiting[] = []
  /** Until it is closed, or all that a drain sends has been handed over. */
  #isOpen = true
  #cancel: (() => void) | undefined
  #idle: (() => void)[] = []

  constructor(bus: NamedBus, limit: RateLimit, clock: Clock) {
    this.name = bus.name
    this.#bus = bus
    this.#limit = limit
    this.#clock = clock
    this.closed = bus.closed
    void bus.closed.then(() => this.#stop())
  }

  publish(subject: string, bytes: Uint8Array): void {
    publishedAs(subject, this.name) // refuses what is no subject
    const { byteLength } = bytes
    // What the bus refuses it refuses now, not when it is due.
    if (this.#isOpen && byteLength <= MAX_MESSAGE_BYTES) {
      const before = this.#queue.filter((waiting) => waiting.subject === subject)
      if (before.some((waiting) => waiting.bytes === bytes)) return
      const waitMs = this.#limit.reserve(byteLength)
      const isAtOnce = before.length === 0 && (byteLength <= SMALL_BYTES || (waitMs === 0 && this.#queue.length === 0))
      if (!isAtOnce) {
        this.#queue.push({ subject, bytes, dueMs: this.#clock.now() + waitMs })
        this.#arm()
        return
      }
    }
    this.#bus.publish(subject, bytes)
  }

  subscribe(subject: string, options: SubscribeOptions): Subscription {
    return this.#bus.subscribe(subject, options)
  }

  async flush(signal?: AbortSignal): Promise<void> {
    await this.#emptied(signal)
    await this.#bus.flush(signal)
  }

  async drain(signal?: AbortSignal): Promise<void> {
    try {
      await this.#emptied(signal)
    } catch (error) {
      this.close()
      throw error
    }
    this.#isOpen = false
    await this.#bus.drain(signal)
  }

  close(): void {
    this.#stop()
    this.#bus.close()
  }

  #arm(): void {
    if (this.#cancel || this.#queue.length === 0) return
    this.#cancel = this.#clock.after(Math.max(0, this.#queue[0].dueMs - this.#clock.now()), () => {
      this.#cancel = undefined
      this.#send()
    })
  }

  /** Due times only grow: the first is the next. */
  #send(): void {
    while (this.#queue.length > 0 && this.#queue[0].dueMs <= this.#clock.now()) {
      const { subject, bytes } = this.#queue.shift()!
      this.#bus.publish(subject, bytes)
    }
    if (this.#queue.length === 0) this.#tellIdle()
    this.#arm()
  }

  #stop(): void {
    this.#isOpen = false
    this.#cancel?.()
    this.#queue = []
    this.#tellIdle()
  }

  #tellIdle(): void {
    for (const tell of this.#idle.splice(0)) tell()
  }

  /** @throws `aborted` */
  async #emptied(signal: AbortSignal | undefined): Promise<void> {
    const aborted = () => new SwarmError('aborted', { what: 'waiting for what is still to be sent was aborted', cause: signal?.reason })
    if (signal?.aborted) throw aborted()
    if (this.#queue.length === 0) return
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => reject(aborted())
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#idle.push(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      })
    })
  }
}
