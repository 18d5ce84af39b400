/** A reader for the cases of the bus: takes deliveries one by one, with a deadline. */
import assert from 'node:assert/strict'
import type { Delivery, Subscription, TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { within } from './within.js'

/** Reads a subscription at the pace of its case. */
export interface Reader {
  /** The next delivery, or undefined at the end. */
  next(): Promise<Delivery | undefined>
  /** The next `count` deliveries, which must be messages. */
  messages(count: number): Promise<Message[]>
  /** Everything up to the end. */
  rest(): Promise<Delivery[]>
  readonly subscription: Subscription
}

export type Message = Extract<Delivery, { type: 'message' }>

/** Subscribes, waits until it is ready and hands out a reader that has not begun to read. */
export async function readerOf(bus: TensorBus, subject: string, deadlineMs: number, capacity = 1_024): Promise<Reader> {
  const subscription = bus.subscribe(subject, { capacity })
  await within(deadlineMs, `subscription to ${subject} ready`, subscription.ready)
  return reading(subscription, subject, deadlineMs)
}

/** A reader of `subscription`. */
export function reading(subscription: Subscription, subject: string, deadlineMs: number): Reader {
  let iterator: AsyncIterator<Delivery> | undefined
  let taken = 0
  const next = async () => {
    iterator ??= subscription[Symbol.asyncIterator]()
    const result = await within(deadlineMs, `delivery ${taken + 1} of ${subject}`, iterator.next())
    taken++
    return result.done ? undefined : result.value
  }
  return {
    subscription,
    next,
    async messages(count) {
      const messages: Message[] = []
      while (messages.length < count) {
        const delivery = await next()
        if (delivery?.type !== 'message')
          assert.fail(`delivery ${taken} of ${subject}: expected a message, got ${JSON.stringify(delivery)}`)
        messages.push(delivery)
      }
      return messages
    },
    async rest() {
      const all: Delivery[] = []
      for (let delivery = await next(); delivery; delivery = await next()) all.push(delivery)
      return all
    },
  }
}

/** A message that carries a number. */
export function numbered(value: number, sizeBytes = 4): Uint8Array {
  const bytes = new Uint8Array(sizeBytes)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

/** The number that `numbered` wrote. */
export function numberIn(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
}

/** `first`, `first + 1`, … : `count` of them. */
export function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index)
}
