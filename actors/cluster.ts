/** Runs on a cluster: the trainer's end. The run goes on without it; whoever has the token may watch from anywhere. */
import { type Clock, systemClock } from '../runtime/clock.js'
import { SwarmError, isSwarmError, toSwarmError } from '../runtime/errors.js'
import type { Head } from '../runtime/head.js'
import { readHead } from '../runtime/head-store.js'
import { httpStore } from '../runtime/object-store/http-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { ControlClient } from './control-client.js'
import { readEvents } from './event-log.js'
import type { RunEvent } from './events.js'
import { type HistoryRow, readHistory } from './history.js'
import { type Model, openModel } from './model.js'
import { readDefinition, type RunDefinition } from './run-definition.js'
import { runSettings, writeSettings } from './run-settings.js'
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
  return { kind: 'cluster', url, token, window }
}

/** The object store of a cluster, as its API lets a trainer see it. */
export function clusterStore({ url, token = '' }: Pick<Cluster, 'url' | 'token'>, clock: Clock = systemClock): ObjectStore {
  return httpStore({ url, token, clock })
}

/** How often the head of a run is looked at, in ms: events come by themselves, the end must not be missed. */
const LOOK_MS = 500
/** How long events are not asked for again where a run is not under way or the connection broke, in ms. */
const EVENTS_RETRY_MS = 500

/** A run on a cluster. Aborting its signal pauses it; letting go of it (`detach`) does not. */
export class ClusterRun implements Run {
  readonly id: string
  readonly result: Promise<RunResult>
  readonly #options: RunOptions
  readonly #client: ControlClient
  readonly #store: ObjectStore
  readonly #clock: Clock
  readonly #ending = new AbortController()
  #isStarted = false

  constructor(id: string, on: Cluster, options: RunOptions, open: (store: ObjectStore) => Promise<{ definition: RunDefinition }>) {
    this.id = id
    this.#options = options
    this.#clock = systemClock
    this.#client = new ControlClient({ ...on, clock: systemClock })
    this.#store = clusterStore(on)
    this.result = this.#live(on, open)
      .catch((error: unknown) => {
        throw toSwarmError(error, 'internal', `run ${id}`)
      })
      .finally(() => this.#ending.abort())
    this.result.catch(() => undefined)
  }

  async *events(signal?: AbortSignal): AsyncGenerator<RunEvent, void> {
    const stop = AbortSignal.any([this.#ending.signal, ...(signal ? [signal] : [])])
    while (!stop.aborted) {
      try {
        for await (const event of this.#client.events(this.id, stop)) {
          yield event
          if (event.type === 'done' || event.type === 'paused' || event.type === 'failed') return
        }
      } catch (error) {
        // Not under way yet, or control is being restarted: the run's head says when there is nothing more to come.
        const mayCome = isSwarmError(error, 'run.not-found', 'cluster.unreachable') || (isSwarmError(error) && error.retryable)
        if (!mayCome) throw error
      }
      await this.#clock.sleep(EVENTS_RETRY_MS, stop).catch(() => undefined)
    }
  }

  history(): Promise<HistoryRow[]> {
    return readHistory(this.#store, this.id)
  }

  async pause(): Promise<void> {
    await this.#client.pause(this.id)
    await this.result
  }

  async model(): Promise<Model> {
    await this.result
    return openModel(this.#store, this.id)
  }

  async #live(on: Cluster, open: (store: ObjectStore) => Promise<{ definition: RunDefinition }>): Promise<RunResult> {
    await this.#client.greet(VERSION)
    const { definition } = await open(this.#store)
    await writeSettings(this.#store, this.id, runSettings(definition, this.#options.checkpoint, { window: on.window }))
    const startedMs = this.#clock.now()
    const firstStep = (await this.#head())?.manifests[0]?.step ?? 0
    await this.#client.start(this.id)
    this.#isStarted = true
    const { signal } = this.#options
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
      const head = await this.#head()
      if (head && head.status !== 'running') return head
      await this.#clock.sleep(LOOK_MS)
    }
  }

  async #head(): Promise<Head | undefined> {
    try {
      return (await readHead(this.#store, this.id)).head
    } catch (error) {
      // A control host that is being restarted is no reason to give up a run that goes on.
      if (isSwarmError(error, 'run.not-found') || (this.#isStarted && isSwarmError(error) && error.retryable)) return undefined
      throw error
    }
  }

  async #resultOf(head: Head, { training }: RunDefinition, firstStep: number, seconds: number): Promise<RunResult> {
    if (head.status === 'failed' && head.error) throw SwarmError.from(head.error)
    const rows = await this.history()
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
      ...(await this.#faults()),
    }
  }

  /** From the event that ended the run: control counts them. */
  async #faults(): Promise<{ stepsLost: number; stepsDoubled: number }> {
    let faults = { stepsLost: 0, stepsDoubled: 0 }
    for await (const { events } of readEvents(this.#store, this.id)) {
      for (const event of events) {
        if (event.type === 'done' || event.type === 'paused')
          faults = { stepsLost: event.stepsLost ?? 0, stepsDoubled: event.stepsDoubled ?? 0 }
      }
    }
    return faults
  }
}

/** The definition of a run that is in a cluster's store. */
export async function openOnCluster(store: ObjectStore, id: string): Promise<{ definition: RunDefinition }> {
  return { definition: await readDefinition(store, id) }
}
