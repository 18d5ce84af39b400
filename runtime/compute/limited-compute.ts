/** A compute that rests after each step, so that it takes no more than a share of one core. */
import type { Clock } from '../clock.js'
import { SwarmError, isSwarmError } from '../errors.js'
import type {
  ApplyOptions,
  ApplyRequest,
  ApplyResult,
  Compute,
  ComputeLoss,
  ComputePool,
  Measured,
  MeasureOptions,
  RefineRequest,
  RefineResult,
} from './compute.js'
import { type Claim, RANK, refinementClaim, stepClaim, Turns } from './turns.js'

/** `pool`, with computes that work for `share` of the time, above 0 to 1; each of them by itself. */
export function limitedPool(pool: ComputePool, share: number, clock: Clock): ComputePool {
  if (share >= 1) return pool
  const computes = new Map<string, LimitedCompute>()
  return {
    compute(name) {
      const known = computes.get(name)
      if (known && !known.isClosed) return known
      const made = new LimitedCompute(pool.compute(name), share, clock)
      computes.set(name, made)
      return made
    },
    async close() {
      for (const compute of computes.values()) compute.refuse()
      await pool.close()
    },
  }
}

/** `compute`, working for `share` of the time, above 0 to 1. */
export function limitedCompute(compute: Compute, share: number, clock: Clock): Compute {
  return share >= 1 ? compute : new LimitedCompute(compute, share, clock)
}

interface RequestOptions {
  readonly signal?: AbortSignal
  readonly deadlineMs?: number
}

interface Waiting {
  readonly what: string
  /** Sends it on; resolves when it has ended, with how long it took, in ms. */
  begin(): Promise<number>
  reject(error: SwarmError): void
}

/** Steps one at a time, a rest after each; whose turn it is then, turns.ts says. */
class LimitedCompute implements Compute {
  readonly #compute: Compute
  readonly #clock: Clock
  readonly #share: number
  /** Rest for each ms of work. */
  readonly #restShare: number
  readonly #waiting = new Turns<Waiting>()
  readonly #listeners = new Set<(loss: ComputeLoss) => void>()
  /** A step is under way, or its rest. */
  #isHeld = false
  /** A step is under way on a worker that has what waits, too. */
  #isUnderWay = false
  #isClosed = false

  constructor(compute: Compute, share: number, clock: Clock) {
    this.#compute = compute
    this.#clock = clock
    this.#share = share
    this.#restShare = (1 - share) / share
    compute.onLoss((loss) => this.#onLoss(loss))
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  async start(signal?: AbortSignal, options?: MeasureOptions): Promise<Measured> {
    const measured = await this.#compute.start(signal, options)
    return { ...measured, gflops: measured.gflops * this.#share }
  }

  load(id: string, definition: unknown, blob: Uint8Array | undefined, options?: RequestOptions): Promise<void> {
    const claim = { machine: id, run: '', rank: RANK.control }
    return this.#enqueue(`load of ${id}`, claim, () => this.#compute.load(id, definition, blob, options), options?.signal)
  }

  apply(id: string, request: ApplyRequest, options?: ApplyOptions): Promise<ApplyResult> {
    const claim = stepClaim(id, request, options)
    const step = () => this.#withRest(() => this.#compute.apply(id, request, options))
    return this.#enqueue(`step ${request.step} of ${id}`, claim, step, options?.signal)
  }

  refine(id: string, request: RefineRequest, options?: ApplyOptions): Promise<RefineResult> {
    const claim = refinementClaim(id, request, options)
    const update = () => this.#withRest(() => this.#compute.refine(id, request, options))
    return this.#enqueue(`refinement ${request.update} after step ${request.step} of ${id}`, claim, update, options?.signal)
  }

  snapshot(id: string): Promise<Uint8Array> {
    return this.#enqueue(`snapshot of ${id}`, { machine: id, run: '', rank: RANK.control }, () => this.#compute.snapshot(id))
  }

  async unload(id: string): Promise<void> {
    await this.#enqueue(`unload of ${id}`, { machine: id, run: '', rank: RANK.control }, () => this.#compute.unload(id))
    this.#waiting.forget(id)
  }

  memory(): ReturnType<Compute['memory']> {
    return this.#enqueue('memory', { machine: '', run: '', rank: RANK.control }, () => this.#compute.memory())
  }

  onLoss(listener: (loss: ComputeLoss) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  kill(reason: string): void {
    // What is asked for from now on is for the next worker.
    this.#isUnderWay = false
    this.#loseWaiting(`killed: ${reason}`)
    this.#compute.kill(reason)
  }

  async close(): Promise<void> {
    this.refuse()
    await this.#compute.close()
  }

  /** Nothing that waits is begun any more. */
  refuse(): void {
    this.#isClosed = true
    this.#listeners.clear()
    for (const waiting of this.#waiting.clear()) waiting.reject(closedError(waiting.what))
  }

  /** @throws what `begin` throws; `aborted`, `compute.lost` and `compute.closed` for what was not begun */
  #enqueue<T>(what: string, claim: Claim, begin: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const aborted = () => new SwarmError('aborted', { what: `${what} was aborted`, cause: signal?.reason })
    if (this.#isClosed) return Promise.reject(closedError(what))
    if (signal?.aborted) return Promise.reject(aborted())
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.delete(waiting)
        reject(aborted())
      }
      const waiting: Waiting = {
        what,
        begin() {
          signal?.removeEventListener('abort', onAbort)
          const begun = begin()
          begun.then(resolve, reject)
          return begun.then(busyMsOf, () => 0)
        },
        reject(error) {
          signal?.removeEventListener('abort', onAbort)
          reject(error)
        },
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#waiting.add(waiting, claim)
      this.#next()
    })
  }

  /** Begins what has its turn, unless a step or its rest is under way. */
  #next(): void {
    while (!this.#isHeld) {
      const turn = this.#waiting.take()
      if (!turn) return
      void turn.item.begin().then((busyMs) => this.#waiting.took(turn, busyMs))
    }
  }

  /** One after the other, each with its rest behind it. */
  async #withRest<T extends RefineResult>(work: () => Promise<T>): Promise<T> {
    this.#isHeld = true
    this.#isUnderWay = true
    let busyMs = 0
    try {
      const result = await work()
      busyMs = result.busyMs
      // Who is lent a share of the time needs all the longer.
      return { ...result, busyMs: busyMs / this.#share }
    } catch (error) {
      if (isSwarmError(error, 'compute.lost', 'compute.hung') && this.#isUnderWay) this.#loseWaiting(error.message)
      throw error
    } finally {
      this.#isUnderWay = false
      this.#rest(busyMs * this.#restShare)
    }
  }

  #rest(ms: number): void {
    this.#clock.after(ms, () => {
      this.#isHeld = false
      this.#next()
    })
  }

  #onLoss(loss: ComputeLoss): void {
    // After the rejections, of which that of the step takes the longest way.
    this.#clock.after(0, () => this.#listeners.forEach((listener) => listener(loss)))
  }

  #loseWaiting(reason: string): void {
    for (const waiting of this.#waiting.clear())
      waiting.reject(new SwarmError('compute.lost', { what: `${waiting.what}: ${reason}`, retryable: true }))
  }
}

function busyMsOf(result: unknown): number {
  return typeof result === 'object' && result !== null && 'busyMs' in result ? Number(result.busyMs) : 0
}

const closedError = (what: string) => new SwarmError('compute.closed', `the compute was closed: ${what}`)
