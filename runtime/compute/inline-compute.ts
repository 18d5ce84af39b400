/** The compute seam on the calling thread, for `threads: false`: a step blocks it, and a hung one cannot be ended. */
import { systemClock, type Clock } from '../clock.js'
import type { Compute, ComputePool } from './compute.js'
import { EngineCompute, type Engine, type EngineEvents } from './engine-compute.js'
import { MachineHost, type HostRequest } from './machine-host.js'
import type { Machines, StartMachines } from './machine.js'
import { importMachines } from './machine-module.js'

export interface InlineOptions {
  /** A module that exports `startMachines`, or the function itself. */
  readonly machines: URL | StartMachines
  /** Default: the machine's. */
  readonly clock?: Clock
  /** Deadline of requests that name none; inline it can only end a `load`. Default `DEFAULT_STEP_DEADLINE_MS`. */
  readonly deadlineMs?: number
}

/** Computes on the calling thread; each has machines of its own. */
export function inlinePool(options: InlineOptions): ComputePool {
  const computes = new Map<string, EngineCompute>()
  let started = 0
  const takeEngine = async (owner: string): Promise<Engine> => {
    const start = typeof options.machines === 'function' ? options.machines : await importMachines(options.machines)
    started += 1
    return new InlineEngine(`${owner}/inline-${started}`, await start())
  }
  return {
    compute(name) {
      const known = computes.get(name)
      if (known && !known.isClosed) return known
      const made = new EngineCompute({ name, takeEngine, clock: options.clock ?? systemClock, deadlineMs: options.deadlineMs })
      computes.set(name, made)
      return made
    },
    async close() {
      await Promise.all([...computes.values()].map((compute) => compute.close()))
    },
  }
}

/** One compute on the calling thread. */
export function inlineCompute(options: InlineOptions): Compute {
  return inlinePool(options).compute('inline')
}

/** Machines on the calling thread, one request per turn of the event loop, so that the other actors of the process progress. */
class InlineEngine implements Engine {
  readonly name: string
  readonly #host: MachineHost
  readonly #queue: { readonly id: number; readonly request: HostRequest }[] = []
  #events: EngineEvents | undefined
  #isRunning = false
  #hasEnded = false

  constructor(name: string, machines: Machines) {
    this.name = name
    this.#host = new MachineHost(machines, { shared: false })
  }

  attach(events: EngineEvents): void {
    this.#events = events
  }

  post(id: number, request: HostRequest): void {
    // Cloned as a worker's would be: the same definitions are refused, and a machine cannot change its caller's.
    const own = request.kind === 'load' ? { ...request, definition: structuredClone(request.definition) } : request
    this.#queue.push({ id, request: own })
    if (!this.#isRunning) this.#schedule()
  }

  hold(): void {
    // A request waits in setImmediate, which keeps the process alive by itself.
  }

  async end(): Promise<void> {
    this.#hasEnded = true
    this.#queue.length = 0
    this.#host.close()
  }

  #schedule(): void {
    this.#isRunning = true
    setImmediate(() => void this.#step())
  }

  async #step(): Promise<void> {
    const next = this.#queue.shift()
    if (!next) {
      this.#isRunning = false
      return
    }
    const answer = this.#host.execute(next.request)
    const reply = answer instanceof Promise ? await answer : answer
    // Ended during a load: what it loaded has no owner any more.
    if (this.#hasEnded) this.#host.close()
    else this.#events?.answered(next.id, reply)
    if (this.#queue.length > 0) this.#schedule()
    else this.#isRunning = false
  }
}
