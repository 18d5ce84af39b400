/** A run's events on disk: what `status`, `events` and `explain` read, in this process or another. */
import type { Clock } from '../../runtime/clock.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { ListOptions } from '../../runtime/object-store/repeated-call.js'
import type { RunEvent } from '../events.js'

const prefix = (run: string): string => `runs/${run}/events/`
/** Events are written together, this often, in ms: what a crash loses are lines for people, never a step. */
const FLUSH_MS = 500

/** Appends events in chunks: objects cannot grow, so each flush is an object of its own, named by time and number. */
export class EventLog {
  readonly #store: ObjectStore
  readonly #run: string
  readonly #clock: Clock
  readonly #opened: string
  readonly #onFailure: (error: unknown) => void
  #pending: RunEvent[] = []
  #chunks = 0
  #isFailing = false
  #cancel: (() => void) | undefined
  #writing: Promise<void> = Promise.resolve()

  /** @param onFailure told of the first of several writes in a row that fail */
  constructor(store: ObjectStore, run: string, clock: Clock, onFailure: (error: unknown) => void = () => {}) {
    this.#onFailure = onFailure
    this.#store = store
    this.#run = run
    this.#clock = clock
    this.#opened = String(Math.round(clock.now())).padStart(15, '0')
  }

  append(event: RunEvent): void {
    // Of progress only the newest matters to those who come later.
    const last = this.#pending.at(-1)
    if (event.type === 'progress' && last?.type === 'progress') this.#pending.pop()
    this.#pending.push(event)
    // Whoever is told that a run has ended may look at once.
    if (event.type === 'done' || event.type === 'paused' || event.type === 'failed') this.#flush()
    else this.#cancel ??= this.#clock.after(FLUSH_MS, () => this.#flush())
  }

  /** Resolves when all that was appended is in the store. */
  async flush(): Promise<void> {
    this.#flush()
    await this.#writing
  }

  async close(): Promise<void> {
    await this.flush()
  }

  #flush(): void {
    this.#cancel?.()
    this.#cancel = undefined
    if (this.#pending.length === 0) return
    const lines = this.#pending.map((event) => `${JSON.stringify(event)}\n`).join('')
    this.#pending = []
    const key = `${prefix(this.#run)}${this.#opened}-${String(this.#chunks++).padStart(6, '0')}`
    // Events are for people: a store that refuses them stops the run by its checkpoints, with a better message.
    this.#writing = this.#writing
      .then(() => this.#store.put(key, new TextEncoder().encode(lines)))
      .then(
        () => void (this.#isFailing = false),
        (error: unknown) => this.#failed(error),
      )
  }

  #failed(error: unknown): void {
    const isFirst = !this.#isFailing
    this.#isFailing = true
    if (isFirst) this.#onFailure(error)
  }
}

/** Events are for people: a line that cannot be read is left out. */
function readLine(line: string): RunEvent[] {
  try {
    return [JSON.parse(line) as RunEvent]
  } catch {
    return []
  }
}

/** Some of a run's events: those that were written together. */
export interface EventChunk {
  /** Its key. */
  readonly chunk: string
  readonly events: RunEvent[]
}

/** Chunks that are fetched together: from a store at the other end of a network one by one takes minutes for a long run. */
const FETCHED_TOGETHER = 16

/** The events of a run so far, oldest first. @param after the key of the last chunk that was read */
export async function* readEvents(store: ObjectStore, run: string, after = ''): AsyncGenerator<EventChunk> {
  yield* readChunks(store, await chunksOf(store, run, after))
}

/** The same from the newest chunk on, for those who look for the last event of a kind. */
export async function* readEventsBackwards(store: ObjectStore, run: string, after = ''): AsyncGenerator<EventChunk> {
  yield* readChunks(store, (await chunksOf(store, run, after)).toReversed())
}

/** The key of the newest chunk: what is read after it is new. */
export async function lastChunkOf(store: ObjectStore, run: string): Promise<string> {
  return (await chunksOf(store, run, '')).at(-1) ?? ''
}

async function chunksOf(store: ObjectStore, run: string, after: string): Promise<string[]> {
  const chunks: string[] = []
  // A store that can begins there; from others come the keys before it too.
  const options: ListOptions = after ? { after } : {}
  for await (const { key } of store.list(prefix(run), options)) if (key > after) chunks.push(key)
  return chunks
}

async function* readChunks(store: ObjectStore, chunks: readonly string[]): AsyncGenerator<EventChunk> {
  for (let from = 0; from < chunks.length; from += FETCHED_TOGETHER) {
    yield* await Promise.all(chunks.slice(from, from + FETCHED_TOGETHER).map(async (chunk) => readChunk(store, chunk)))
  }
}

async function readChunk(store: ObjectStore, chunk: string): Promise<EventChunk> {
  const text = new TextDecoder().decode((await store.get(chunk)).bytes)
  const lines = text.split('\n').filter((line) => line !== '')
  return { chunk, events: lines.flatMap(readLine) }
}
