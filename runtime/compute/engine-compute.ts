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
  type RefineRequest,
  type RefineResult,
} from './compute.js'
import { errorOf, stepOf, type HostReply, type HostRequest, type HostValues } from './machine-host.js'
import { type Claim, RANK, refinementClaim, stepClaim, type Turn, Turns } from './turns.js'

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

/** More requests waiting than this are a bug of the caller: windows and credits bound them far below. */
export const MAX_REQUESTS_WAITING = 2 ** 20

/** So many requests an engine has at once: the next one, so that it never waits for us, and no more, so that a better one may go first. */
const AT_THE_ENGINE = 2

/** A timer cannot be set further ahead; it is armed again when it fires. */
const MAX_TIMER_MS = 2 ** 31 - 1

type RequestOptions = ApplyOptions

interface Pending {
  readonly request: HostRequest
  readonly deadlineMs: number
  readonly isHasty: boolean
  resolve: (value: HostValues[keyof HostValues]) => void
  reject: (error: SwarmError) => void
}

/** A request that an engine has. */
interface Posted extends Turn<Pending> {
  readonly id: number
}

/** The `Compute` of one PNode over one engine at a time. */
export class EngineCompute implements Compute {
  readonly #options: EngineComputeOptions
  readonly #listeners = new Set<(loss: ComputeLoss) => void>()
  readonly #loaded = new Set<string>()
  /** Not sent yet. */
  readonly #turns = new Turns<Pending>()
  /** Sent to the engine, in order; the first one is being executed. */
  readonly #underWay: Posted[] = []
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

  refine(machine: string, request: RefineRequest, options?: ApplyOptions): Promise<RefineResult> {
    return this.#request({ kind: 'refine', machine, request }, options)
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
    const underWay = this.#underWay.splice(0).map(({ item }) => item)
    for (const pending of [...underWay, ...this.#turns.clear()]) pending.reject(this.#closedError())
    this.#listeners.clear()
    await engine?.end()
  }

  #request<K extends HostRequest['kind']>(
    request: Extract<HostRequest, { kind: K }>,
    options: RequestOptions = {},
  ): Promise<HostValues[K]> {
    const { signal, deadlineMs = this.#options.deadlineMs ?? DEFAULT_STEP_DEADLINE_MS, patienceMs = Infinity } = options
    return new Promise<HostValues[keyof HostValues]>((resolve, reject) => {
      if (this.#isClosed) throw this.#closedError()
      if (signal?.aborted) throw aborted(request, signal)
      const count = this.#turns.size
      invariant(count < MAX_REQUESTS_WAITING, () => `${count} requests wait for compute '${this.#options.name}'`)
      const [limitMs, isHasty] = [Math.min(deadlineMs, patienceMs), patienceMs < deadlineMs]
      const pending: Pending = { request, deadlineMs: limitMs, isHasty, resolve, reject }
      if (signal) this.#heed(signal, pending)
      this.#turns.add(pending, claimOf(request, options))
      if (this.#engine) this.#post(this.#engine)
      else this.#take()
    }) as Promise<HostValues[K]> // a reply has the value of its request's kind: MachineHost.execute
  }

  /** Rejects `pending` when the signal says so, and forgets the signal when it is settled. */
  #heed(signal: AbortSignal, pending: Pending): void {
    const { resolve, reject } = pending
    const onAbort = (): void => {
      reject(aborted(pending.request, signal))
      const { request } = pending
      if (this.#turns.delete(pending)) return
      if (request.kind === 'load' && this.#isNewestLoad(request.machine, pending)) this.unload(request.machine).catch(() => {})
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
    return this.#underWay.findLast(({ item: { request } }) => request.kind === 'load' && request.machine === machine)?.item === pending
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
        for (const pending of this.#turns.clear()) pending.reject(reason)
      },
    )
  }

  #use(engine: Engine): void {
    this.#engine = engine
    engine.attach({
      answered: (id, reply) => this.#answered(engine, id, reply),
      ended: (reason) => this.#engine === engine && this.#lose(reason, { isByItself: true }),
    })
    this.#post(engine)
  }

  /** Sends whose turn it is, while the engine may have more. */
  #post(engine: Engine): void {
    while (this.#underWay.length < AT_THE_ENGINE) {
      const turn = this.#turns.take(this.#underWay)
      if (!turn) return
      const { request, reject } = turn.item
      const id = ++this.#lastId
      try {
        engine.post(id, request)
      } catch (error) {
        reject(toSwarmError(error, 'compute.failed', `${describe(request)} cannot be sent to a worker`))
        continue
      }
      this.#underWay.push({ ...turn, id })
      if (this.#underWay.length > 1) continue
      engine.hold(true)
      this.#headSinceMs = this.#options.clock.now()
      this.#watch()
    }
  }

  #answered(engine: Engine, id: number, reply: HostReply): void {
    if (this.#engine !== engine) return
    const posted = this.#underWay.shift()
    invariant(posted?.id === id, () => `worker '${engine.name}' answered request ${id}, expected ${posted?.id}`)
    const nowMs = this.#options.clock.now()
    this.#turns.took(posted, busyMsOf(reply) ?? nowMs - this.#headSinceMs)
    this.#headSinceMs = nowMs
    this.#post(engine)
    if (this.#underWay.length === 0) engine.hold(false)
    else this.#watch()
    const { request, resolve, reject } = posted.item
    if ('machine' in request) this.#count(request.kind, request.machine, reply)
    if (reply.ok) resolve(reply.value)
    else reject(errorOf(reply))
  }

  #count(kind: HostRequest['kind'], machine: string, reply: HostReply): void {
    if (reply.ok && kind === 'unload') this.#turns.forget(machine)
    if (reply.ok ? kind === 'unload' : reply.isDropped) this.#loaded.delete(machine)
    else if (reply.ok && kind === 'load') this.#loaded.add(machine)
  }

  /** Keeps a timer that fires no later than the head's deadline; mostly it is there already, so that a step costs no timer. */
  #watch(): void {
    const head = this.#underWay[0]?.item
    const { clock } = this.#options
    if (!head) return
    const dueMs = this.#headSinceMs + head.deadlineMs
    if (this.#timer && this.#timer.dueMs <= dueMs) return
    this.#timer?.cancel()
    const fire = (): void => {
      this.#timer = undefined
      if (head !== this.#underWay[0]?.item || clock.now() < dueMs) this.#watch()
      // After a pause of this thread the answer may lie unread: it is read before the check phase of the event loop.
      else setImmediate(() => (head === this.#underWay[0]?.item ? this.#hang(head) : this.#watch()))
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
    for (const machine of machines) this.#turns.forget(machine)
    let culprit: ComputeLoss['culprit']
    const underWay = this.#underWay.splice(0).map(({ item }) => item)
    for (const [i, { request, reject, isHasty }] of [...underWay, ...this.#turns.clear()].entries()) {
      const what = `worker '${engine.name}' was lost: ${reason}`
      const lost = new SwarmError('compute.lost', { what, where: describe(request), retryable: true })
      const error = i === 0 && headError ? headError : lost
      if (i === 0 && underWay.length > 0 && isByItself && 'request' in request)
        culprit = { machine: request.machine, error, ...(isHasty && headError && { isHasty }) }
      reject(error)
    }
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
  const step = 'request' in request ? ` (vnode '${placeOf(request).vnode}', ${stepOf(request.request)})` : ''
  return `${request.kind}${machine}${step}`
}

const placeOf = (step: Extract<HostRequest, { kind: 'apply' | 'refine' }>) => (step.kind === 'apply' ? step.request.header : step.request)

/** What others wait for goes first; the rest in turn with other runs. */
function claimOf(request: HostRequest, options: ApplyOptions): Claim {
  const machine = 'machine' in request ? request.machine : ''
  if (!('request' in request)) return { machine, run: '', rank: RANK.control }
  if (request.kind === 'refine') return refinementClaim(machine, request.request, options)
  return stepClaim(machine, request.request, options)
}

function busyMsOf(reply: HostReply): number | undefined {
  return reply.ok && reply.value !== undefined && 'busyMs' in reply.value ? reply.value.busyMs : undefined
}

function aborted(request: HostRequest, signal: AbortSignal): SwarmError {
  return new SwarmError('aborted', { what: `${describe(request)} was aborted`, cause: signal.reason })
}
