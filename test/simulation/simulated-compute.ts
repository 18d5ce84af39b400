/** The compute of simulated PNodes: exact integers in the place of tensors, and a step takes simulated time. */
import { SwarmError } from '../../runtime/errors.js'
import type {
  ApplyOptions,
  ApplyRequest,
  ApplyResult,
  Compute,
  ComputeLoss,
  RefineRequest,
  RefineResult,
} from '../../runtime/compute/compute.js'
import { type Claim, RANK, refinementClaim, stepClaim, type Turn, Turns } from '../../runtime/compute/turns.js'
import { type Feedback, type FrameHeader, decodeFeedback, decodeFrame, encodeFeedback, encodeFrame } from '../../runtime/frame.js'
import { metricsOfStall } from '../../components/convergence.js'
import { SOURCE, type VNodeMachineDefinition } from '../../components/definition.js'
import {
  type Numbers,
  VALUE,
  advance,
  decides,
  firstNumbers,
  floatOf,
  hashOf,
  metricsOf,
  numbersOf,
  refine,
  stateOf,
  valueOf,
} from './simulated-numbers.js'
import { isTraining } from '../../runtime/step-log.js'
import type { Process } from './world.js'

/** What is in a frame. */
interface Content {
  readonly value: number
  readonly labels: Uint8Array
  /** `hashOf` them. */
  readonly labelled: number
  readonly count: number
  readonly batch: string
  readonly header: FrameHeader | Feedback['header']
  /** By place of arrival: under which term whoever was there then was, if it was of the past when it first came there; else 0. */
  readonly arrivals: { [place: string]: number | undefined }
}

/** For those who made or read a frame before: on the frame itself, since weak maps of millions of frames are most of the work of a simulation. */
const CONTENT = Symbol('content')
type Known = Uint8Array & { [CONTENT]?: Content }

export function contentOf(frame: Uint8Array): Content {
  const known = (frame as Known)[CONTENT]
  if (known) return known
  if (isFeedback(frame)) return contentOfFeedback(frame)
  const { header, output, labels, batch } = decodeFrame(frame)
  // What a VNode puts out is one number, again and again; of the source's samples all bytes count.
  const first = () => (output.bytes.length > 0 ? valueOf(viewOf(output.bytes).getFloat32(0, true)) : 0)
  const value = header.vnode === SOURCE ? hashOf(output.bytes) : first()
  const content = { value, labels: labels.bytes, labelled: hashOf(labels.bytes), count: labels.shape[0], batch, header, arrivals: {} }
  ;(frame as Known)[CONTENT] = content
  return content
}

const viewOf = ({ buffer, byteOffset }: Uint8Array) => new DataView(buffer, byteOffset)

/** A number as a tensor of the shape that is due. */
function filled(shape: readonly number[], value: number) {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(floatOf(value))
  return { dtype: 'float32', shape, bytes: new Uint8Array(values.buffer) } as const
}

/** By the byte of its kind. */
const isFeedback = (frame: Uint8Array): boolean => frame[6] === 3

/** Feedback without tensors is of no value. */
function contentOfFeedback(frame: Uint8Array): Content {
  const { header, tensors } = decodeFeedback(frame)
  const bytes = tensors[VALUE]?.bytes
  const value = bytes ? valueOf(viewOf(bytes).getFloat32(0, true)) : Number.NaN
  const content = { value, labels: new Uint8Array(0), labelled: 0, count: 0, batch: '', header, arrivals: {} }
  ;(frame as Known)[CONTENT] = content
  return content
}

const feedbackIn = (frame: Uint8Array): number | undefined => {
  const { value } = contentOf(frame)
  return Number.isNaN(value) ? undefined : value
}

interface Machine {
  readonly definition: VNodeMachineDefinition
  readonly numbers: Numbers
}

interface Request {
  readonly what: string
  readonly claim: Claim
  /** How long it takes, in simulated ms. */
  readonly ms: number
  readonly deadlineMs: number
  readonly isHasty: boolean
  readonly work: () => void
  readonly fail: (error: unknown) => void
}

interface RequestOptions {
  readonly signal?: AbortSignal
  readonly deadlineMs?: number
  readonly patienceMs?: number
}

const control = (machine: string): Claim => ({ machine, run: '', rank: RANK.control })

export interface SimulatedComputeOptions {
  readonly process: Process
  /** Simulated time, which no skew of a clock changes. */
  readonly now: () => number
  readonly computeClass: string
  /** Multiply-adds in a simulated ms, and what that is called. */
  readonly gflops: number
  /** How long a step takes that is worth so many multiply-adds, in ms. */
  readonly stepMs: (cost: number) => number
  /** Whether a step fails, wherever it is tried. */
  readonly isPoison: (run: string, vnode: string, position: number) => boolean
  readonly times?: ComputeTimes
  /** Sees the inputs of each step before it is applied, by whom: a VNode, or one that follows it, or has until it was promoted. */
  readonly onApply: (vnode: string, request: ApplyRequest) => void
}

/** How long what is no step takes, in simulated ms. */
export interface ComputeTimes {
  /** Of a worker, until it is warm and measured. */
  readonly startMs: number
  /** Of a state that is at hand. */
  readonly loadMs: number
  readonly snapshotMs: number
}

const DEFAULT_TIMES: ComputeTimes = { startMs: 30, loadMs: 3, snapshotMs: 0 }
const RESTART_MS = 60
const DEFAULT_DEADLINE_MS = 60_000

export class SimulatedCompute implements Compute {
  /** It takes requests and answers none, as a worker in an endless loop. */
  isStuck = false
  readonly #options: SimulatedComputeOptions
  readonly #times: ComputeTimes
  readonly #machines = new Map<string, Machine>()
  readonly #listeners = new Set<(loss: ComputeLoss) => void>()
  readonly #waiting = new Turns<Request>()
  /** What the worker does. */
  #current: Turn<Request> | undefined
  /** Of the worker: what an older one does has no effect. */
  #worker = 1
  #isClosed = false
  #readyAt = 0

  constructor(options: SimulatedComputeOptions) {
    this.#options = options
    this.#times = options.times ?? DEFAULT_TIMES
  }

  start(): Promise<{ readonly computeClass: string; readonly gflops: number }> {
    const { computeClass, gflops } = this.#options
    return this.#request('benchmark', control(''), this.#times.startMs, () => ({ computeClass, gflops }))
  }

  load(
    id: string,
    definition: unknown,
    blob: Uint8Array | undefined,
    options?: { signal?: AbortSignal; deadlineMs?: number },
  ): Promise<void> {
    const machine = definition as VNodeMachineDefinition
    return this.#request(
      `load of ${id}`,
      control(id),
      this.#times.loadMs,
      () => {
        const numbers = blob ? numbersOf(blob) : firstNumbers(machine.vnode.id, machine.training.seed)
        this.#machines.set(id, { definition: machine, numbers })
      },
      options,
    )
  }

  apply(id: string, request: ApplyRequest, options?: ApplyOptions): Promise<ApplyResult> {
    const cost = this.#machines.get(id)?.definition.vnode.cost ?? 1
    const ms = this.#options.stepMs(cost)
    return this.#request(`step ${request.step} of ${id}`, stepClaim(id, request, options), ms, () => this.#apply(id, request, ms), options)
  }

  refine(id: string, request: RefineRequest, options?: ApplyOptions): Promise<RefineResult> {
    const { step, update } = request
    const ms = this.#options.stepMs(this.#machines.get(id)?.definition.vnode.cost ?? 1)
    const work = () => {
      const { numbers, definition } = this.#find(id)
      refine(numbers, step, update, definition.training.refinement)
      return { busyMs: ms }
    }
    return this.#request(`update ${update} after step ${step} of ${id}`, refinementClaim(id, request, options), ms, work, options)
  }

  #apply(id: string, request: ApplyRequest, busyMs: number): ApplyResult {
    const { numbers, definition } = this.#find(id)
    if (this.#options.isPoison(request.header.run, definition.vnode.id, request.header.position)) {
      this.#machines.delete(id)
      throw new SwarmError('compute.failed', { what: 'poison', where: `position ${request.header.position}` })
    }
    this.#options.onApply(id.split('/')[1], request)
    const inputs = request.inputs.map(contentOf)
    const [{ labels, labelled, count, batch }] = inputs
    if (inputs.some((input) => input.batch !== batch)) throw new SwarmError('compute.failed', `inputs of different batches at ${id}`)
    const reads = { inputs: inputs.map((input) => input.value), labels: labelled, feedback: request.feedback?.map(feedbackIn) }
    const { output: value, back } = advance(numbers, request.header, reads, definition)
    const frame = encodeFrame({
      header: request.header,
      output: filled([count, ...definition.vnode.outputShape], value),
      labels: { dtype: 'int32', shape: [count], bytes: labels },
      batch,
    })
    ;(frame as Known)[CONTENT] = { value, labels, labelled, count, batch, header: request.header, arrivals: {} }
    const { feedbackHeader: goesBack } = request
    const tensors: Feedback['tensors'] = back === undefined ? {} : { [VALUE]: filled([1], back) }
    const feedback = goesBack && { feedback: encodeFeedback({ header: { ...goesBack, step: request.step }, tensors }) }
    const hasDecided = isTraining(request.header) && decides(definition, numbers)
    return { frame, ...feedback, metrics: { ...metricsOf(value, count), ...(hasDecided && metricsOfStall('alert')) }, busyMs }
  }

  snapshot(id: string): Promise<Uint8Array> {
    return this.#request(`snapshot of ${id}`, control(id), this.#times.snapshotMs, () => stateOf(this.#find(id).numbers))
  }

  unload(id: string): Promise<void> {
    return this.#request(`unload of ${id}`, control(id), 0, () => {
      this.#machines.delete(id)
      this.#waiting.forget(id)
    })
  }

  memory(): Promise<{ readonly tensors: number; readonly bytes: number }> {
    return this.#request('memory', control(''), 0, () => ({ tensors: this.#machines.size, bytes: 8 * this.#machines.size }))
  }

  onLoss(listener: (loss: ComputeLoss) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  kill(reason: string): void {
    if (this.#isClosed) return
    this.#lose(`killed: ${reason}`)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#worker++
    for (const { fail } of this.#clear()) fail(new SwarmError('compute.closed', 'the compute is closed'))
  }

  #find(id: string): Machine {
    const machine = this.#machines.get(id)
    if (!machine) throw new SwarmError('compute.not-loaded', { what: `machine '${id}' is not loaded` })
    return machine
  }

  /** Everything that was asked for and not answered, the worker's first. */
  #clear(): Request[] {
    const all = [...(this.#current ? [this.#current.item] : []), ...this.#waiting.clear()]
    this.#current = undefined
    return all
  }

  #request<T>(what: string, claim: Claim, ms: number, work: () => T, options: RequestOptions = {}): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw new SwarmError('compute.closed', { what: `the compute is closed: ${what}` })
      if (options.signal?.aborted) throw new SwarmError('aborted', { what: `${what} was aborted` })
      const request: Request = {
        what,
        claim,
        ms,
        deadlineMs: Math.min(options.deadlineMs ?? DEFAULT_DEADLINE_MS, options.patienceMs ?? Infinity),
        isHasty: options.patienceMs !== undefined,
        work() {
          try {
            resolve(work())
          } catch (error) {
            reject(error)
          }
        },
        fail: reject,
      }
      this.#waiting.add(request, claim)
      this.#next()
    })
  }

  #next(): void {
    if (this.#current) return
    const turn = (this.#current = this.#waiting.take())
    if (!turn) return
    const { item: request } = turn
    const { process, now } = this.#options
    const worker = this.#worker
    const waitMs = Math.max(0, this.#readyAt - now())
    const tookMs = waitMs + request.ms * process.slowness
    const patienceMs = waitMs + request.deadlineMs
    const hangs = () => {
      if (worker === this.#worker) this.#lose(`hung: ${request.what}`, 'compute.hung')
    }
    const end = () => {
      if (worker !== this.#worker) return
      // Asked again when it is let go: nothing is answered before.
      if (this.isStuck) return void process.clock.after(100, end)
      cancel?.()
      this.#current = undefined
      this.#waiting.took(turn, request.ms * process.slowness)
      request.work()
      this.#next()
    }
    let cancel: (() => void) | undefined
    // Until it would have ended nobody knows that it is stuck: most requests need no second timer.
    const endOrWait = () => {
      if (this.isStuck && worker === this.#worker) cancel = process.clock.after(patienceMs - tookMs, hangs)
      end()
    }
    if (tookMs < patienceMs) process.clock.after(tookMs, endOrWait)
    else process.clock.after(patienceMs, hangs)
  }

  #lose(reason: string, code: 'compute.lost' | 'compute.hung' = 'compute.lost'): void {
    const { claim, isHasty } = this.#current?.item ?? {}
    const error = new SwarmError('compute.hung', { what: reason, retryable: true })
    const isStep = claim !== undefined && claim.rank !== RANK.control
    const culprit = code === 'compute.hung' && isStep && { machine: claim.machine, error, isHasty }
    const loss: ComputeLoss = {
      worker: `worker-${this.#worker}`,
      reason,
      machines: [...this.#machines.keys()],
      ...(culprit && { culprit }),
    }
    this.#worker++
    this.isStuck = false
    this.#machines.clear()
    this.#readyAt = this.#options.now() + RESTART_MS
    this.#clear().forEach(({ what, fail }, i) => {
      fail(
        new SwarmError(i === 0 ? code : 'compute.lost', {
          what: `worker '${loss.worker}' was lost: ${reason}`,
          where: what,
          retryable: true,
        }),
      )
    })
    this.#options.process.clock.after(0, () => this.#listeners.forEach((listener) => listener(loss)))
  }
}
