/** The events of a run on a cluster, from anywhere: first what was stored, then what happens, each once, whatever happens to control meanwhile. */
import type { Clock } from '../../runtime/clock.js'
import { isSwarmError, type SwarmError, toSwarmError } from '../../runtime/errors.js'
import { readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { ControlClient } from './control-client.js'
import { type EventChunk, readEvents, readEventsBackwards } from '../run/event-log.js'
import type { RunEvent } from '../events.js'

export interface FollowOptions {
  readonly client: Pick<ControlClient, 'events'>
  readonly store: ObjectStore
  readonly run: string
  readonly clock: Clock
  readonly signal?: AbortSignal
  /** The last chunk of stored events that is of no interest. Default: all are. */
  readonly after?: string
  /** Whether the first connection's snapshot comes first. Default false. */
  readonly withSnapshot?: boolean
  /** Told when control does not answer: it is asked again and again. */
  readonly onWait?: (error: SwarmError) => void
}

/** How long nothing is asked for again, in ms, while a run is between two owners or control is being restarted. */
const RETRY_MS = 500
/** The event that ends a run is written a moment after its head; how often it is looked for. */
const END_LOOKS = 10
/** Events that are remembered, so that none is told twice: more than a cluster tells in a minute. */
const REMEMBERED = 4_096

type Snapshot = RunEvent & { readonly type: 'snapshot' }
type End = RunEvent & { readonly type: 'done' | 'paused' | 'failed' }
export const isEnd = (event: RunEvent | undefined): event is End =>
  event?.type === 'done' || event?.type === 'paused' || event?.type === 'failed'

/** Until the run has ended, or the signal aborts. @throws `run.not-found`, `cluster.token` and whatever else does not pass */
export async function* followEvents(options: FollowOptions): AsyncGenerator<RunEvent, void> {
  const follower = new Follower(options)
  const { clock, signal, onWait } = options
  while (!signal?.aborted) {
    try {
      yield* follower.follow()
      if (follower.hasEnded) return
    } catch (error) {
      if (signal?.aborted) return
      const cause = toSwarmError(error, 'internal')
      if (!cause.retryable) throw cause
      onWait?.(cause)
    }
    await clock.sleep(RETRY_MS, signal).catch(() => undefined)
  }
}

class Follower {
  readonly #options: FollowOptions
  /** Lines that were told, oldest first. */
  readonly #told = new Set<string>()
  #after: string
  #wantsSnapshot: boolean
  #last: RunEvent | undefined
  #looks = 0
  hasEnded = false

  constructor(options: FollowOptions) {
    this.#options = options
    this.#after = options.after ?? ''
    this.#wantsSnapshot = options.withSnapshot ?? false
  }

  /** One connection: what is new in the store, then what happens while it holds. */
  async *follow(): AsyncGenerator<RunEvent, void> {
    const { client, store, run, signal } = this.#options
    // Asked before the log is read: what is logged at the end is not missed.
    const { status } = (await readHead(store, run)).head
    const live = status === 'running' ? client.events(run, signal) : undefined
    try {
      const snapshot = live && (await this.#connect(live))
      if (snapshot && this.#wantsSnapshot) {
        this.#wantsSnapshot = false
        yield snapshot
      }
      // What was told before we listened is in the store by now.
      yield* this.#stored()
      if (status !== 'running') this.hasEnded = isEnd(this.#last) || ++this.#looks > END_LOOKS
      // It may have ended before we were connected.
      if (!live || snapshot?.status !== 'running') return
      for await (const event of live) {
        // The end may have been in the store already.
        this.hasEnded = isEnd(event)
        if (this.#isNew(event)) yield event
        if (this.hasEnded) return
      }
    } finally {
      await live?.return()
    }
  }

  /** The first event of a connection; undefined: control does not have the run yet, or any more. */
  async #connect(live: AsyncGenerator<RunEvent, void>): Promise<Snapshot | undefined> {
    try {
      const { value } = await live.next()
      return value?.type === 'snapshot' ? value : undefined
    } catch (error) {
      if (isSwarmError(error, 'run.not-found')) return undefined
      throw error
    }
  }

  async *#stored(): AsyncGenerator<RunEvent, void> {
    for await (const { chunk, events } of this.#freshChunks()) {
      this.#after = chunk
      for (const event of events) if (this.#isNew(event)) yield event
    }
  }

  /** Back to a chunk with something that was told: all before it was, too. */
  async *#freshChunks(): AsyncGenerator<EventChunk> {
    const { store, run } = this.#options
    if (this.#told.size === 0) return yield* readEvents(store, run, this.#after)
    const fresh: EventChunk[] = []
    for await (const chunk of readEventsBackwards(store, run, this.#after)) {
      fresh.unshift(chunk)
      if (chunk.events.some((event) => this.#told.has(JSON.stringify(event)))) break
    }
    yield* fresh
  }

  #isNew(event: RunEvent): boolean {
    // Of a connection, not of the run.
    if (event.type === 'snapshot') return false
    const line = JSON.stringify(event)
    if (this.#told.has(line)) return false
    this.#told.add(line)
    if (this.#told.size > REMEMBERED) this.#told.delete(this.#told.values().next().value!)
    this.#last = event
    return true
  }
}
