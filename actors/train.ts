/** The library's front door on one machine: start a run, go on with one, look at one. Never prints, traps no signals, never exits. */
import { resolve as resolvePath } from 'node:path'
import { type Dataset, datasetFromShards, shardKey } from '../components/datasets/index.js'
import { type BackendChoice, BACKENDS, backendOfClass, machineModule } from '../components/backends.js'
import type { Target } from '../components/define.js'
import { assertInstalled } from '../components/native/installed.js'
import type { Network } from '../components/network.js'
import { withoutUndefined } from '../components/options.js'
import { type Clock, keepAlive, systemClock } from '../runtime/clock.js'
import type { ComputePool } from '../runtime/compute/compute.js'
import { SwarmError, isSwarmError, toSwarmError } from '../runtime/errors.js'
import type { FileLock } from '../runtime/object-store/file-lock.js'
import { fileStore } from '../runtime/object-store/file-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { readHead } from '../runtime/head-store.js'
import { type Cluster, ClusterRun, openOnCluster } from './cluster.js'
import type { Constraints } from './run/constraints.js'
import { EventLog } from './run/event-log.js'
import type { Metrics, MetricsOf, RunEvent } from './events.js'
import { type HistoryRow, readHistory } from './run/history.js'
import { LocalSwarm, type LocalSwarmOptions } from './local-swarm.js'
import { type Model, openModel } from './model.js'
import type { PoisonLimits } from './run/poison.js'
import { noteRecord, type Prepared, type PrepareOptions, type TrainingOptions, prepare } from './prepare.js'
import { readDefinition, writeDefinition } from './run/run-definition.js'
import { lockRun } from './run/run-lock.js'
import { type CheckpointOptions, runSettings, writeSettings } from './run/run-settings.js'

/** Where a run's PNodes are: in this process. */
export interface Local {
  readonly kind: 'local'
  /** Simulated PNodes, each with a compute worker of its own: 1 to 256. Default 4. */
  readonly pnodes: number
  /** False: everything on the calling thread, for breakpoints and notebook cells; the same hash. Default true. */
  readonly threads: boolean
  /**
   * What its PNodes compute with: `wasm`, whose bits are the same on every machine; `native` (TensorFlow) or `gpu`, which have to be installed
   * (`npm run native:install`). `auto`: wasm, and for a run that goes on, what it began with. Default `auto`.
   */
  readonly backend: BackendChoice
  /** Steps in flight on every edge: 1 to 1,024. Default 4. */
  readonly window: number
  /** A step that takes longer counts as hung, and its worker is replaced; in ms. Default 60,000. */
  readonly stepDeadlineMs?: number
  /** Times of the membership; LocalSwarm has the defaults. */
  readonly membership?: LocalSwarmOptions['membership']
  /** When VNodes move because other PNodes would be faster. */
  readonly balance?: LocalSwarmOptions['balance']
  /** A killed PNode comes back after this long, in ms. */
  readonly returnMs?: number
}

/** PNodes in this process. @throws `usage` */
export function local(options: Partial<Omit<Local, 'kind'>> = {}): Local {
  const made: Local = { kind: 'local', pnodes: 4, threads: true, backend: 'auto', window: 4, ...withoutUndefined(options) }
  const check = (name: 'pnodes' | 'window', most: number) => {
    if (Number.isSafeInteger(made[name]) && made[name] >= 1 && made[name] <= most) return
    throw new SwarmError('usage', {
      what: name === 'pnodes' ? 'number of PNodes' : name,
      expected: `an integer from 1 to ${most}`,
      got: String(made[name]),
    })
  }
  check('pnodes', 256)
  check('window', 1024)
  if (!BACKENDS.includes(made.backend)) throw new SwarmError('usage', { what: 'backend', expected: BACKENDS.join(', '), got: made.backend })
  return made
}

/** What does not decide the hash. */
export interface RunOptions extends Partial<PoisonLimits> {
  /** Default `local()`. */
  readonly on?: Local | Cluster
  /** A folder, or a store. Default `./runs`. */
  readonly store?: string | ObjectStore
  readonly checkpoint?: CheckpointOptions
  /**
   * Standbys of each VNode, 0 to 8: PNodes that apply the same steps in silence. One of them takes over at once when the VNode is lost; each costs
   * as much as the VNode itself. As many as there is room for. Default 0.
   */
  readonly replicas?: number
  /**
   * How many PNodes apply each VNode's log, 1 to 9. From 2 on a checkpoint counts only when all of them agree on every state and on everything that was put
   * out; who does not is found out, convicted, and has no part in the run any more. Costs as many times as much. Default 1: nobody compares.
   */
  readonly redundancy?: number
  /**
   * The share of the segments (the steps of a VNode between two checkpoints) of each PNode that another one applies as well, 0 to 1: drawn after the first has said
   * what they give. Who is wrong is out, and the run goes back before all of his that nobody has verified. Costs as much more as the share says. Default: 0.03 on a
   * cluster (none where there are 8 replicas, or on GPUs; when it is resumed, what it was), none on this machine, which nobody else has a part in.
   */
  readonly audits?: number
  /** What is asked of the places of VNodes. Default: nothing. */
  readonly constraints?: Constraints
  /** Its abort pauses the run at a step boundary. */
  readonly signal?: AbortSignal
  /** Of downloads. */
  readonly onProgress?: PrepareOptions['onProgress']
}

/** How a run ended, this time. */
export interface RunResult<M extends Metrics = Metrics> {
  readonly status: 'done' | 'paused'
  readonly run: string
  /** Steps applied by every VNode. */
  readonly steps: number
  readonly epochs: number
  /** Of the last evaluation; empty while there was none. */
  readonly metrics: M
  /** SHA-256 over the VNodes' states in graph order; undefined while it is paused. */
  readonly hash: string | undefined
  readonly seconds: number
  readonly samplesPerSecond: number
  readonly moves: number
  readonly stepsReplayed: number
  readonly stepsLost: number
  readonly stepsDoubled: number
  /** Entries that were given up for a VNode, over the whole life of the run: `swarmgrad dlq list`. */
  readonly deadLetters: number
}

/** A run under way, or one that has ended. `M`: what its evaluations measure, by its target. */
export interface Run<M extends Metrics = Metrics> {
  readonly id: string
  /** A snapshot, then what happens. Any number of readers, none of which slows the run. */
  events(signal?: AbortSignal): AsyncIterable<RunEvent<M>>
  /** Rejects with a SwarmError if the run fails; never an unhandled rejection. */
  readonly result: Promise<RunResult<M>>
  /** One row per evaluation, with a column of metrics for each VNode. */
  history(): Promise<HistoryRow<M>[]>
  /** Stops at the next step boundary, with a checkpoint; resolves when it has. */
  pause(): Promise<void>
  /** The trained network, from the newest checkpoint. */
  model(): Promise<Model>
}

/** What tests and benchmarks may exchange. */
export interface Internals {
  readonly clock?: Clock
  readonly pool?: ComputePool
  readonly connect?: LocalSwarmOptions['connect']
  readonly disguise?: LocalSwarmOptions['disguise']
  readonly speech?: LocalSwarmOptions['speech']
  readonly onObservation?: LocalSwarmOptions['onObservation']
  readonly cutSteps?: ReadonlySet<number>
  /** The data, if it is at hand: `resume` then does not read it from the store. */
  readonly dataset?: Dataset
  /** Called when the swarm is up: the place for chaos. */
  readonly onSwarm?: (swarm: LocalSwarm) => void
  /** The run's id; default: the data set's name and a random suffix. */
  readonly id?: string
}

export const DEFAULT_STORE = './runs'

/** Starts a run and returns it at once. Whatever is wrong with the definition rejects `result`. */
export function train<T extends Target>(
  network: Network<T>,
  training: TrainingOptions,
  options: RunOptions = {},
  internals: Internals = {},
): Run<MetricsOf<T>> {
  const id = internals.id ?? `${nameOf(training?.data)}-${crypto.randomUUID().slice(0, 6)}`
  const { on = local() } = options
  const open = async (store: ObjectStore) => {
    const prepared = await prepare(network, training, store, options)
    // Before anything is kept of the run.
    runSettings(prepared.definition, { ...options, window: on.window })
    await writeDefinition(store, id, prepared.definition)
    return prepared
  }
  const run: Run = on.kind === 'cluster' ? new ClusterRun(id, on, options, open) : new LocalRun(id, on, options, internals, open)
  return run as Run<MetricsOf<T>> // evaluations measure what the target says: losses.ts
}

/** The first part of a run's id, for people; whatever is wrong with the data is said by `prepare`. */
function nameOf(data: unknown): string {
  const { id, name } = (data ?? {}) as { readonly id?: unknown; readonly name?: unknown }
  const chosen = [id, name].find((value) => typeof value === 'string') ?? 'run'
  return chosen.replaceAll(/[^A-Za-z0-9_-]/g, '-').slice(0, 40)
}

/** Goes on with a run from its newest checkpoint. @throws through `result`: `run.not-found`, `run.busy`, `run.changed`, `checkpoint.class` */
export function resume(id: string, options: RunOptions = {}, internals: Internals = {}): Run {
  const { on = local() } = options
  if (on.kind === 'cluster') return new ClusterRun(id, on, options, (store) => openOnCluster(store, id))
  return new LocalRun(id, on, options, internals, async (store) => {
    const computeClass = await readHead(store, id).then(
      ({ head }) => head.computeClass,
      (error: unknown) => {
        // A run that was killed before its first write starts from its seed.
        if (!isSwarmError(error, 'run.not-found')) throw error
        return undefined
      },
    )
    const definition = await readDefinition(store, id)
    const dataset =
      internals.dataset ?? (await datasetFromShards(definition.data, async (sha256) => (await store.get(shardKey(sha256))).bytes))
    return { definition, dataset, computeClass }
  })
}

/** The store that an option names. */
export function openStore(store: string | ObjectStore = DEFAULT_STORE): ObjectStore {
  return typeof store === 'string' ? fileStore({ root: resolvePath(store) }) : store
}

/** What a run needs to be started here. The compute class is that of a run that goes on. */
type Opened = Pick<Prepared, 'definition' | 'dataset'> & Partial<Pick<Prepared, 'notes'>> & { readonly computeClass?: string }

class LocalRun implements Run {
  readonly id: string
  readonly result: Promise<RunResult>
  readonly #on: Local
  readonly #options: RunOptions
  readonly #internals: Internals
  #store: ObjectStore
  readonly #clock: Clock
  readonly #abort = new AbortController()
  /** Resolves when there are events to read; never rejects. */
  readonly #started: Promise<LocalSwarm | undefined>
  #announce: (swarm: LocalSwarm | undefined) => void = () => undefined

  constructor(id: string, on: Local, options: RunOptions, internals: Internals, open: (store: ObjectStore) => Promise<Opened>) {
    this.id = id
    this.#on = on
    this.#options = options
    this.#internals = internals
    this.#store = openStore(options.store)
    this.#clock = internals.clock ?? systemClock
    this.#started = new Promise((resolve) => (this.#announce = resolve))
    this.result = this.#live(open)
      .catch((error: unknown) => {
        throw toSwarmError(error, 'internal', `run ${id}`)
      })
      .finally(() => this.#announce(undefined))
    this.result.catch(() => undefined)
  }

  async *events(signal?: AbortSignal): AsyncGenerator<RunEvent, void> {
    const swarm = await this.#started
    if (swarm) yield* swarm.monitor.feed.subscribe(signal)
  }

  history(): Promise<HistoryRow[]> {
    return readHistory(this.#store, this.id)
  }

  async pause(): Promise<void> {
    this.#abort.abort()
    await this.result
  }

  async model(): Promise<Model> {
    await this.result
    return openModel(this.#store, this.id)
  }

  async #live(open: (store: ObjectStore) => Promise<Opened>): Promise<RunResult> {
    const lock = await this.#lock()
    // When everything is lost, all that is left is waiting: no reason for the process to end.
    const letGo = keepAlive()
    try {
      const opened = await open(this.#store)
      const pool = this.#internals.pool ?? (await openPool(this.#on, this.#clock, opened.computeClass))
      try {
        return await this.#run(opened, pool)
      } finally {
        if (!this.#internals.pool) await pool.close()
      }
    } finally {
      await this.#settle()
      await lock?.release()
      letGo()
    }
  }

  async #run({ definition, dataset, notes = [] }: Opened, pool: ComputePool): Promise<RunResult> {
    const on = this.#on
    const { connect, disguise, speech, onObservation, cutSteps, onSwarm } = this.#internals
    await writeSettings(this.#store, this.id, runSettings(definition, { ...this.#options, window: on.window, atSteps: cutSteps }))
    const swarm: LocalSwarm = new LocalSwarm({
      run: this.id,
      definition,
      dataset,
      store: this.#store,
      clock: this.#clock,
      pool,
      pnodes: Array.from({ length: on.pnodes }, (_, i) => `pnode-${i + 1}`),
      membership: on.membership,
      balance: on.balance,
      returnMs: on.returnMs,
      connect,
      disguise,
      speech,
      onObservation,
      onError: (error) => swarm.monitor.emit({ type: 'warning', error: error.toJSON() }),
    })
    const log = new EventLog(this.#store, this.id, this.#clock)
    const stopLogging = swarm.monitor.feed.listen((event) => log.append(event))
    const ended = this.#ended(swarm)
    try {
      this.#announce(swarm)
      await Promise.race([swarm.start(), ended])
      for (const note of notes) swarm.monitor.emit({ type: 'warning', error: noteRecord(note) })
      onSwarm?.(swarm)
      this.#pauseOn([this.#options.signal, this.#abort.signal], swarm)
      const startedMs = this.#clock.now()
      const firstStep = swarm.monitor.step
      const last = await ended
      if (last.type === 'failed') throw SwarmError.from(last.error)
      const seconds = (this.#clock.now() - startedMs) / 1000
      const { head } = await readHead(this.#store, this.id)
      const rows = await this.history()
      const steps = last.type === 'done' ? last.steps : last.step
      const { stepsLost, stepsDoubled } = swarm.monitor.counters
      return {
        status: last.type,
        run: this.id,
        steps,
        epochs: definition.training.epochs,
        metrics: head.result?.metrics ?? rows.at(-1)?.metrics ?? {},
        hash: head.result?.hash,
        seconds,
        samplesPerSecond: ((steps - firstStep) * definition.training.batchSize) / seconds,
        moves: head.counters.moves,
        stepsReplayed: head.counters.stepsReplayed,
        stepsLost,
        stepsDoubled,
        deadLetters: head.skips?.length ?? 0,
      }
    } catch (error) {
      throw toSwarmError(error, 'internal', `run ${this.id}`)
    } finally {
      await swarm.close()
      stopLogging()
      await log.close()
    }
  }

  /** The event that ends the run, this time. */
  #ended(swarm: LocalSwarm): Promise<RunEvent & { type: 'done' | 'paused' | 'failed' }> {
    return new Promise((resolve) => {
      swarm.monitor.feed.listen((event) => {
        if (event.type === 'done' || event.type === 'paused' || event.type === 'failed') resolve(event)
      })
    })
  }

  #pauseOn(signals: readonly (AbortSignal | undefined)[], swarm: LocalSwarm): void {
    // A pause that comes too late finds the run done.
    const pause = () => void swarm.pause().catch(() => undefined)
    for (const signal of signals) {
      if (signal?.aborted) pause()
      else signal?.addEventListener('abort', pause, { once: true })
    }
  }

  /** Waits for what is still being written, before another process may begin; `history` and `model` read on. */
  async #settle(): Promise<void> {
    const { store = DEFAULT_STORE } = this.#options
    if (typeof store !== 'string') return
    await this.#store.close()
    this.#store = openStore(store)
  }

  async #lock(): Promise<FileLock | undefined> {
    const { store = DEFAULT_STORE } = this.#options
    if (typeof store !== 'string') return undefined
    return lockRun(store, this.id, `Watch it with: swarmgrad events ${this.id} --follow`)
  }
}

/** @param computeClass of a run that goes on @throws `usage`, `backend.missing` */
async function openPool(on: Local, clock: Clock, computeClass: string | undefined): Promise<ComputePool> {
  const { threads, stepDeadlineMs: deadlineMs } = on
  const backend = on.backend === 'auto' ? backendOfClass(computeClass) : on.backend
  assertInstalled(backend)
  const machines = machineModule(backend)
  if (threads) return (await import('../runtime/compute/thread-compute.js')).computePool({ machines, clock, deadlineMs })
  // A thread has one backend, and the calling one has wasm: networks are compiled there, and predictions made.
  if (backend !== 'wasm')
    throw new SwarmError('usage', { what: `backend '${backend}' without threads`, fix: 'Leave out threads: false (--no-threads)' })
  return (await import('../runtime/compute/inline-compute.js')).inlinePool({ machines, clock, deadlineMs })
}
