/** The seam to arithmetic: where machines are loaded and stepped. */
import type { EdgeEntry } from '../edge-root.js'
import type { SwarmError } from '../errors.js'
import type { Feedback, FrameHeader } from '../frame.js'

/** A step for a loaded machine: encoded frames in, an encoded frame out. */
export interface ApplyRequest {
  readonly step: number
  readonly evaluation: number
  /** Encoded frames (frame.ts), one per input edge; read-only, may be shared memory. */
  readonly inputs: readonly Uint8Array[]
  /** Encoded feedback for this position, in the definition's order. Default: none. */
  readonly feedback?: readonly Uint8Array[]
  /** The caller has decoded them: their checksums need not be computed again. Default false. */
  readonly areInputsWhole?: boolean
  /** Header for the output's frame; its labels and batch digest are taken from the first input. */
  readonly header: FrameHeader
  /** Header of the feedback that it gives; its step is replaced by the one that its tensors are of. Absent: nobody gets any. */
  readonly feedbackHeader?: Feedback['header']
  /** What it makes goes into logs that are compared (log-root.ts): a worker hashes it while it is at hand. Default false. */
  readonly isCompared?: boolean
}

export interface ApplyResult {
  /** The encoded output frame, in a buffer (shared memory where the host has threads) that nobody writes again. */
  readonly frame: Uint8Array
  /** The encoded feedback, if a header for it was given. */
  readonly feedback?: Uint8Array
  /** Of frame and feedback, for whoever adds them to a log. Absent: whoever does so hashes them. */
  readonly entries?: { readonly frame: EdgeEntry; readonly feedback?: EdgeEntry }
  readonly metrics: { readonly [name: string]: number }
  /** How long the machine worked on it, in ms, with the rest that its owner's limit asks for: for figures of load and speed. */
  readonly busyMs: number
}

/** One local update after a training step, on an input that the machine has kept (PROTOCOL.md rule 22). */
export interface RefineRequest {
  readonly run: string
  readonly vnode: string
  /** The training step that it comes after. */
  readonly step: number
  /** Number of the update after that step, from 0. */
  readonly update: number
}

export interface RefineResult {
  /** As of a step. */
  readonly busyMs: number
}

/** What is measured of a worker. */
export interface Measured {
  readonly computeClass: string
  /** 10⁹ floating-point operations per second of the kernels that runs use, within the owner's limit. */
  readonly gflops: number
  /** The largest block of memory that could be had and written; absent if it was not asked for. */
  readonly largestAllocationBytes?: number
}

export interface MeasureOptions {
  /** Memory is measured too, up to this limit. Default: it is not. */
  readonly allocationBytes?: number
}

export interface ApplyOptions {
  readonly signal?: AbortSignal
  /** A step that takes longer has hung. Default: the compute's. */
  readonly deadlineMs?: number
  /** It is given up after so long already, if that is less. */
  readonly patienceMs?: number
  /** It does again what was done: of its run's time it has a share of its own (turns.ts). Of a machine all steps or none. Default false. */
  readonly isBackground?: boolean
}

/** Why a `Compute` lost its worker. */
export interface ComputeLoss {
  /** Name of the worker, as in the log. */
  readonly worker: string
  readonly reason: string
  /** Ids of the machines that went with it. */
  readonly machines: readonly string[]
  /** The machine whose step was being applied when the worker ended by itself or hung, with the error of that step; absent when it was killed. Hasty: it was given up for want of patience, before its deadline. */
  readonly culprit?: { readonly machine: string; readonly error: SwarmError; readonly isHasty?: boolean }
}

/**
 * The compute of one PNode: one worker at a time, replaced from a warm spare when it is lost.
 *
 * Implementers guarantee:
 * - requests for one machine are executed in the order made; `snapshot` sees the state exactly between its neighbours; which machine is next
 *   is up to the compute, but runs get equal time and nobody waits for ever (turns.ts);
 * - a step is answered before anything that was asked for behind it is begun;
 * - the same definition, blob and inputs give the same bytes (within the compute class's rule);
 * - after a machine threw in `apply` or `refine` its state is not touched again: later requests get `compute.not-loaded` until it is loaded anew;
 * - a worker that ends or does not answer within its deadline is named in the error (`compute.lost`, `compute.hung`, both
 *   retryable) and in `onLoss`, with the machine whose step it was, is terminated and replaced; all its machines are gone and must be loaded
 *   again;
 * - nothing leaks: after `unload` the tensor count is what it was before `load`;
 * - a step that was refused before the machine saw it (a damaged frame, unequal batches) leaves the machine loaded and unchanged;
 * - an aborted request rejects with `aborted`. One under way is executed all the same and its result is dropped (an aborted load
 *   is followed by an unload): whoever aborts a training step must load the machine anew;
 * - inputs and blobs stay the caller's: they are neither written nor transferred. After `close` all calls reject with `compute.closed`.
 */
export interface Compute {
  /**
   * Resolves when the first worker is warm and measured. Other requests may be made before. Again: it is measured again, in turn with steps.
   * @throws `compute.failed` (the machine module is bad), `compute.lost`, `compute.hung`
   */
  start(signal?: AbortSignal, options?: MeasureOptions): Promise<Measured>
  /** @throws `checkpoint.damaged`, `checkpoint.version`, `compute.failed` (the definition is bad), `compute.lost`, `compute.hung` */
  load(
    id: string,
    definition: unknown,
    blob: Uint8Array | undefined,
    options?: { signal?: AbortSignal; deadlineMs?: number },
  ): Promise<void>
  /** @throws `compute.failed` (terminal), `run.diverged`, `compute.lost`, `compute.hung`, `compute.not-loaded` */
  apply(id: string, request: ApplyRequest, options?: ApplyOptions): Promise<ApplyResult>
  /** Updates the machine's state by an input that it has kept; nobody else hears of it. @throws what `apply` throws */
  refine(id: string, request: RefineRequest, options?: ApplyOptions): Promise<RefineResult>
  /** The state after the requests made so far: a blob that the caller owns (not yet hashed). */
  snapshot(id: string): Promise<Uint8Array>
  /** Resolves also if there is no such machine. */
  unload(id: string): Promise<void>
  memory(): Promise<{ readonly tensors: number; readonly bytes: number }>
  /** Called for each lost worker, after the requests under way have been rejected. Returns the function that unsubscribes. */
  onLoss(listener: (loss: ComputeLoss) => void): () => void
  /** Ends the worker at once, as a crash would: for chaos. */
  kill(reason: string): void
  close(): Promise<void>
}

/** The computes of one process: one for each PNode in it. */
export interface ComputePool {
  /** The compute of that name, made on the first call and again after it was closed. */
  compute(name: string): Compute
  /** Closes every compute and ends every worker. */
  close(): Promise<void>
}

/** A step may take this long before its worker counts as hung, in ms, unless the caller says otherwise. */
export const DEFAULT_STEP_DEADLINE_MS = 60_000
