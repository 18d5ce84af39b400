/**
 * What a compute worker runs: deterministic state machines. `runtime/` knows no neural network; the module that a
 * `Compute` is given exports `startMachines`, and `components/` supplies the one for VNodes.
 */
import type { Feedback, Frame, TensorBytes } from '../frame.js'

/** One step of the log as the machine sees it. */
export interface MachineInput {
  /** Number of the batch, from 1. */
  readonly step: number
  /** 0: a training step. From 1: evaluation batch number, of which the state learns nothing. */
  readonly evaluation: number
  /** One decoded frame per input edge, in the definition's order. Their headers say the position; one marked `drain` is no batch: it has no samples. */
  readonly inputs: readonly Frame[]
  /** What is for this position, one for each VNode that gives it any, in the definition's order; it counts before the inputs. */
  readonly feedback?: readonly Feedback[]
}

/** What a step gives: the tensor that travels on, and small numbers about it. */
export interface MachineOutput {
  /** Row-major little-endian, in the runtime's own buffer: valid until the machine is called again. */
  readonly output: { readonly dtype: 'float32' | 'int32'; readonly shape: readonly number[]; readonly bytes: Uint8Array }
  /** Local loss, number of correct answers …: finite numbers by name. A non-finite `loss` is an error of the step. */
  readonly metrics: { readonly [name: string]: number }
  /**
   * What goes back, and the step that it is of. Absent: nothing. The machine keeps it in its state (feedback.ts) until the position that it is for is
   * applied.
   */
  readonly feedback?: { readonly step: number; readonly tensors: { readonly [name: string]: TensorBytes } }
}

/** One loaded VNode. All methods are synchronous: a step is never interleaved with a snapshot. */
export interface Machine {
  apply(input: MachineInput): MachineOutput
  /**
   * Update number `update` (from 0) of those that follow each training step, on an input that the machine has kept; after step `step`, in order,
   * all of them before anything else. Absent: steps of this machine are followed by none.
   */
  refine?(step: number, update: number): void
  /** The whole state as a blob in the format of state.ts, in a buffer that the caller owns. */
  snapshot(): Uint8Array
  /** Frees everything that the machine holds. */
  dispose(): void
}

/** The machines of one worker. */
export interface Machines {
  /** `tfjs version | backend | SIMD | hash of our own kernels` (PROTOCOL.md rule 20). */
  readonly computeClass: string
  /** Loads a machine: from `blob` (state.ts), or from its seed if there is none. */
  load(definition: unknown, blob: Uint8Array | undefined): Promise<Machine>
  /** Tensors and bytes alive, for leak tests. */
  memory(): { readonly tensors: number; readonly bytes: number }
  /** Multiply-adds per second of the kernels that a run uses, measured now (a few tens of ms). */
  benchmark(): { readonly gflops: number }
}

/** The export `startMachines` of a machine module. */
export type StartMachines = () => Promise<Machines>
