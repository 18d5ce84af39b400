/** The receiving end of the memory bus: a bounded queue that says where it overflowed. */
import { SwarmError } from '../errors.js'
import type { Delivery, Subscription } from './tensor-bus.js'

/** A `lost` delivery grows until the reader takes it. */
type Queued = Extract<Delivery, { type: 'message' }> | { readonly type: 'lost'; readonly subject: string; count: number }
type Waiter = (result: IteratorResult<Delivery>) => void

const DONE: IteratorResult<Delivery> = { done: true, value: undefined }
/** Taken entries are cut off the array this many at a time, so that taking one stays cheap in a long queue. */
const TRIM_AT = 1_024

/**
 * Holds at most `capacity` unread messages, each gap as one `lost` delivery at its place: at most `capacity` of those, plus one.
 * Offering never runs the reader; it continues in a later microtask.
 */
export class MemorySubscription implements Subscription {
  readonly ready: Promise<void> = Promise.resolve()
  readonly subject: string
  /** Resolves when nothing more can be read: the reader saw the end or left, or the peer closed. */
  readonly finished: Promise<void>
  readonly #capacity: number
  readonly #onEnd: () => void
  #queue: (Queued | undefined)[] = []
  #head = 0
  #messages = 0
  #waiters: Waiter[] = []
  #isEnded = false
  #isIterated = false
  #resolveFinished: () => void = () => {}

  /** `onEnd` is called once, when the subscription stops receiving. */
  constructor(subject: string, capacity: number, onEnd: () => void) {
    this.subject = subject
    this.#capacity = capacity
    this.#onEnd = onEnd
    this.finished = new Promise((resolve) => {
      this.#resolveFinished = resolve
    })
  }

  /** True once somebody has begun to iterate. */
  get isIterated(): boolean {
    return this.#isIterated
  }

  /** Queues a message, or counts it as lost if the queue is full. */
  offer(subject: string, from: string, bytes: Uint8Array): void {
    if (this.#isEnded) return
    const waiter = this.#waiters.shift()
    if (waiter) {
      waiter({ done: false, value: { type: 'message', subject, from, bytes } })
    } else if (this.#messages < this.#capacity) {
      this.#messages++
      this.#queue.push({ type: 'message', subject, from, bytes })
    } else {
      this.lose(1)
    }
  }

  /** Queues the news that `count` messages were lost at this place. */
  lose(count: number): void {
    if (this.#isEnded) return
    const waiter = this.#waiters.shift()
    const last = this.#queue.at(-1)
    if (waiter) waiter({ done: false, value: { type: 'lost', subject: this.subject, count } })
    else if (last?.type === 'lost') last.count += count
    else this.#queue.push({ type: 'lost', subject: this.subject, count })
  }

  unsubscribe(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#onEnd()
    if (this.#waiters.length > 0) this.#finish()
  }

  /** Ends at once and forgets what is queued. */
  discard(): void {
    this.unsubscribe()
    this.#queue = []
    this.#head = 0
    this.#messages = 0
    this.#finish()
  }

  [Symbol.asyncIterator](): AsyncIterator<Delivery> {
    if (this.#isIterated) throw new SwarmError('usage', { what: 'a subscription is iterated once', where: this.subject })
    this.#isIterated = true
    return {
      next: () => this.#next(),
      return: async () => {
        this.discard()
        return DONE
      },
    }
  }

  #next(): Promise<IteratorResult<Delivery>> {
    const value = this.#take()
    if (value) return Promise.resolve({ done: false, value })
    if (this.#isEnded) {
      this.#finish()
      return Promise.resolve(DONE)
    }
    return new Promise((resolve) => this.#waiters.push(resolve))
  }

  #take(): Delivery | undefined {
    const taken = this.#queue[this.#head]
    if (!taken) return undefined
    this.#queue[this.#head] = undefined // a taken frame must not be kept alive by its slot
    this.#head++
    if (taken.type === 'message') this.#messages--
    if (this.#head === this.#queue.length || this.#head === TRIM_AT) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
    return taken
  }

  #finish(): void {
    for (const waiter of this.#waiters.splice(0)) waiter(DONE)
    this.#resolveFinished()
  }
}
