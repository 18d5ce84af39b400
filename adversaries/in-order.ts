/** Answers in the order of the requests, as with any compute: a host's own log finds out whoever is faster with what he has not computed. */
import type { ApplyRequest, ApplyResult, Compute } from '../runtime/compute/compute.js'

type Apply = (id: string, request: ApplyRequest) => Promise<ApplyResult>

/** Each answer of a machine behind those before it, states included. */
export function inOrder({ apply, snapshot }: { readonly apply: Apply; readonly snapshot: Compute['snapshot'] }): {
  readonly apply: Apply
  readonly snapshot: Compute['snapshot']
} {
  const newest = new Map<string, Promise<unknown>>()
  const behind = <T>(id: string, answer: Promise<T>): Promise<T> => {
    const mine = Promise.all([answer, newest.get(id)]).then(([made]) => made)
    newest.set(
      id,
      mine.catch(() => undefined),
    )
    return mine
  }
  return {
    apply: (id, request) => behind(id, apply(id, request)),
    // Nobody waits for a state but who asked for it.
    snapshot: (id) => Promise.all([snapshot(id), newest.get(id)]).then(([blob]) => blob),
  }
}
