/** The compute seam on worker threads: one worker for each compute, and warm spares for those that are lost. */
import { availableParallelism } from 'node:os'
import { Worker, type ResourceLimits } from 'node:worker_threads'
import { systemClock, type Clock } from '../clock.js'
import { SwarmError } from '../errors.js'
import { entryIsKnown } from '../log-root.js'
import { weighed } from '../shared-memory.js'
import type { ApplyRequest, ComputePool } from './compute.js'
import { EngineCompute, type Engine, type EngineEvents } from './engine-compute.js'
import { errorOf, type HostRequest } from './machine-host.js'
import type { WorkerOptions, WorkerReply, WorkerRequest } from './worker.js'

export interface ThreadPoolOptions {
  /** A module that exports `startMachines`; each worker imports it. */
  readonly machines: URL
  /** Warm workers kept for computes that lose theirs. Default 1: a loss then costs no start, and one idle worker is cheap. */
  readonly spares?: number
  /** Workers started at the same time. Default: the number of cores; more would only make each start slower. */
  readonly startsAtOnce?: number
  /** Default: the machine's. */
  readonly clock?: Clock
  /** Deadline of requests that name none. Default `DEFAULT_STEP_DEADLINE_MS`. */
  readonly deadlineMs?: number
  /** A worker may take this long to become warm. Default `DEFAULT_WARM_DEADLINE_MS`. */
  readonly warmDeadlineMs?: number
  /** Limits on a worker's JavaScript heap. Default: Node's. */
  readonly resourceLimits?: ResourceLimits
}

/** Importing a backend takes about a second; an overloaded machine with many starts may need far longer. */
export const DEFAULT_WARM_DEADLINE_MS = 120_000

/**
 * Computes on worker threads. An idle worker does not keep the process alive; a request under way does.
 * What user code prints in a worker goes to the process's stderr.
 */
export function computePool(options: ThreadPoolOptions): ComputePool {
  const workers = new WorkerPool(options)
  const computes = new Map<string, EngineCompute>()
  return {
    compute(name) {
      const known = computes.get(name)
      if (known && !known.isClosed) return known
      const { clock = systemClock, deadlineMs } = options
      const made = new EngineCompute({ name, takeEngine: (owner) => workers.take(owner), clock, deadlineMs })
      computes.set(name, made)
      return made
    },
    async close() {
      await Promise.all([workers.close(), ...[...computes.values()].map((compute) => compute.close())])
    },
  }
}

interface Taker {
  readonly owner: string
  readonly resolve: (worker: WorkerEngine) => void
  readonly reject: (error: unknown) => void
}

/** Starts workers, at most so many at a time, takers before spares. */
class WorkerPool {
  readonly #options: ThreadPoolOptions
  readonly #startsAtOnce: number
  readonly #takers: Taker[] = []
  readonly #warming = new Set<WorkerEngine>()
  readonly #spares = new Set<WorkerEngine>()
  #isClosed = false
  #started = 0

  constructor(options: ThreadPoolOptions) {
    this.#options = options
    this.#startsAtOnce = Math.max(1, options.startsAtOnce ?? availableParallelism())
  }

  /** A warm worker: a spare if there is one. */
  take(owner: string): Promise<Engine> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw closed()
      this.#takers.push({ owner, resolve, reject })
      this.#hand()
      this.#fill()
    })
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const { reject } of this.#takers.splice(0)) reject(closed())
    const workers = [...this.#warming, ...this.#spares]
    this.#spares.clear()
    await Promise.all(workers.map((worker) => worker.end()))
  }

  /** Gives spares to those who wait; while somebody does, the workers that are being started keep the process alive. */
  #hand(): void {
    for (const worker of this.#spares) {
      const taker = this.#takers.shift()
      if (!taker) break
      this.#spares.delete(worker)
      worker.belongTo(taker.owner)
      taker.resolve(worker)
    }
    for (const worker of this.#warming) worker.hold(this.#takers.length > 0)
  }

  #fill(): void {
    const { spares = 1 } = this.#options
    while (!this.#isClosed && this.#warming.size < this.#startsAtOnce) {
      const isNeeded = this.#warming.size < this.#takers.length + Math.max(0, spares - this.#spares.size)
      if (!isNeeded) return
      void this.#warm()
    }
  }

  async #warm(): Promise<void> {
    this.#started += 1
    const worker = new WorkerEngine(`worker-${this.#started}`, this.#options)
    this.#warming.add(worker)
    worker.hold(this.#takers.length > 0)
    try {
      await worker.warm
    } catch (error) {
      this.#warming.delete(worker)
      // A spare that fails is not tried again for itself: the next taker will, and will be told.
      const taker = this.#takers.shift()
      taker?.reject(error)
      if (taker) this.#fill()
      return
    }
    this.#warming.delete(worker)
    if (this.#isClosed) return
    worker.hold(false)
    this.#spares.add(worker)
    worker.attach({ answered() {}, ended: () => this.#spares.delete(worker) })
    this.#hand()
    this.#fill()
  }
}

/** One worker thread. */
class WorkerEngine implements Engine {
  /** Resolves when the machines have started; rejects if the worker fails, ends or is too slow before. */
  readonly warm: Promise<void>
  readonly #worker: Worker
  #name: string
  #events: EngineEvents | undefined
  #hasEnded = false

  constructor(name: string, options: ThreadPoolOptions) {
    this.#name = name
    const workerData: WorkerOptions = { machines: options.machines.href }
    const { resourceLimits } = options
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { name, workerData, resourceLimits, execArgv: execArgv() })
    this.warm = this.#becomeWarm(options)
    this.#worker.on('message', ({ id, reply }: WorkerReply) => {
      if (reply.ok && reply.value !== undefined && 'frame' in reply.value) {
        const { frame, feedback, entries } = reply.value
        for (const made of [frame, feedback]) if (made) weighed(made)
        if (entries) entryIsKnown(frame, entries.frame)
        if (feedback && entries?.feedback) entryIsKnown(feedback, entries.feedback)
      }
      if (id > 0 && !this.#hasEnded) this.#events?.answered(id, reply)
    })
    let reason: string | undefined
    this.#worker.on('error', (error: unknown) => {
      reason = `crashed: ${firstLine(error)}`
    })
    this.#worker.on('exit', (code) => this.#exited(reason ?? `exited with code ${code}`))
  }

  get name(): string {
    return this.#name
  }

  /** Names the worker after its owner. */
  belongTo(owner: string): void {
    this.#name = `${owner}/${this.#name}`
  }

  attach(events: EngineEvents): void {
    this.#events = events
    // It may have ended between becoming warm and being handed out: its owner hears of it all the same.
    if (this.#hasEnded) setImmediate(() => events.ended('ended before its first request'))
  }

  post(id: number, request: HostRequest): void {
    const transfer: ArrayBuffer[] = []
    const own = request.kind === 'apply' ? { ...request, request: copyPlainInputs(request.request, transfer) } : request
    this.#worker.postMessage({ id, request: own } satisfies WorkerRequest, transfer)
  }

  hold(isBusy: boolean): void {
    if (isBusy) this.#worker.ref()
    else this.#worker.unref()
  }

  async end(): Promise<void> {
    this.#hasEnded = true
    await this.#worker.terminate()
  }

  #exited(reason: string): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#events?.ended(reason)
  }

  #becomeWarm({ clock = systemClock, warmDeadlineMs = DEFAULT_WARM_DEADLINE_MS }: ThreadPoolOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      const lost = (what: string) => new SwarmError('compute.lost', { what: `worker '${this.#name}' ${what}`, retryable: true })
      const cancel = clock.after(warmDeadlineMs, () => {
        const what = `worker '${this.#name}' was not warm within ${warmDeadlineMs} ms`
        reject(new SwarmError('compute.hung', { what, retryable: true }))
        void this.end()
      })
      this.#worker.once('message', ({ reply }: WorkerReply) => {
        cancel()
        if (reply.ok) return resolve()
        reject(errorOf(reply))
        void this.end()
      })
      this.#worker.once('error', (error: unknown) => reject(lost(`crashed while it started: ${firstLine(error)}`)))
      this.#worker.once('exit', (code) => {
        cancel()
        reject(lost(`ended with code ${code} while it started`))
      })
    })
  }
}

/** The step with its frames as they can be posted: shared ones as they are, others as copies that are given away. */
function copyPlainInputs(request: ApplyRequest, transfer: ArrayBuffer[]): ApplyRequest {
  const posted = (frame: Uint8Array): Uint8Array => {
    if (frame.buffer instanceof SharedArrayBuffer) return frame
    // Posted as it is, a view would have all of the buffer under it copied.
    const copy = new Uint8Array(frame)
    transfer.push(copy.buffer)
    return copy
  }
  return { ...request, inputs: request.inputs.map(posted), ...(request.feedback && { feedback: request.feedback.map(posted) }) }
}

/** The process's flags, unless it runs a script given as text: Node refuses `--input-type` for a worker, which is a file. */
function execArgv(): string[] | undefined {
  return process.execArgv.some((flag) => flag.startsWith('--input-type')) ? [] : undefined
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n', 1)[0]

const closed = (): SwarmError => new SwarmError('compute.closed', 'the pool of computes is closed')
