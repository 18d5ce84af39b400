/** Replays and comparisons: where two runs, or a run and its replay, differ first. */
import type { ObjectStore } from '../runtime/object-store/object-store.js'

/** The first difference of two runs. */
export interface Difference {
  /** The run in which it was found (the one that is verified, or the second of two). */
  readonly run: string
  readonly step: number
  readonly vnode: string
  /** Name of the tensor in the VNode's state, or `output` if no checkpoint shows the state. */
  readonly tensor: string
  /** What differs: hashes or values. */
  readonly expected: string
  readonly got: string
}

export interface Verification {
  readonly run: string
  /** Steps that were replayed. */
  readonly steps: number
  /** Checkpoints whose state was compared, tensor by tensor. */
  readonly checkpoints: number
  readonly hash: string | undefined
  /** Undefined: every step and every checkpoint is the same. */
  readonly difference: Difference | undefined
}

/** Trains the run again from its seed in memory and compares. @throws `run.not-found`, `checkpoint.damaged` … */
export async function verifyRun(
  _store: ObjectStore,
  _run: string,
  _options: { readonly pnodes?: number; readonly signal?: AbortSignal; readonly onProgress?: (step: number, total: number) => void } = {},
): Promise<Verification> {
  throw new Error('being written')
}

/** The first difference of two runs of the same definition; undefined if there is none. @throws `run.not-found`, `run.changed` (other definitions) */
export async function diffRuns(_store: ObjectStore, _first: string, _second: string): Promise<Difference | undefined> {
  throw new Error('being written')
}
