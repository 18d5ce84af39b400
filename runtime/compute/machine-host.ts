/**
 * The part that a worker thread and the calling thread share: the loaded machines of one worker by id, and what each
 * request does to them. It knows no threads, no deadlines and no queue: its caller executes one request at a time.
 */
import { systemClock } from '../clock.js'
import { edgeEntryOf } from '../edge-root.js'
import { toSwarmError, SwarmError, type ErrorRecord } from '../errors.js'
import { decodeFeedback, decodeFrame, encodeFeedback, encodeFrame, type Feedback, type Frame } from '../frame.js'
import { largestAllocation } from './allocation.js'
import type { ApplyRequest, ApplyResult, Measured, MeasureOptions, RefineRequest, RefineResult } from './compute.js'
import type { Machine, Machines, MachineOutput } from './machine.js'

/** What a worker can be asked. Plain data that `structuredClone` takes, if the definition is. */
export type HostRequest =
  | { readonly kind: 'load'; readonly machine: string; readonly definition: unknown; readonly blob: Uint8Array | undefined }
  | { readonly kind: 'apply'; readonly machine: string; readonly request: ApplyRequest }
  | { readonly kind: 'refine'; readonly machine: string; readonly request: RefineRequest }
  | { readonly kind: 'snapshot'; readonly machine: string }
  | { readonly kind: 'unload'; readonly machine: string }
  | { readonly kind: 'memory' }
  | ({ readonly kind: 'benchmark' } & MeasureOptions)

/** What each kind of request is answered with. */
export interface HostValues {
  readonly load: undefined
  readonly apply: ApplyResult
  readonly refine: RefineResult
  readonly snapshot: Uint8Array
  readonly unload: undefined
  readonly memory: { readonly tensors: number; readonly bytes: number }
  readonly benchmark: Measured
}

/** The answer to a request. Plain data that `structuredClone` takes. */
export type HostReply =
  | { readonly ok: true; readonly value: HostValues[keyof HostValues] }
  | {
      readonly ok: false
      readonly error: ErrorRecord
      /** Stack of the error that user code threw, for people. */
      readonly stack?: string
      /** True if the machine is gone: it threw in `apply` or `refine`, or its load failed. */
      readonly isDropped: boolean
    }

/** Of frames that were just made, and lie in the cache still. */
function entriesOf(frame: Uint8Array, feedback: Uint8Array | undefined): NonNullable<ApplyResult['entries']> {
  const of = (bytes: Uint8Array) => edgeEntryOf(bytes, { isWhole: true })
  return { frame: of(frame), ...(feedback && { feedback: of(feedback) }) }
}

const MAX_MESSAGE_CHARS = 1000 // an error of user code may carry a whole tensor in its message

/** The loaded machines of one worker. */
export class MachineHost {
  readonly #machines: Machines
  readonly #shared: boolean
  readonly #loaded = new Map<string, Machine>()

  /** @param options.shared whether output frames are made in shared memory, for other threads to read */
  constructor(machines: Machines, options: { readonly shared: boolean }) {
    this.#machines = machines
    this.#shared = options.shared
  }

  /**
   * Executes a request; never throws or rejects. Only `load` answers with a promise, and the next request must wait for it.
   * A machine that threw in `apply` or `refine` or gave a non-finite loss is disposed; one that was refused its input is untouched.
   */
  execute(request: HostRequest): HostReply | Promise<HostReply> {
    if (request.kind === 'load') return this.#load(request.machine, request.definition, request.blob)
    if (request.kind === 'apply') return this.#apply(request.machine, request.request)
    if (request.kind === 'refine') return this.#refine(request.machine, request.request)
    const what = 'machine' in request ? `${request.kind} of machine '${request.machine}' failed` : `${request.kind} failed`
    return attempt(what, () => this.#answer(request))
  }

  /** Disposes every machine; for a host that ends without its thread. */
  close(): void {
    for (const id of this.#loaded.keys()) this.#drop(id)
  }

  async #load(id: string, definition: unknown, blob: Uint8Array | undefined): Promise<HostReply> {
    try {
      this.#unload(id)
      this.#loaded.set(id, await this.#machines.load(definition, blob))
      return { ok: true, value: undefined }
    } catch (error) {
      return failure(error, `machine '${id}' could not be loaded`, true)
    }
  }

  #apply(id: string, request: ApplyRequest): HostReply {
    const place = `vnode '${request.header.vnode}', ${stepOf(request)}`
    let machine: Machine
    let inputs: Frame[]
    let feedback: Feedback[]
    try {
      machine = this.#find(id, place)
      inputs = decodeInputs(request, place)
      feedback = (request.feedback ?? []).map((bytes) => decodeFeedback(bytes, { isWhole: request.areInputsWhole }))
    } catch (error) {
      return failure(error, place, false)
    }
    try {
      const startedMs = systemClock.now()
      const { step, evaluation, header, feedbackHeader, isCompared = false } = request
      const { output, metrics, feedback: given } = machine.apply({ step, evaluation, inputs, feedback })
      const checked = checkMetrics(metrics, place)
      const { labels, batch } = inputs[0]
      const frame = encodeFrame({ header, output, labels, batch }, this.#shared)
      const goesBack = feedbackHeader && { ...feedbackHeader, step: given?.step ?? step }
      const back = goesBack && { feedback: encodeFeedback({ header: goesBack, tensors: given?.tensors ?? {} }, this.#shared) }
      const entries = isCompared && this.#shared && { entries: entriesOf(frame, back?.feedback) }
      return { ok: true, value: { frame, ...back, ...entries, metrics: checked, busyMs: systemClock.now() - startedMs } }
    } catch (error) {
      this.#drop(id)
      return failure(error, place, true)
    }
  }

  #refine(id: string, { vnode, step, update }: RefineRequest): HostReply {
    const place = `vnode '${vnode}', ${stepOf({ step, update })}`
    let machine: Machine
    try {
      machine = this.#find(id, place)
    } catch (error) {
      return failure(error, place, false)
    }
    try {
      const startedMs = systemClock.now()
      if (!machine.refine) throw new SwarmError('compute.failed', { what: `machine '${id}' does not refine`, where: place })
      machine.refine(step, update)
      return { ok: true, value: { busyMs: systemClock.now() - startedMs } }
    } catch (error) {
      this.#drop(id)
      return failure(error, place, true)
    }
  }

  #answer(
    request: Exclude<HostRequest, { kind: 'load' | 'apply' | 'refine' }>,
  ): HostValues['snapshot' | 'unload' | 'memory' | 'benchmark'] {
    if (request.kind === 'snapshot') return this.#find(request.machine).snapshot()
    if (request.kind === 'unload') return this.#unload(request.machine)
    if (request.kind === 'benchmark') return this.#measure(request)
    const { tensors, bytes } = this.#machines.memory()
    return { tensors, bytes }
  }

  #measure({ allocationBytes }: MeasureOptions): Measured {
    const { computeClass } = this.#machines
    const { gflops } = this.#machines.benchmark()
    if (allocationBytes === undefined) return { computeClass, gflops }
    return { computeClass, gflops, largestAllocationBytes: largestAllocation({ limitBytes: allocationBytes }) }
  }

  #find(id: string, place?: string): Machine {
    const machine = this.#loaded.get(id)
    if (machine) return machine
    throw new SwarmError('compute.not-loaded', { what: `machine '${id}' is not loaded`, where: place })
  }

  #unload(id: string): undefined {
    const machine = this.#loaded.get(id)
    this.#loaded.delete(id)
    machine?.dispose()
  }

  #drop(id: string): void {
    try {
      this.#unload(id)
    } catch {
      // A machine that is dropped is given up already: what made us drop it is the error worth telling.
    }
  }
}

/** `step 7`, `step 7, evaluation 2` or `step 7, refinement 0`: how messages name a place in the log. */
export function stepOf(place: { readonly step: number } & ({ readonly evaluation: number } | { readonly update: number })): string {
  if ('update' in place) return `step ${place.step}, refinement ${place.update}`
  return place.evaluation === 0 ? `step ${place.step}` : `step ${place.step}, evaluation ${place.evaluation}`
}

/** The error that a failed reply describes, with the user's stack as its cause. */
export function errorOf(reply: Extract<HostReply, { ok: false }>): SwarmError {
  const { code, message, retryable } = reply.error
  if (reply.stack === undefined) return SwarmError.from(reply.error)
  const cause = new Error(message)
  cause.stack = reply.stack
  return new SwarmError(code, { what: message, retryable, cause })
}

/** A failed reply: a SwarmError as it is, anything else as a terminal `compute.failed` that starts with `what`. */
export function failure(error: unknown, what: string, isDropped: boolean): HostReply {
  if (error instanceof SwarmError) return { ok: false, error: error.toJSON(), isDropped }
  const { code, message, retryable } = toSwarmError(describe(error), 'compute.failed', what)
  const line = message.replaceAll(/\s+/g, ' ').slice(0, MAX_MESSAGE_CHARS)
  const stack = error instanceof Error && typeof error.stack === 'string' ? error.stack : undefined
  return { ok: false, error: { code, message: line, retryable }, stack, isDropped }
}

function attempt(what: string, action: () => HostValues[keyof HostValues]): HostReply {
  try {
    return { ok: true, value: action() }
  } catch (error) {
    return failure(error, what, false)
  }
}

function decodeInputs(request: ApplyRequest, place: string): Frame[] {
  const inputs = request.inputs.map((input) => decodeFrame(input, { isWhole: request.areInputsWhole }))
  if (inputs.length === 0) throw new SwarmError('compute.failed', { what: 'a step without inputs', where: place })
  const [first, ...others] = inputs
  const other = others.find(({ batch }) => batch !== first.batch)
  if (other) {
    throw new SwarmError('compute.failed', {
      what: `inputs of different batches: '${first.header.vnode}' and '${other.header.vnode}'`,
      where: place,
      expected: `batch ${first.batch}`,
      got: other.batch,
    })
  }
  return inputs
}

/** A copy of the metrics, which the machine may write again. */
function checkMetrics(metrics: MachineOutput['metrics'], place: string): MachineOutput['metrics'] {
  for (const [name, value] of Object.entries(metrics)) {
    if (typeof value === 'number' && (name !== 'loss' || Number.isFinite(value))) continue
    if (name !== 'loss')
      throw new SwarmError('compute.failed', { what: `metric '${name}'`, where: place, expected: 'a number', got: typeof value })
    const fix = 'Lower the learning rate or look at the data of this step'
    throw new SwarmError('run.diverged', { what: 'the loss is not finite', where: place, got: String(value), fix })
  }
  return { ...metrics }
}

/** What was thrown as text, even if it cannot be turned into text. */
function describe(error: unknown): string {
  try {
    return error instanceof Error ? error.message || error.name : String(error)
  } catch {
    return 'something that has no text was thrown'
  }
}
