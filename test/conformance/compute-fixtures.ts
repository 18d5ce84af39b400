/** What the cases of the compute suite are written with: frames, an oracle, and promises that never go unhandled. */
import assert from 'node:assert/strict'
import type { ApplyRequest, ApplyResult, Compute, ComputeLoss, RefineRequest } from '../../runtime/compute/compute.js'
import type { Machine } from '../../runtime/compute/machine.js'
import { isSwarmError, type ErrorCode, type SwarmError } from '../../runtime/errors.js'
import { decodeFeedback, decodeFrame, encodeFeedback, encodeFrame, type FrameHeader } from '../../runtime/frame.js'
import { startMachines, type IntegerDefinition } from './integer-machines.js'

const ROWS = 4
const COLUMNS = 3

/** The header of a frame of `vnode` at `step`. */
export function headerOf(vnode: string, step: number, evaluation = 0): FrameHeader {
  return { kind: 'output', marks: 0, generation: 2, term: 5, step, position: step, evaluation, run: 'conformance', vnode }
}

export interface InputOptions {
  readonly vnode?: string
  /** Digest; default: the step's. */
  readonly batch?: string
  readonly evaluation?: number
  readonly isShared?: boolean
}

/** An encoded frame of shape [4, 3] whose numbers depend on the step and the sender. */
export function inputFrame(step: number, { vnode = 'source', batch, evaluation = 0, isShared = true }: InputOptions = {}): Uint8Array {
  const values = Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => step * 1.25 + i + vnode.length + evaluation * 100)
  const labels = Int32Array.from({ length: ROWS }, (_, i) => (step + i) % 10)
  const frame = {
    header: headerOf(vnode, step, evaluation),
    output: { dtype: 'float32', shape: [ROWS, COLUMNS], bytes: new Uint8Array(values.buffer) },
    labels: { dtype: 'int32', shape: [ROWS], bytes: new Uint8Array(labels.buffer) },
    batch: batch ?? `batch-${step}-${evaluation}`,
  } as const
  return encodeFrame(frame, isShared)
}

/** A training step of VNode `v`. */
export function trainingStep(step: number, inputs: readonly Uint8Array[] = [inputFrame(step)]): ApplyRequest {
  return { step, evaluation: 0, inputs, header: headerOf('v', step) }
}

/** The same, with feedback for its position, and some asked of it. */
export function stepWithFeedback(step: number, given: readonly number[]): ApplyRequest {
  const header = { ...headerOf('w', step), kind: 'feedback' } as const
  const tensor = (value: number) => ({ dtype: 'int32', shape: [1], bytes: new Uint8Array(Int32Array.of(value).buffer) }) as const
  const feedback = given.map((value, i) => encodeFeedback({ header, tensors: { value: tensor(value) } }, i % 2 === 0))
  return { ...trainingStep(step), feedback, feedbackHeader: { ...header, vnode: 'v', position: step + 3 } }
}

/** An evaluation batch of VNode `v` after `step`. */
export function evaluationStep(step: number, evaluation: number): ApplyRequest {
  return { step, evaluation, inputs: [inputFrame(step, { evaluation })], header: headerOf('v', step, evaluation) }
}

/** An update of VNode `v` after a training step. */
export function refinement(step: number, update: number): RefineRequest {
  return { run: 'conformance', vnode: 'v', step, update }
}

/** The same machine without any compute around it: what every result must equal. */
export interface Oracle {
  /** The output's bytes, in hex. */
  apply(request: ApplyRequest): string
  refine(step: number, update: number): void
  /** The state blob, in hex. */
  snapshot(): string
}

/** An oracle for a definition that behaves. */
export async function oracle(definition: IntegerDefinition): Promise<Oracle> {
  const machine: Machine = await (await startMachines()).load(definition, undefined)
  return {
    apply({ step, evaluation, inputs, feedback = [] }) {
      const decoded = { inputs: inputs.map((input) => decodeFrame(input)), feedback: feedback.map((each) => decodeFeedback(each)) }
      return hex(machine.apply({ step, evaluation, ...decoded }).output.bytes)
    },
    refine: (step, update) => machine.refine!(step, update),
    snapshot: () => hex(machine.snapshot()),
  }
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** The output of an applied step, in hex. */
export const outputOf = ({ frame }: ApplyResult): string => hex(decodeFrame(frame).output.bytes)

/** How a promise ended. */
export type Outcome<T> = { readonly value: T } | { readonly error: unknown }

/** How `promise` ends: never rejects, so it may be looked at later. */
export function outcome<T>(promise: Promise<T>): Promise<Outcome<T>> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
}

/** How each of `promises` ends. */
export function outcomes(...promises: readonly Promise<unknown>[]): Promise<Outcome<unknown>>[] {
  return promises.map((promise) => outcome(promise))
}

/** The value of a promise that has to resolve; `what` names it otherwise. */
export async function resolved<T>(pending: Promise<Outcome<T>>, what: string): Promise<T> {
  const ended = await pending
  if ('value' in ended) return ended.value
  throw new assert.AssertionError({ message: `${what}: expected a result, got ${String(ended.error)}` })
}

/** The SwarmError with `code` that a promise has to reject with; `what` names it otherwise. */
export async function refused(pending: Promise<Outcome<unknown>>, code: ErrorCode, what: string): Promise<SwarmError> {
  const ended = await pending
  const got = 'error' in ended ? ended.error : 'a result'
  if (isSwarmError(got, code)) return got
  throw new assert.AssertionError({ message: `${what}: expected an error '${code}', got ${String(got)}` })
}

/** Asserts that a lost or hung worker's error says that a repetition may succeed. */
export function assertRetryable(error: SwarmError): void {
  assert.equal(error.retryable, true, `'${error.code}' has to be retryable: ${error.message}`)
}

/** The next loss; to be armed before its trigger. */
export function nextLoss(compute: Compute): Promise<ComputeLoss> {
  return new Promise((resolve) => {
    const unsubscribe = compute.onLoss((loss) => {
      unsubscribe()
      resolve(loss)
    })
  })
}
