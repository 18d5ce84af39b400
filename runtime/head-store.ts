/** Writes of the head: each one compare-and-set, by one writer (PROTOCOL.md rules 1 and 2). */
import { isSwarmError, SwarmError } from './errors.js'
import { claimed, decodeHead, encodeRecord, type Head, keys } from './head.js'
import type { ObjectStore } from './object-store/object-store.js'

/** The head of one run as its current writer holds it. */
export class HeadWriter {
  readonly #store: ObjectStore
  readonly #key: string
  #head: Head
  #etag: string
  #queue: Promise<unknown> = Promise.resolve()
  #replaced: SwarmError | undefined

  private constructor(store: ObjectStore, head: Head, etag: string) {
    this.#store = store
    this.#key = keys.head(head.run)
    this.#head = head
    this.#etag = etag
  }

  /** Writes the first head of a run. @throws `store.conflict` if there is one */
  static async create(store: ObjectStore, head: Head): Promise<HeadWriter> {
    const first = claimed(head)
    const { etag } = await store.put(keys.head(head.run), encodeRecord(first), { ifNoneMatch: '*' })
    return new HeadWriter(store, first, etag)
  }

  /** Takes over an existing run: raises `writer`, so that whoever wrote before is refused. @throws `run.not-found`, `run.writer` */
  static async claim(store: ObjectStore, run: string): Promise<HeadWriter> {
    const { head, etag } = await readHead(store, run)
    const writer = new HeadWriter(store, head, etag)
    await writer.update(claimed)
    return writer
  }

  get head(): Head {
    return this.#head
  }

  /** What was said when somebody else had taken the run over: nothing can be written here any more. */
  get replaced(): SwarmError | undefined {
    return this.#replaced
  }

  /** Makes sure that nobody else has taken the run over. @throws `run.writer` somebody has; codes of the store */
  confirm(): Promise<void> {
    return this.#inTurn(async () => {
      const { head } = await readHead(this.#store, this.#head.run)
      if (head.writer !== this.#head.writer) throw this.#beReplaced()
    })
  }

  /**
   * One durable change; resolves when it is on disk. Changes are applied one after another.
   * @throws `run.writer` if somebody else wrote: this writer must stop
   */
  update(change: (head: Head) => Head): Promise<Head> {
    return this.#inTurn(async () => {
      const next = change(this.#head)
      try {
        const { etag } = await this.#store.put(this.#key, encodeRecord(next), { ifMatch: this.#etag })
        this.#etag = etag
      } catch (error) {
        if (!isSwarmError(error, 'store.conflict')) throw error
        throw this.#beReplaced(error)
      }
      this.#head = next
      return next
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work)
    this.#queue = turn.catch(() => undefined)
    return turn
  }

  #beReplaced(cause?: SwarmError): SwarmError {
    const { run, writer } = this.#head
    this.#replaced = new SwarmError('run.writer', {
      what: `another process has taken over run ${run}`,
      got: `writer ${writer} is out of date`,
      retryable: true,
      cause,
    })
    return this.#replaced
  }
}

/** The head as it is now, for reading only. @throws `run.not-found`, `head.version`, `store.damaged` */
export async function readHead(store: ObjectStore, run: string): Promise<{ head: Head; etag: string }> {
  const key = keys.head(run)
  try {
    const { bytes, etag } = await store.get(key)
    return { head: decodeHead(bytes, key), etag }
  } catch (error) {
    if (!isSwarmError(error, 'store.not-found')) throw error
    throw new SwarmError('run.not-found', { what: `no run '${run}'`, fix: 'List the runs with: swarmgrad runs', cause: error })
  }
}
