/** Buses that break one promise each: the conformance suite has to catch them. */
import { SwarmError } from '../../runtime/errors.js'
import { MAX_SUBSCRIPTION_CAPACITY } from '../../runtime/tensor-bus/tensor-bus.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import type { BusConnect, Delivery, Subscription, TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'

/** What a broken bus does instead of a good one; `bus` is the good one. */
type Flaw = (bus: TensorBus, name: string, broker: BusConnect) => Partial<TensorBus>

/** A broken bus and the case that must catch it. */
export interface BrokenBus {
  readonly caughtBy: string
  readonly connect: () => BusConnect
}

export const brokenBuses: { readonly [title: string]: BrokenBus } = {
  'reorders two messages': broken('messages of one publisher under one subject arrive in order, each once', (bus) => {
    let count = 0
    let held: Parameters<TensorBus['publish']> | undefined
    return {
      publish(...message) {
        if (++count === 41) held = message // and let four overtake it
        else bus.publish(...message)
        if (count === 45 && held) bus.publish(...held)
      },
    }
  }),

  'drops a message without a word': broken('order holds on an exact subject between small and large messages', (bus) => {
    let count = 0
    return {
      publish(...message) {
        if (++count % 10 !== 0) bus.publish(...message)
      },
    }
  }),

  'delivers twice': broken('messages of one publisher under one subject arrive in order, each once', (bus) => ({
    publish(...message) {
      bus.publish(...message)
      bus.publish(...message)
    },
  })),

  'believes the sender’s word for who it is': broken('from cannot be forged', (bus, _name, broker) => ({
    publish(subject, bytes) {
      const { from } = bytes as Uint8Array & { from?: string }
      if (from === undefined) bus.publish(subject, bytes)
      else void broker(from).then((forged) => forged.publish(subject, bytes))
    },
  })),

  'takes everybody for one': broken('from is the name that the publisher connected with', (bus) => ({
    subscribe: (...parts) =>
      mapped(bus.subscribe(...parts), (delivery) => [delivery.type === 'message' ? { ...delivery, from: 'ann' } : delivery]),
  })),

  'queues without a bound': broken('a slow reader of large messages holds no more than its capacity of them', (bus) => ({
    subscribe: (subject, options) => bus.subscribe(subject, { ...options, capacity: MAX_SUBSCRIPTION_CAPACITY }),
  })),

  'loses by overflow in silence': broken(
    'a slow reader keeps at most its capacity and is told how much it lost, at the place of the gap',
    (bus) => ({
      subscribe: (...parts) => mapped(bus.subscribe(...parts), (delivery) => (delivery.type === 'lost' ? [] : [delivery])),
    }),
  ),

  'tells of a loss too late': broken('each gap is told at its own place', (bus) => ({
    subscribe(...parts) {
      let late: Delivery | undefined
      return mapped(bus.subscribe(...parts), (delivery) => {
        const due = late
        late = delivery.type === 'lost' ? delivery : undefined
        return [...(delivery.type === 'lost' ? [] : [delivery]), ...(due ? [due] : [])]
      })
    },
  })),

  'sends the whole buffer behind a view': broken('a view into a larger buffer travels alone', (bus) => ({
    publish: (subject, bytes) => bus.publish(subject, new Uint8Array(bytes.buffer)),
  })),

  'moves the buffer away from its sender': broken('bytes arrive identical, from 0 B to 8 MB', (bus) => ({
    publish: (subject, bytes) => bus.publish(subject, structuredClone(bytes, { transfer: [bytes.buffer as ArrayBuffer] })),
  })),

  'reuses the receiver’s buffer': broken('a received message stays valid while later ones arrive', (bus) => {
    const buffer = new Uint8Array(2_000)
    return {
      publish(subject, bytes) {
        buffer.set(bytes)
        bus.publish(subject, buffer)
      },
    }
  }),

  'swallows what is published after close': broken('publish, subscribe and flush after close are refused by code', (bus) => ({
    publish(...message) {
      try {
        bus.publish(...message)
      } catch (error) {
        if (!(error instanceof SwarmError)) throw error
      }
    },
  })),

  'drains like a crash': broken('drain lets the peer’s own slow readers come to the end', (bus) => ({
    drain: async () => bus.close(),
  })),

  'closes like a drain': broken('close drops what is queued for this peer and ends its iterations', (bus) => ({
    close: () => void bus.drain(),
  })),

  'ends with its first failing reader': broken('a reader that throws disturbs no other', (bus) => ({
    subscribe(...parts) {
      const subscription = bus.subscribe(...parts)
      return {
        ready: subscription.ready,
        unsubscribe: () => subscription.unsubscribe(),
        [Symbol.asyncIterator]() {
          const iterator = subscription[Symbol.asyncIterator]()
          const leave = async (): Promise<IteratorResult<Delivery>> => {
            bus.close()
            return { done: true, value: undefined }
          }
          return { next: () => iterator.next(), return: leave }
        },
      }
    },
  })),
}

/** A bus with all its methods bound, so that a flaw can replace some. */
export function wrapBus(bus: TensorBus): TensorBus {
  return {
    publish: (...parts) => bus.publish(...parts),
    subscribe: (...parts) => bus.subscribe(...parts),
    flush: (signal) => bus.flush(signal),
    drain: (signal) => bus.drain(signal),
    close: () => bus.close(),
    closed: bus.closed,
  }
}

function broken(caughtBy: string, flaw: Flaw): BrokenBus {
  return {
    caughtBy,
    connect() {
      const { connect } = memoryBroker()
      return async (name) => {
        const bus = await connect(name)
        return { ...wrapBus(bus), ...flaw(bus, name, connect) }
      }
    },
  }
}

/** A subscription whose deliveries go through `change`. */
function mapped(subscription: Subscription, change: (delivery: Delivery) => Delivery[]): Subscription {
  return {
    ready: subscription.ready,
    unsubscribe: () => subscription.unsubscribe(),
    async *[Symbol.asyncIterator]() {
      for await (const delivery of subscription) yield* change(delivery)
    },
  }
}
