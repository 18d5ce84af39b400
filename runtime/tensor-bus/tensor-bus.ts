/** The seam to the data plane: frames between hosts. */

/**
 * What a subscriber reads: a message, or the news that `count` of them were lost at this place. The subject of a loss is the one
 * subscribed to: under a wildcard one gap may swallow messages of several subjects.
 */
export type Delivery =
  | { readonly type: 'message'; readonly subject: string; readonly from: string; readonly bytes: Uint8Array }
  | { readonly type: 'lost'; readonly subject: string; readonly count: number }

/** The receiving end of a subject. Iterate it once; leaving the loop unsubscribes and drops what is queued. */
export interface Subscription extends AsyncIterable<Delivery> {
  /** Resolves when messages published from now on will arrive here. */
  readonly ready: Promise<void>
  /** Stops receiving; the iteration ends after what is already queued. */
  unsubscribe(): void
}

export interface SubscribeOptions {
  /** The most messages that wait unread; what comes beyond is lost, and said so. Range 1 to 65,536. */
  readonly capacity: number
  /** Its abort unsubscribes, without an error: the iteration ends after what is already queued. */
  readonly signal?: AbortSignal
}

/**
 * At-most-once delivery of opaque frames under subjects of tokens joined by dots; a subscription may
 * end in `.>` to take every subject with that prefix and at least one token more. Tokens hold no white space, `*` or `>`.
 * A peer hears its own messages too, where it subscribes to them.
 *
 * Implementers guarantee:
 * - identical bytes; the receiver's view is read-only by agreement and stays valid (a sender may retain and resend its buffer, and
 *   must not write to it after publishing);
 * - order per (publisher, subject);
 * - `from` is the name that the publisher connected with, which it cannot choose per message;
 * - a slow reader costs at most `capacity` messages of memory: what does not fit is dropped, newest first, and the reader finds
 *   a `lost` delivery with the count at the place of the gap. Loss is detected, never silent, never an exception at the publisher;
 * - a message to nobody is dropped silently (the receivers' credits repair it);
 * - after `drain` nothing that was published before is lost to a live reader.
 *
 * Flow control is not here: receivers grant absolute credits by log position (step-log.ts), which makes loss by overflow a sign of
 * a broken peer and not of load.
 */
export interface TensorBus {
  /** Hands a message over; never waits, never runs a reader. Possible until a drain has ended. @throws `bus.closed`, `bus.too-large`, `usage` (subject) */
  publish(subject: string, bytes: Uint8Array): void
  /** @throws `bus.closed`, `usage` (subject, capacity) */
  subscribe(subject: string, options: SubscribeOptions): Subscription
  /** Resolves when everything published so far has been handed to the broker. @throws `bus.closed`, `aborted` */
  flush(signal?: AbortSignal): Promise<void>
  /**
   * Unsubscribes, waits until the readers have come to the end of what is queued, flushes, closes. A reader that awaits it inside its
   * own loop waits for itself: leave the loop first. Its abort closes at once. @throws `aborted`
   */
  drain(signal?: AbortSignal): Promise<void>
  /** Closes at once, as a crash of this peer would: queued deliveries to this peer are gone, its iterations end. Harmless when repeated. */
  close(): void
  /** Resolves when the bus is closed, with the error that closed it if there was one. */
  readonly closed: Promise<Error | undefined>
}

/** Connects a peer under a name of one token; the name is what others see as `from`. */
export type BusConnect = (name: string) => Promise<TensorBus>

/** The largest message that a bus must take, in bytes. */
export const MAX_MESSAGE_BYTES = 256 * 1024 * 1024
/** The largest `capacity`, in messages. */
export const MAX_SUBSCRIPTION_CAPACITY = 65_536
