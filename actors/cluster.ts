/** Runs on a cluster: the trainer's end. The run goes on without it; whoever has the token may watch from anywhere. */
import { type Clock, keepAlive, systemClock } from '../runtime/clock.js'
import { SwarmError, isSwarmError, toSwarmError } from '../runtime/errors.js'
import type { Head } from '../runtime/head.js'
import { readHead } from '../runtime/head-store.js'
import { httpStore } from '../runtime/object-store/http-store.js'
import { patientStore } from '../runtime/object-store/patient-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { ControlClient } from './control/control-client.js'
import { lastChunkOf, readEventsBackwards } from './run/event-log.js'
import { EVENT_VERSION, type Faults, type RunEvent } from './events.js'
import { followEvents, isEnd } from './control/follow-events.js'
import { type HistoryRow, readHistory } from './run/history.js'
import { type Model, openModel } from './model.js'
import { noteRecord, type Prepared } from './prepare.js'
import { readDefinition, type RunDefinition } from './run/run-definition.js'
import { clusterSettings, settingsIfAny, writeSettings } from './run/run-settings.js'
import type { Run, RunOptions, RunResult } from './train.js'
import { VERSION } from '../runtime/version.js'

/** Where a run's PNodes are: on a cluster. */
export interface Cluster {
  readonly kind: 'cluster'
  /** Of a control host's API. */
  readonly url: string
  /** The trainer's token. */
  readonly token: string | undefined
  /** Steps in flight on every edge: 1 to 1,024. Default 4. */
  readonly window: number
}

/** PNodes that have joined a cluster. @param url of a control host, such as `http://control:7070` @throws `usage` */
export function cluster(url: string, { token, window = 4 }: { readonly token?: string; readonly window?: number } = {}): Cluster {
  if (!Number.isSafeInteger(window) || window < 1 || window > 1024)
    throw new SwarmError('usage', { what: 'window', expected: 'an integer from 1 to 1024', got: String(window) })
  // Refuses what is no address.
  void new ControlClient({ url, token, clock: systemClock })
  return { kind: 'cluster', url, token, window }
}

/** The object store of a cluster, as its API lets a trainer see it. */
export function clusterStore({ url, token = '' }: Pick<Cluster, 'url' | 'token'>, clock: Clock = systemClock): ObjectStore {
  return httpStore({ url, token, clock })
}

/** How often the head of a run is looked at, in ms: events come by themselves, the end must not be missed. */
const LOOK_MS = 500
/** The event that ends a run is in the log a moment after its head says so; how often it is looked for. */
const END_LOOKS = 10

/** A run on a cluster. Aborting its signal pauses it; the end of the process that started it does not touch it. */
export class ClusterRun implements Run {
  readonly id: string
  /** Resolves when control has the run: from now on it goes on by itself. Rejects with what `result` rejects with. */
  readonly started: Promise<void>
  readonly result: Promise<RunResult>
  readonly #options: RunOptions
  readonly #client: ControlClient
  readonly #store: ObjectStore
  readonly #clock: Clock = systemClock
  /** The last stored event of an earlier stretch of the run. */
  #before = ''
  /** What only the trainer knows of the weights that it begins with; empty until it has started. Told as warnings behind the snapshot, too. */
  notes: readonly string[] = []

  constructor(id: string, on: Cluster, options: RunOptions, open: (store: ObjectStore) => Promise<Opened>) {
    this.id = id
    this.#options = options
    this.#client = new ControlClient({ ...on, clock: systemClock })
    this.#store = clusterStore(on)
    // Its timers keep nothing alive, and somebody waits for the result.
    const letGo = keepAlive()
    const started = this.#start(on, open)
    this.started = started.then(() => undefined)
    this.started.catch(() => undefined)
    this.result = started
      .then((beginning) => this.#live(beginning))
      .catch((error: unknown) => {
        throw toSwarmError(error, 'internal', `run ${id}`)
      })
      .finally(letGo)
    this.result.catch(() => undefined)
  }

  async *events(signal?: AbortSignal): AsyncGenerator<RunEvent, void> {
    const hasStarted = await this.started.then(
      () => true,
      () => false,
    )
    const [client, store, run, clock] = [this.#client, this.#store, this.id, this.#clock]
    if (!hasStarted) return
    let { notes } = this
    for await (const event of followEvents({ client, store, run, clock, signal, after: this.#before, withSnapshot: true })) {
      yield event
      for (const note of notes) yield { v: EVENT_VERSION, run, atMs: event.atMs, type: 'warning', error: noteRecord(note) }
      notes = []
    }
  }

  history(): Promise<HistoryRow[]> {
    return readHistory(this.#store, this.id)
  }

  async pause(): Promise<void> {
    await this.started
    await this.#client.pause(this.id)
    await this.result
  }

  async model(): Promise<Model> {
    await this.result
    return openModel(this.#store, this.id)
  }

  async #start(on: Cluster, open: (store: ObjectStore) => Promise<Opened>): Promise<Beginning> {
    await this.#client.greet(VERSION)
    const { definition, notes = [] } = await open(this.#store)
    this.notes = notes
    const before = await settingsIfAny(this.#store, this.id)
    await writeSettings(this.#store, this.id, clusterSettings(definition, { ...this.#options, window: on.window }, before))
    const firstStep = (await this.#head())?.manifests[0]?.step ?? 0
    this.#before = await lastChunkOf(this.#store, this.id)
    const startedMs = this.#clock.now()
    this.#options.signal?.throwIfAborted()
    await this.#client.start(this.id)
    return { definition, firstStep, startedMs }
  }

  async #live({ definition, firstStep, startedMs }: Beginning): Promise<RunResult> {
    const { signal } = this.#options
    // A pause that comes too late finds the run done.
    const pause = () => void this.#client.pause(this.id).catch(() => undefined)
    if (signal?.aborted) pause()
    else signal?.addEventListener('abort', pause, { once: true })
    const head = await this.#ended()
    signal?.removeEventListener('abort', pause)
    const seconds = (this.#clock.now() - startedMs) / 1000
    return this.#resultOf(head, definition, firstStep, seconds)
  }

  /** The head, once the run has ended, this time. */
  async #ended(): Promise<Head> {
    for (;;) {
      try {
        const head = await this.#head()
        if (head && head.status !== 'running') return head
      } catch (error) {
        // A control host that is being restarted is no reason to give up a run that goes on.
        if (!isSwarmError(error) || !error.retryable) throw error
      }
      await this.#clock.sleep(LOOK_MS)
    }
  }

  async #head(): Promise<Head | undefined> {
    try {
      return (await readHead(this.#store, this.id)).head
    } catch (error) {
      if (isSwarmError(error, 'run.not-found')) return undefined
      throw error
    }
  }

  async #resultOf(head: Head, { training }: RunDefinition, firstStep: number, seconds: number): Promise<RunResult> {
    if (head.status === 'failed' && head.error) throw SwarmError.from(head.error)
    // The run is done: a control host that is away just now is waited for.
    const store = patientStore(this.#store, { clock: this.#clock })
    const [rows, faults] = await Promise.all([readHistory(store, this.id), this.#faults(store)])
    const steps = head.manifests[0]?.step ?? 0
    return {
      status: head.status === 'done' ? 'done' : 'paused',
      run: this.id,
      steps,
      epochs: training.epochs,
      metrics: head.result?.metrics ?? rows.at(-1)?.metrics ?? {},
      hash: head.result?.hash,
      seconds,
      samplesPerSecond: ((steps - firstStep) * training.batchSize) / seconds,
      moves: head.counters.moves,
      stepsReplayed: head.counters.stepsReplayed,
      deadLetters: head.skips?.length ?? 0,
      ...faults,
    }
  }

  /** From the event that ended the run: control counts them. */
  async #faults(store: ObjectStore): Promise<{ stepsLost: number; stepsDoubled: number }> {
    for (let look = 0; look < END_LOOKS; look++) {
      for await (const { events } of readEventsBackwards(store, this.id, this.#before)) {
        const end = events.findLast(isEnd)
        if (end) return { stepsLost: 0, stepsDoubled: 0, ...(end.type !== 'failed' && faultsOf(end)) }
      }
      await this.#clock.sleep(LOOK_MS)
    }
    return { stepsLost: 0, stepsDoubled: 0 }
  }
}

const faultsOf = ({ stepsLost = 0, stepsDoubled = 0 }: Faults) => ({ stepsLost, stepsDoubled })

/** What a run needs to be started there. */
type Opened = Pick<Prepared, 'definition'> & Partial<Pick<Prepared, 'notes'>>

/** Where a stretch of a run began. */
interface Beginning {
  readonly definition: RunDefinition
  readonly firstStep: number
  readonly startedMs: number
}

/** The definition of a run that is in a cluster's store. */
export async function openOnCluster(store: ObjectStore, id: string): Promise<{ definition: RunDefinition }> {
  return { definition: await readDefinition(store, id) }
}
