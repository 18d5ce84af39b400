/** Events for people and for metrics: many readers, none of which can slow the sender. */

/** What `subscribe` may be told about a kind of events. */
export interface FeedOptions<Event> {
  /** The event that a new reader is given first. */
  readonly snapshot?: () => Event | undefined
  /** A key: of several unread events with the same one only the newest is kept. Undefined: all are kept. */
  readonly coalesce?: (event: Event) => string | undefined
  /** Made for a reader that was too slow: `count` events were dropped. */
  readonly dropped: (count: number) => Event
  /** Unread events per reader. Default 4,096. */
  readonly capacity?: number
}

interface Reader<Event> {
  readonly queue: Event[]
  dropped: number
  wake: (() => void) | undefined
}

/** A stream with any number of readers, each with its own bounded queue. */
export class Feed<Event> {
  readonly #options: FeedOptions<Event>
  readonly #readers = new Set<Reader<Event>>()
  readonly #listeners = new Set<(event: Event) => void>()
  #isClosed = false

  constructor(options: FeedOptions<Event>) {
    this.#options = options
  }

  /** Hands an event to every reader; never waits, never throws. */
  emit(event: Event): void {
    if (this.#isClosed) return
    for (const listener of this.#listeners) listener(event)
    const key = this.#options.coalesce?.(event)
    for (const reader of this.#readers) {
      const unread = key === undefined ? -1 : reader.queue.findIndex((queued) => this.#options.coalesce!(queued) === key)
      if (unread >= 0) reader.queue.splice(unread, 1)
      reader.queue.push(event)
      if (reader.queue.length > (this.#options.capacity ?? 4096)) {
        reader.queue.shift()
        reader.dropped++
      }
      reader.wake?.()
    }
  }

  /** Calls `listener` synchronously for each event; it must not throw. Returns the function that ends it. */
  listen(listener: (event: Event) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Events from this call on, after the snapshot; ends when the feed is closed or the signal aborts. */
  subscribe(signal?: AbortSignal): AsyncGenerator<Event, void> {
    const reader: Reader<Event> = { queue: [], dropped: 0, wake: undefined }
    const first = this.#options.snapshot?.()
    if (first !== undefined) reader.queue.push(first)
    if (!this.#isClosed) this.#readers.add(reader)
    return this.#read(reader, signal)
  }

  async *#read(reader: Reader<Event>, signal?: AbortSignal): AsyncGenerator<Event, void> {
    const wake = () => reader.wake?.()
    signal?.addEventListener('abort', wake)
    try {
      while (!signal?.aborted) {
        if (reader.dropped > 0) {
          const { dropped } = reader
          reader.dropped = 0
          yield this.#options.dropped(dropped)
        }
        const event = reader.queue.shift()
        if (event !== undefined) yield event
        else if (this.#isClosed) return
        else await new Promise<void>((resolve) => (reader.wake = resolve))
      }
    } finally {
      signal?.removeEventListener('abort', wake)
      this.#readers.delete(reader)
    }
  }

  /** Ends every reader after what it has not read yet. */
  close(): void {
    this.#isClosed = true
    for (const { wake } of this.#readers) wake?.()
  }
}
