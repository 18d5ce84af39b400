/** Computes that break one promise each, to prove that the suite notices. */
import { changedCompute as changed } from '../../runtime/compute/changed-compute.js'
import type { ApplyRequest, ApplyResult, Compute } from '../../runtime/compute/compute.js'

/** Breaks one promise of a compute that keeps it. */
export type Breakage = (inner: Compute) => Compute

/** By what is wrong with them. */
export const BROKEN_COMPUTES: Readonly<Record<string, Breakage>> = {
  'reorders steps': (inner) => {
    let held: (() => void) | undefined
    const release = (): void => {
      held?.()
      held = undefined
    }
    return changed(inner, {
      apply(id, request, options) {
        if (held) {
          const later = inner.apply(id, request, options)
          release()
          return later
        }
        setImmediate(release)
        return new Promise<ApplyResult>((resolve, reject) => {
          held = () => void inner.apply(id, request, options).then(resolve, reject)
        })
      },
    })
  },
  'applies each step twice': (inner) =>
    changed(inner, {
      apply(id, request, options) {
        inner.apply(id, request, options).catch(() => {})
        return inner.apply(id, request, options)
      },
    }),
  'leaks what it unloads': (inner) => changed(inner, { unload: async () => {} }),
  'forgets to report a loss': (inner) => changed(inner, { onLoss: () => () => {} }),
  'reports a loss before the rejections': (inner) => {
    const listeners = new Set<Parameters<Compute['onLoss']>[0]>()
    return changed(inner, {
      onLoss(listener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
      kill(reason) {
        for (const listener of listeners) listener({ worker: 'w', reason, machines: ['a', 'b'] })
        inner.kill(reason)
      },
    })
  },
  'does not refine': (inner) => changed(inner, { refine: async () => ({ busyMs: 0 }) }),
  'loses the feedback that comes': (inner) =>
    changed(inner, { apply: (id, request, options) => inner.apply(id, { ...request, feedback: [] }, options) }),
  'keeps the feedback that goes': (inner) =>
    changed(inner, { apply: (id, request, options) => inner.apply(id, { ...request, feedbackHeader: undefined }, options) }),
  'snapshots late': (inner) =>
    changed(inner, {
      async snapshot(id) {
        await new Promise((resolve) => {
          setImmediate(resolve)
        })
        return inner.snapshot(id)
      },
    }),
  'learns from evaluations': (inner) =>
    changed(inner, { apply: (id, request, options) => inner.apply(id, { ...request, evaluation: 0 }, options) }),
  'loads from the seed where there is a blob': (inner) =>
    changed(inner, { load: (id, definition, _blob, options) => inner.load(id, definition, undefined, options) }),
  'takes its inputs away': (inner) =>
    changed(inner, {
      async apply(id, request, options) {
        const result = await inner.apply(id, request, options)
        takeAway(request)
        return result
      },
    }),
  'survives a kill with its machines': (inner) => changed(inner, { kill() {} }),
  'mixes machines up': (inner) => changed(inner, { apply: (_id, request, options) => inner.apply('a', request, options) }),
  'joins whatever it is given': (inner) =>
    changed(inner, { apply: (id, request, options) => inner.apply(id, { ...request, inputs: request.inputs.slice(0, 1) }, options) }),
}

/** As above, for a compute on threads: inline there is no deadline to ignore. */
export const IGNORES_THE_DEADLINE: Breakage = (inner) =>
  changed(inner, { apply: (id, request, options) => inner.apply(id, request, { signal: options?.signal }) })

function takeAway({ inputs }: ApplyRequest): void {
  for (const { buffer } of inputs)
    if (buffer instanceof ArrayBuffer && buffer.byteLength > 0) structuredClone(buffer, { transfer: [buffer] })
}
