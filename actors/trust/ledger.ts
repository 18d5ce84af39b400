/**
 * The ledger of contributions: an append-only record of verified work, one for each object store, that nobody can change unseen who does not have its key.
 * What it says and what a point is: ledger-entry.ts.
 *
 * **Two writes for any number of entries**: the newest page with them, then the head, each by compare-and-set. The page decides: of two writers who
 * both append, one loses and begins anew behind the other's entries, so there is one chain. The head is their seal: whoever removes the last
 * entries has to forge it. Who is ended between the two leaves entries that the head does not count; they are part of the ledger, and whoever comes
 * next moves the head behind them.
 */
import type { Clock } from '../../runtime/clock.js'
import { isSwarmError, SwarmError, toSwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { SignedMessage } from '../../runtime/signed-message.js'
import { type Balance, type Booking, Books } from './ledger-books.js'
import {
  type BookedEntry,
  encodeHead,
  fingerprint,
  HEAD_KEY,
  LEDGER_VERSION,
  pageKey,
  type SignedEntry,
  signEntry,
} from './ledger-entry.js'
import { type LedgerKey, successionsBetween } from './ledger-key.js'
import { LedgerReader } from './ledger-reader.js'

export interface LedgerOptions {
  readonly store: ObjectStore
  /** Of control, which may change; where one process is all there is: `storedLedgerKey`. */
  readonly key: LedgerKey
  readonly clock: Clock
  /** A page that has grown so far grows no more. Default 256 KiB: small enough to be written anew for each checkpoint. */
  readonly pageBytes?: number
  /** Ends whatever waits for the store. */
  readonly signal?: AbortSignal
}

/** What became of bookings. */
export interface Booked {
  /** Those that were written, in their order. */
  readonly entries: readonly BookedEntry[]
  /** Those that the ledger had already. */
  readonly repeated: number
}

/** What a ledger has done since it was opened. */
export interface LedgerCounters {
  readonly entries: number
  readonly repeated: number
  /** Bookings that were refused, or could not be written. */
  readonly failed: number
  /** Times that another writer came first. */
  readonly conflicts: number
}

const PAGE_BYTES = 256 * 1024
/** More than any cut has VNodes; one page with so many is still far from what a store refuses. */
export const MAX_BOOKINGS = 10_000
/** Of so many writers at once each gets its turn; control hosts are few. */
const MAX_ATTEMPTS = 50

interface Request {
  readonly bookings: readonly Booking[]
  readonly resolve: (booked: Booked) => void
  readonly reject: (error: SwarmError) => void
}

/**
 * A ledger as one process keeps it; any number of processes may. Nothing is read or written before the first call.
 * Calls that come while one is being written are written together.
 */
export class Ledger {
  readonly #options: LedgerOptions
  #reader: LedgerReader
  #isStale = true
  #waiting: Request[] = []
  #turn: Promise<unknown> = Promise.resolve()
  #counters = { entries: 0, repeated: 0, failed: 0, conflicts: 0 }

  constructor(options: LedgerOptions) {
    this.#options = options
    this.#reader = this.#newReader()
  }

  get counters(): LedgerCounters {
    return this.#counters
  }

  /**
   * Books work and forfeits, all of them or none; durable and sealed when it resolves. What is booked already is not booked again: work by (run, generation, VNode,
   * last step), whoever had it; a forfeit by (host, owner, evidence). So whoever does not know what became of a call just repeats it.
   *
   * The steps of a VNode in a generation come in order, as they are verified: what begins at or before `bookedThrough` and goes beyond it is refused.
   *
   * @throws `ledger.invalid` these bookings cannot be; others that came with them are not touched
   * @throws other codes `ledger.*`: what is stored is damaged (of what was read before, only the newest page is looked at again), and nothing is added; codes of the store, whose `retryable` says whether to repeat
   */
  append(bookings: readonly Booking[]): Promise<Booked> {
    if (bookings.length > MAX_BOOKINGS) {
      const [expected, got] = [`at most ${MAX_BOOKINGS}`, bookings.length]
      return Promise.reject(new SwarmError('ledger.invalid', { what: 'too many bookings at once', expected, got }))
    }
    return new Promise<Booked>((resolve, reject) => {
      this.#waiting.push({ bookings: structuredClone(bookings), resolve, reject })
      // Never rejects: each request is told by itself.
      if (this.#waiting.length === 1) void this.#inTurn(() => this.#drain())
    })
  }

  /** By owner, then host; with what others have booked until now. @throws `ledger.*` if it is damaged; codes of the store */
  balances(): Promise<Balance[]> {
    return this.#inTurn(() => this.#reading(async () => (await this.#refreshed()).balances()))
  }

  /** The last step of a VNode in a generation that is booked; 0: none. @throws as `balances` */
  bookedThrough(run: string, generation: number, vnode: string): Promise<number> {
    return this.#inTurn(() => this.#reading(async () => (await this.#refreshed()).bookedThrough(run, generation, vnode)))
  }

  /** One piece of work at a time. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  #newReader(): LedgerReader {
    return new LedgerReader({ store: this.#options.store })
  }

  async #refreshed(): Promise<Books> {
    await this.#reader.refresh(this.#options.signal)
    this.#successions(this.#options.key)
    this.#isStale = false
    return this.#reader.books
  }

  /** What leads from the key that has signed the last entry to ours. @throws `ledger.key`: nothing does; retryable: ours is the one before */
  #successions({ publicKey, history = [] }: LedgerKey): readonly SignedMessage[] {
    const { keys } = this.#reader
    const signer = keys.at(-1)
    const successions = signer === undefined ? [] : successionsBetween(signer, publicKey, history)
    if (successions) return successions
    const [expected, got] = [fingerprint(publicKey), keys.map(fingerprint).join(', then ')]
    // Another control host has taken up the change before this one.
    const retryable = keys.some((key) => key.equals(publicKey))
    const what = retryable ? 'the ledger is signed by a newer key' : 'the ledger is signed by another key'
    throw new SwarmError('ledger.key', { what, where: HEAD_KEY, expected, got, retryable })
  }

  /** After a failure nobody knows what is stored; of what is damaged nothing is built upon that was read. */
  async #reading<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      this.#isStale = true
      // That somebody has a newer key says nothing against what was read.
      if (error instanceof SwarmError && error.code.startsWith('ledger.') && !error.retryable) this.#reader = this.#newReader()
      throw error
    }
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const requests = this.#takeWaiting()
      try {
        await this.#reading(() => this.#book(requests))
      } catch (error) {
        for (const request of requests) this.#fail(request, toSwarmError(error, 'internal', 'ledger'))
      }
    }
  }

  #takeWaiting(): Request[] {
    let bookings = 0
    const isTooMany = ({ bookings: own }: Request) => (bookings += own.length) > MAX_BOOKINGS
    const end = this.#waiting.findIndex(isTooMany)
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end)
  }

  #fail({ bookings, reject }: Request, error: SwarmError): void {
    this.#counters.failed += bookings.length
    reject(error)
  }

  async #book(requests: readonly Request[]): Promise<void> {
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      // It may be changed while this is under way.
      const { privateKey, publicKey, history } = this.#options.key
      const key = { privateKey, publicKey, history }
      if (this.#isStale) await this.#refreshed()
      if (!this.#reader.head) await this.#begin(key)
      const { draft, change, results, refused } = this.#plan(requests, key)
      const entries = [...(change ? [change] : []), ...[...results.values()].flatMap((plan) => plan.entries)]
      if (await this.#write(entries, draft)) {
        await this.#seal(key)
        for (const [request, error] of refused) this.#fail(request, error)
        for (const [{ resolve }, booked] of results) {
          this.#counters.entries += booked.entries.length
          this.#counters.repeated += booked.repeated
          resolve({ entries: booked.entries.map(({ entry }) => entry as BookedEntry), repeated: booked.repeated })
        }
        return
      }
      this.#counters.conflicts++
      this.#isStale = true
    }
    throw new SwarmError('store.conflict', { what: `others came first ${MAX_ATTEMPTS} times`, where: 'ledger', retryable: true })
  }

  /** The first head: no ledger has pages without one. */
  async #begin(key: LedgerKey): Promise<void> {
    const { store, signal } = this.#options
    try {
      await store.put(HEAD_KEY, encodeHead(this.#reader.books, key), { ifNoneMatch: '*', signal })
    } catch (error) {
      if (!isSwarmError(error, 'store.conflict')) throw error
    }
    await this.#refreshed()
  }

  #plan(requests: readonly Request[], key: LedgerKey) {
    const atMs = this.#options.clock.now()
    const change = this.#change(key, atMs)
    const begun = () => {
      const books = new Books(this.#reader.books)
      if (change) books.add(change.entry, change.hash)
      return books
    }
    let draft = begun()
    const results = new Map<Request, Plan>()
    const refused = new Map<Request, SwarmError>()
    for (const request of requests) {
      // Of one that is refused in its middle nothing stays: those before it are planned anew.
      const planned = planOf(draft, request.bookings, { key, atMs })
      if (planned instanceof SwarmError) {
        refused.set(request, planned)
        draft = begun()
        for (const { entries } of results.values()) for (const { entry, hash } of entries) draft.add(entry, hash)
      } else results.set(request, planned)
    }
    return { draft, change, results, refused }
  }

  /** The entry from which on this key signs; undefined: it does already. */
  #change(key: LedgerKey, atMs: number): SignedEntry | undefined {
    const { count, hash } = this.#reader.books
    const successions = this.#successions(key)
    if (successions.length === 0) return undefined
    return signEntry({ kind: 'key', successions, v: LEDGER_VERSION, number: count + 1, previous: hash, atMs }, key)
  }

  /** False: another writer came first. */
  async #write(entries: readonly SignedEntry[], draft: Books): Promise<boolean> {
    if (entries.length === 0) return true
    const { store, pageBytes = PAGE_BYTES, signal } = this.#options
    const { page, object } = this.#reader.open
    const isFull = object !== undefined && object.bytes.length >= pageBytes
    const target = isFull ? { page: page + 1 } : { page, object }
    const lines = Buffer.from(entries.map(({ line }) => line).join(''))
    const bytes = target.object ? Buffer.concat([target.object.bytes, lines]) : lines
    try {
      const condition = target.object ? { ifMatch: target.object.etag } : ({ ifNoneMatch: '*' } as const)
      const { etag } = await store.put(pageKey(target.page), bytes, { ...condition, signal })
      this.#reader.wrote(draft, { page: target.page, object: { bytes, etag } }, entries)
      return true
    } catch (error) {
      if (isSwarmError(error, 'store.conflict')) return false
      throw error
    }
  }

  /** Moves the head behind all that is known, unless somebody has. */
  async #seal(key: LedgerKey): Promise<void> {
    const { store, signal } = this.#options
    const { books } = this.#reader
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      const { head, etag, firstKey } = this.#reader.head!
      if (head.count >= books.count) return
      const bytes = encodeHead(books, key, firstKey)
      try {
        const put = await store.put(HEAD_KEY, bytes, { ifMatch: etag, signal })
        this.#reader.sealed(bytes, put.etag)
        return
      } catch (error) {
        if (!isSwarmError(error, 'store.conflict')) throw error
      }
      this.#counters.conflicts++
      await this.#reader.refreshHead(signal)
      // Others have gone on: their entries are behind ours.
      if (this.#reader.head!.head.count > books.count) this.#isStale = true
    }
    throw new SwarmError('store.conflict', { what: `others moved the head ${MAX_ATTEMPTS} times`, where: HEAD_KEY, retryable: true })
  }
}

/** What a call would write. */
interface Plan {
  readonly entries: readonly SignedEntry[]
  readonly repeated: number
}

/** Adds what a call would write to the draft. */
function planOf(
  draft: Books,
  bookings: readonly Booking[],
  { key, atMs }: { readonly key: LedgerKey; readonly atMs: number },
): Plan | SwarmError {
  const entries: SignedEntry[] = []
  let repeated = 0
  for (const booking of bookings) {
    try {
      const body = draft.worthOf(booking)
      if (draft.isBooked(booking)) {
        repeated++
        continue
      }
      const signed = signEntry({ ...body, v: LEDGER_VERSION, number: draft.count + 1, previous: draft.hash, atMs }, key)
      draft.add(signed.entry, signed.hash)
      entries.push(signed)
    } catch (error) {
      return toSwarmError(error, 'ledger.invalid')
    }
  }
  return { entries, repeated }
}
