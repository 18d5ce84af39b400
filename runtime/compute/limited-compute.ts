/** A compute that rests after each step, so that it takes no more than a share of one core. */
import type { Clock } from '../clock.js'
import { SwarmError, isSwarmError } from '../errors.js'
import type { ApplyOptions, ApplyRequest, ApplyResult, Compute, ComputeLoss, ComputePool, Measured, MeasureOptions } from './compute.js'

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
  /** Sends it on. */
  begin(): void
  reject(error: SwarmError): void
}

/** Steps one at a time, a rest after each; other requests keep their order among them. */
class LimitedCompute implements Compute {
  readonly #compute: Compute
  readonly #clock: Clock
  readonly #share: number
  /** Rest for each ms of work. */
  readonly #restShare: number
  #waiting: Waiting[] = []
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
    return this.#enqueue(`load of ${id}`, () => this.#compute.load(id, definition, blob, options), options?.signal)
  }

  apply(id: string, request: ApplyRequest, options?: ApplyOptions): Promise<ApplyResult> {
    const step = async () => {
      this.#isHeld = true
      this.#isUnderWay = true
      let busyMs = 0
      try {
        const result = await this.#compute.apply(id, request, options)
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
    return this.#enqueue(`step ${request.step} of ${id}`, step, options?.signal)
  }

  snapshot(id: string): Promise<Uint8Array> {
    return this.#enqueue(`snapshot of ${id}`, () => this.#compute.snapshot(id))
  }

  unload(id: string): Promise<void> {
    return this.#enqueue(`unload of ${id}`, () => this.#compute.unload(id))
  }

  memory(): ReturnType<Compute['memory']> {
    return this.#enqueue('memory', () => this.#compute.memory())
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
    for (const waiting of this.#waiting.splice(0)) waiting.reject(closedError(waiting.what))
  }

  /** @throws what `begin` throws; `aborted`, `compute.lost` and `compute.closed` for what was not begun */
  #enqueue<T>(what: string, begin: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const aborted = () => new SwarmError('aborted', { what: `${what} was aborted`, cause: signal?.reason })
    if (this.#isClosed) return Promise.reject(closedError(what))
    if (signal?.aborted) return Promise.reject(aborted())
    if (!this.#isHeld && this.#waiting.length === 0) return begin()
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => {
        this.#waiting = this.#waiting.filter((each) => each !== waiting)
        reject(aborted())
      }
      const waiting: Waiting = {
        what,
        begin() {
          signal?.removeEventListener('abort', onAbort)
          begin().then(resolve, reject)
        },
        reject(error) {
          signal?.removeEventListener('abort', onAbort)
          reject(error)
        },
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#waiting.push(waiting)
    })
  }

  #rest(ms: number): void {
    this.#clock.after(ms, () => {
      this.#isHeld = false
      while (!this.#isHeld && this.#waiting.length > 0) this.#waiting.shift()!.begin()
    })
  }

  #onLoss(loss: ComputeLoss): void {
    // After the rejections, of which that of the step takes the longest way.
    this.#clock.after(0, () => this.#listeners.forEach((listener) => listener(loss)))
  }

  #loseWaiting(reason: string): void {
    for (const waiting of this.#waiting.splice(0))
      waiting.reject(new SwarmError('compute.lost', { what: `${waiting.what}: ${reason}`, retryable: true }))
  }
}

const closedError = (what: string) => new SwarmError('compute.closed', `the compute was closed: ${what}`)
