/** A bus that loses, doubles and delays messages, and thereby changes their order. */
import { RandomStream } from '../../runtime/random.js'
import type { BusConnect } from '../../runtime/tensor-bus/tensor-bus.js'

/** Shares of the messages, 0 to 1. */
export interface BusChaos {
  readonly lost: number
  readonly doubled: number
  readonly delayed: number
  /** The longest delay; delays are uniform. */
  readonly delayMs: number
}

/** What happens to which message is drawn from `seed`, in the order in which they are published. */
export function chaoticBus(inner: BusConnect, seed: number, chaos: BusChaos): BusConnect {
  const stream = new RandomStream(seed, 'bus')
  return async (name) => {
    const bus = await inner(name)
    let isClosed = false
    const close = () => {
      isClosed = true
      bus.close()
    }
    const publish = (subject: string, bytes: Uint8Array) => {
      if (isClosed) return
      if (stream.uniform() >= chaos.delayed) bus.publish(subject, bytes)
      else setTimeout(() => !isClosed && bus.publish(subject, bytes), stream.uniform() * chaos.delayMs)
    }
    return {
      publish(subject, bytes) {
        if (stream.uniform() < chaos.lost) return
        publish(subject, bytes)
        if (stream.uniform() < chaos.doubled) publish(subject, bytes)
      },
      subscribe: (subject, options) => bus.subscribe(subject, options),
      flush: (signal) => bus.flush(signal),
      drain: (signal) => bus.drain(signal),
      close,
      closed: bus.closed,
    }
  }
}

/** A bus that shows every message to `look` before it is delivered. */
export function tappedBus(inner: BusConnect, look: (message: { from: string; subject: string; bytes: Uint8Array }) => void): BusConnect {
  return async (from) => {
    const bus = await inner(from)
    return {
      publish(subject, bytes) {
        look({ from, subject, bytes: bytes.slice() })
        bus.publish(subject, bytes)
      },
      subscribe: (subject, options) => bus.subscribe(subject, options),
      flush: (signal) => bus.flush(signal),
      drain: (signal) => bus.drain(signal),
      close: () => bus.close(),
      closed: bus.closed,
    }
  }
}
