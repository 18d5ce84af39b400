/**
 * A `Compute` over engines: it keeps the order of requests, their deadlines, and the loss of an engine. What an engine is, a
 * worker thread or the calling thread, is not known here.
 */
import type { Clock } from '../clock.js'
import { invariant, SwarmError, toSwarmError } from '../errors.js'
import {
  DEFAULT_STEP_DEADLINE_MS,
  type ApplyOptions,
  type ApplyRequest,
  type ApplyResult,
  type Compute,
  type ComputeLoss,
  type Measured,
  type MeasureOptions,
} from './compute.js'
import { errorOf, stepOf, type HostReply, type HostRequest, type HostValues } from './machine-host.js'

/** What an engine tells its owner. */
export interface EngineEvents {
  /** The answer to the oldest unanswered request. Never called from within `post`. */
  answered(id: number, reply: HostReply): void
  /** The engine ended by itself; nothing follows. */
  ended(reason: string): void
}

/**
 * One place where machines run, warm when it is handed out.
 *
 * Implementers guarantee: requests are executed and answered in the order posted, each once; after `end` no event is delivered.
 */
export interface Engine {
  readonly name: string
  /** Says who listens; called once, before the first `post`. */
  attach(events: EngineEvents): void
  /** Sends a request. Throws if it cannot be cloned. */
  post(id: number, request: HostRequest): void
  /** Whether the engine keeps the process alive: while requests are under way. */
  hold(isBusy: boolean): void
  /** Ends the engine at once, whatever it does; resolves when it is gone. */
  end(): Promise<void>
}

export interface EngineComputeOptions {
  readonly name: string
  /** Gives a warm engine that nobody else has. */
  readonly takeEngine: (owner: string) => Promise<Engine>
  readonly clock: Clock
  /** Deadline of requests that name none. Default `DEFAULT_STEP_DEADLINE_MS`. */
  readonly deadlineMs?: number
}

/** More requests under way than this are a bug of the caller: windows and credits bound them far below. */
export const MAX_REQUESTS_UNDER_WAY = 4096

/** A timer cannot be set further ahead; it is armed again when it fires. */
const MAX_TIMER_MS = 2 ** 31 - 1

type RequestOptions = ApplyOptions

interface Pending {
  readonly id: number
  readonly request: HostRequest
  readonly deadlineMs: number
  readonly isHasty: boolean
  resolve: (value: HostValues[keyof HostValues]) => void
  reject: (error: SwarmError) => void
}

/** The `Compute` of one PNode over one engine at a time. */
export class EngineCompute implements Compute {
  readonly #options: EngineComputeOptions
  readonly #listeners = new Set<(loss: ComputeLoss) => void>()
  readonly #loaded = new Set<string>()
  /** Made while there is no engine, in order. */
  #waiting: Pending[] = []
  /** Sent to the engine, in order; the first one is being executed. */
  #underWay: Pending[] = []
  #engine: Engine | undefined
  #isTaking = false
  #isClosed = false
  #lastId = 0
  /** When the first request under way began, as far as it can be known here: it was sent, or the one before was answered. */
  #headSinceMs = 0
  #timer: { readonly dueMs: number; readonly cancel: () => void } | undefined

  constructor(options: EngineComputeOptions) {
    this.#options = options
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  start(signal?: AbortSignal, options: MeasureOptions = {}): Promise<Measured> {
    return this.#request({ kind: 'benchmark', ...options }, { signal })
  }

  load(machine: string, definition: unknown, blob: Uint8Array | undefined, options?: RequestOptions): Promise<void> {
    return this.#request({ kind: 'load', machine, definition, blob }, options)
  }

  apply(machine: string, request: ApplyRequest, options?: ApplyOptions): Promise<ApplyResult> {
    return this.#request({ kind: 'apply', machine, request }, options)
  }

  snapshot(machine: string): Promise<Uint8Array> {
    return this.#request({ kind: 'snapshot', machine })
  }

  unload(machine: string): Promise<void> {
    return this.#request({ kind: 'unload', machine })
  }

  memory(): Promise<HostValues['memory']> {
    return this.#request({ kind: 'memory' })
  }

  onLoss(listener: (loss: ComputeLoss) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  kill(reason: string): void {
    this.#lose(`killed: ${reason}`)
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const engine = this.#release()
    for (const pending of [...this.#underWay.splice(0), ...this.#waiting.splice(0)]) pending.reject(this.#closedError())
    this.#listeners.clear()
    await engine?.end()
  }

  #request<K extends HostRequest['kind']>(
    request: Extract<HostRequest, { kind: K }>,
    { signal, deadlineMs = this.#options.deadlineMs ?? DEFAULT_STEP_DEADLINE_MS, patienceMs = Infinity }: RequestOptions = {},
  ): Promise<HostValues[K]> {
    return new Promise<HostValues[keyof HostValues]>((resolve, reject) => {
      if (this.#isClosed) throw this.#closedError()
      if (signal?.aborted) throw aborted(request, signal)
      const count = this.#underWay.length + this.#waiting.length
      invariant(count < MAX_REQUESTS_UNDER_WAY, () => `compute '${this.#options.name}' has ${count} requests under way`)
      const [limitMs, isHasty] = [Math.min(deadlineMs, patienceMs), patienceMs < deadlineMs]
      const pending: Pending = { id: ++this.#lastId, request, deadlineMs: limitMs, isHasty, resolve, reject }
      if (signal) this.#heed(signal, pending)
      if (this.#engine) {
        this.#post(this.#engine, pending)
      } else {
        this.#waiting.push(pending)
        this.#take()
      }
    }) as Promise<HostValues[K]> // a reply has the value of its request's kind: MachineHost.execute
  }

  /** Rejects `pending` when the signal says so, and forgets the signal when it is settled. */
  #heed(signal: AbortSignal, pending: Pending): void {
    const { resolve, reject } = pending
    const onAbort = (): void => {
      reject(aborted(pending.request, signal))
      const { request } = pending
      const at = this.#waiting.indexOf(pending)
      if (at >= 0) this.#waiting.splice(at, 1)
      else if (request.kind === 'load' && this.#isNewestLoad(request.machine, pending)) this.unload(request.machine).catch(() => {})
    }
    pending.resolve = (value) => {
      signal.removeEventListener('abort', onAbort)
      resolve(value)
    }
    pending.reject = (error) => {
      signal.removeEventListener('abort', onAbort)
      reject(error)
    }
    signal.addEventListener('abort', onAbort, { once: true })
  }

  #isNewestLoad(machine: string, pending: Pending): boolean {
    return this.#underWay.findLast(({ request }) => request.kind === 'load' && request.machine === machine) === pending
  }

  /** Gets an engine; its absence is told to those who wait for it, and the next request tries again. */
  #take(): void {
    if (this.#isTaking || this.#isClosed) return
    this.#isTaking = true
    this.#options.takeEngine(this.#options.name).then(
      (engine) => {
        this.#isTaking = false
        if (this.#isClosed) void engine.end()
        else this.#use(engine)
      },
      (error: unknown) => {
        this.#isTaking = false
        const reason = toSwarmError(error, 'compute.failed', 'no worker could be started')
        for (const pending of this.#waiting.splice(0)) pending.reject(reason)
      },
    )
  }

  #use(engine: Engine): void {
    this.#engine = engine
    engine.attach({
      answered: (id, reply) => this.#answered(engine, id, reply),
      ended: (reason) => this.#engine === engine && this.#lose(reason, { isByItself: true }),
    })
    for (const pending of this.#waiting.splice(0)) this.#post(engine, pending)
  }

  #post(engine: Engine, pending: Pending): void {
    const { request } = pending
    try {
      engine.post(pending.id, request)
    } catch (error) {
      pending.reject(toSwarmError(error, 'compute.failed', `${describe(request)} cannot be sent to a worker`))
      return
    }
    this.#underWay.push(pending)
    if (this.#underWay.length > 1) return
    engine.hold(true)
    this.#headSinceMs = this.#options.clock.now()
    this.#watch()
  }

  #answered(engine: Engine, id: number, reply: HostReply): void {
    if (this.#engine !== engine) return
    const pending = this.#underWay.shift()
    invariant(pending?.id === id, () => `worker '${engine.name}' answered request ${id}, expected ${pending?.id}`)
    this.#headSinceMs = this.#options.clock.now()
    if (this.#underWay.length === 0) engine.hold(false)
    else this.#watch()
    const { request } = pending
    if ('machine' in request) this.#count(request.kind, request.machine, reply)
    if (reply.ok) pending.resolve(reply.value)
    else pending.reject(errorOf(reply))
  }

  #count(kind: HostRequest['kind'], machine: string, reply: HostReply): void {
    if (reply.ok ? kind === 'unload' : reply.isDropped) this.#loaded.delete(machine)
    else if (reply.ok && kind === 'load') this.#loaded.add(machine)
  }

  /** Keeps a timer that fires no later than the head's deadline; mostly it is there already, so that a step costs no timer. */
  #watch(): void {
    const head = this.#underWay[0]
    const { clock } = this.#options
    if (!head) return
    const dueMs = this.#headSinceMs + head.deadlineMs
    if (this.#timer && this.#timer.dueMs <= dueMs) return
    this.#timer?.cancel()
    const fire = (): void => {
      this.#timer = undefined
      if (head !== this.#underWay[0] || clock.now() < dueMs) this.#watch()
      // After a pause of this thread the answer may lie unread: it is read before the check phase of the event loop.
      else setImmediate(() => (head === this.#underWay[0] ? this.#hang(head) : this.#watch()))
    }
    this.#timer = { dueMs, cancel: clock.after(Math.min(Math.max(dueMs - clock.now(), 0), MAX_TIMER_MS), fire) }
  }

  #hang(head: Pending): void {
    const what = `worker '${this.#engine?.name}' did not answer within ${head.deadlineMs} ms: ${describe(head.request)}`
    this.#lose(`hung: ${describe(head.request)}`, {
      isByItself: true,
      headError: new SwarmError('compute.hung', { what, retryable: true }),
    })
  }

  #lose(reason: string, { isByItself = false, headError }: { readonly isByItself?: boolean; readonly headError?: SwarmError } = {}): void {
    const engine = this.#release()
    if (!engine) return
    const machines = [...this.#loaded]
    this.#loaded.clear()
    let culprit: ComputeLoss['culprit']
    this.#underWay.splice(0).forEach(({ request, reject, isHasty }, i) => {
      const what = `worker '${engine.name}' was lost: ${reason}`
      const lost = new SwarmError('compute.lost', { what, where: describe(request), retryable: true })
      const error = i === 0 && headError ? headError : lost
      if (i === 0 && isByItself && request.kind === 'apply')
        culprit = { machine: request.machine, error, ...(isHasty && headError && { isHasty }) }
      reject(error)
    })
    const loss: ComputeLoss = { worker: engine.name, reason, machines, ...(culprit && { culprit }) }
    engine.end().catch(() => {}) // it is lost already
    this.#take()
    // In a later turn, so that whoever awaits a rejected request, however indirectly, has heard of it.
    setImmediate(() => {
      const listeners = Array.from(this.#listeners) // those now: one of them may subscribe another
      for (const listener of listeners) listener(loss)
    })
  }

  #release(): Engine | undefined {
    this.#timer?.cancel()
    this.#timer = undefined
    const engine = this.#engine
    this.#engine = undefined
    return engine
  }

  #closedError(): SwarmError {
    return new SwarmError('compute.closed', `compute '${this.#options.name}' is closed`)
  }
}

function describe(request: HostRequest): string {
  const machine = 'machine' in request ? ` of machine '${request.machine}'` : ''
  const step = request.kind === 'apply' ? ` (vnode '${request.request.header.vnode}', ${stepOf(request.request)})` : ''
  return `${request.kind}${machine}${step}`
}

function aborted(request: HostRequest, signal: AbortSignal): SwarmError {
  return new SwarmError('aborted', { what: `${describe(request)} was aborted`, cause: signal.reason })
}
