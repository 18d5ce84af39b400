/** A compute with something in front of it. */
import type { Compute } from './compute.js'

/** `inner`, but for the methods that are given. */
export function changedCompute(inner: Compute, changes: Partial<Compute>): Compute {
  return {
    start: (signal, options) => inner.start(signal, options),
    load: (id, definition, blob, options) => inner.load(id, definition, blob, options),
    apply: (id, request, options) => inner.apply(id, request, options),
    refine: (id, request, options) => inner.refine(id, request, options),
    snapshot: (id) => inner.snapshot(id),
    unload: (id) => inner.unload(id),
    memory: () => inner.memory(),
    onLoss: (listener) => inner.onLoss(listener),
    kill: (reason) => inner.kill(reason),
    close: () => inner.close(),
    ...changes,
  }
}
