/** A bus on which peers can be cut off for a while, or lose their connection for good. */
import type { BusConnect, Delivery, Subscription, TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'

export interface CuttableBus {
  readonly connect: BusConnect
  /** What this peer says is lost from now on, and what is said to it, until the returned function is called. */
  cut(name: string): () => void
  /** Closes this peer's connection under it, as a communicator that is aborted. */
  abort(name: string): void
}

export function cuttableBus(inner: BusConnect): CuttableBus {
  /** How many cuts a peer is under. */
  const cuts = new Map<string, number>()
  const open = new Map<string, TensorBus>()
  const isCut = (name: string) => (cuts.get(name) ?? 0) > 0
  const heard = (name: string, subscription: Subscription): Subscription => ({
    ready: subscription.ready,
    unsubscribe: () => subscription.unsubscribe(),
    async *[Symbol.asyncIterator](): AsyncGenerator<Delivery, void> {
      for await (const delivery of subscription) if (!isCut(name)) yield delivery
    },
  })
  return {
    async connect(name) {
      const bus = await inner(name)
      open.set(name, bus)
      return {
        publish(subject, bytes) {
          if (!isCut(name)) bus.publish(subject, bytes)
        },
        subscribe: (subject, options) => heard(name, bus.subscribe(subject, options)),
        flush: (signal) => bus.flush(signal),
        drain: (signal) => bus.drain(signal),
        close: () => bus.close(),
        closed: bus.closed,
      }
    },
    cut(name) {
      cuts.set(name, (cuts.get(name) ?? 0) + 1)
      let isMended = false
      return () => {
        if (!isMended) cuts.set(name, cuts.get(name)! - 1)
        isMended = true
      }
    },
    abort: (name) => open.get(name)?.close(),
  }
}
