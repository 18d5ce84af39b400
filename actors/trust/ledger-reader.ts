/** Reads a ledger from its object store, entry by entry, and stops at the first one that is wrong. */
import type { KeyObject } from 'node:crypto'
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import type { ObjectStore, StoredObject } from '../../runtime/object-store/object-store.js'
import { Books } from './ledger-books.js'
import {
  decodeEntry,
  decodeHead,
  fingerprint,
  HEAD_KEY,
  isSigned,
  LEDGER_PREFIX,
  type LedgerEntry,
  type LedgerHead,
  pageKey,
  type ReadEntry,
  type SignedEntry,
  textOf,
  wrong,
} from './ledger-entry.js'

export interface LedgerReaderOptions {
  readonly store: ObjectStore
  /** A key that has to be one of those that have signed it, each by the word of the one before. Default: any */
  readonly publicKey?: KeyObject
  /**
   * `signatures`: of each entry, so that the wrong one is named. `chain` (default): the hashes, which the signed head vouches for, and the signatures of
   * what is behind it: this finds the same, four times as fast, but may name the entry behind the wrong one.
   */
  readonly checks?: 'chain' | 'signatures'
  /** Sees every entry once, in order. @param count how many the head counts */
  readonly onEntry?: (entry: ReadEntry, count: number) => void
}

/** The newest page: what the next entries are written behind. */
export interface OpenPage {
  /** From 1 on. */
  readonly page: number
  /** Undefined: it is not there yet. */
  readonly object?: StoredObject
}

/** The head as it stands. */
export interface StoredHead {
  readonly head: LedgerHead
  readonly etag: string
  readonly publicKey: KeyObject
  readonly firstKey: KeyObject
}

/** Who signs, behind so many entries. */
interface Signer {
  readonly behind: number
  readonly publicKey: KeyObject
}

/**
 * What is known of a ledger, brought up to date by `refresh`. Others may append meanwhile: the head is read first, pages after it, and pages only
 * grow. Entries behind the head are part of the ledger: their writer has not moved the head yet, or was ended before.
 */
export class LedgerReader {
  readonly books = new Books()
  readonly #options: LedgerReaderOptions
  #head: StoredHead | undefined
  #open: OpenPage = { page: 1 }
  /** In the order in which they followed on each other. */
  #signers: readonly Signer[] = []

  constructor(options: LedgerReaderOptions) {
    this.#options = options
  }

  /** Undefined: there is no ledger yet. */
  get head(): StoredHead | undefined {
    return this.#head
  }

  get open(): OpenPage {
    return this.#open
  }

  /** Those that have signed, the one that signs now last. Empty: there is no ledger yet. */
  get keys(): readonly KeyObject[] {
    return this.#signers.map(({ publicKey }) => publicKey)
  }

  /** Reads what is new. @throws `ledger.*` with the first wrong entry; codes of the store */
  async refresh(signal?: AbortSignal): Promise<void> {
    await this.refreshHead(signal)
    for (let page = this.#open.page; ; page++) {
      const object = await found(this.#options.store, pageKey(page), signal)
      if (!object) {
        if (page === this.#open.page && this.#open.object) throw this.#cut(`page ${page}`)
        break
      }
      if (!this.#head) throw cutHead()
      this.#readPage(page, object, this.#head)
      this.#open = { page, object }
    }
    const { count } = this.#head?.head ?? { count: 0 }
    if (this.books.count < count) throw this.#cut(`${count} entries that the head counts`)
    if (this.#head) this.#checkKeys(this.#head)
  }

  #checkKeys({ head: { count }, publicKey }: StoredHead): void {
    const { publicKey: expected } = this.#options
    const signer = this.#signers.findLast(({ behind }) => behind <= count)!.publicKey
    if (!publicKey.equals(signer)) {
      const [known, got] = [fingerprint(signer), fingerprint(publicKey)]
      throw wrong('ledger.key', { what: 'the head is signed by another key than the last entry', where: HEAD_KEY, expected: known, got })
    }
    if (!expected || this.keys.some((key) => key.equals(expected))) return
    const got = this.keys.map(fingerprint).join(', then ')
    throw new SwarmError('ledger.key', {
      what: 'the ledger is signed by another key',
      where: HEAD_KEY,
      expected: fingerprint(expected),
      got,
    })
  }

  /** Reads the head alone. @throws `ledger.cut` it has gone, or went back */
  async refreshHead(signal?: AbortSignal): Promise<void> {
    const object = await found(this.#options.store, HEAD_KEY, signal)
    const known = this.#head
    if (!object) {
      if (known) throw cutHead()
      return
    }
    const read = decodeHead(object.bytes)
    const { head, firstKey } = read
    if (known && head.count < known.head.count) {
      const [expected, got] = [`at least ${known.head.count}`, head.count]
      throw wrong('ledger.cut', { what: 'the head of the ledger went back', where: HEAD_KEY, expected, got })
    }
    if (known && !firstKey.equals(known.firstKey)) {
      const [expected, got] = [fingerprint(known.firstKey), fingerprint(firstKey)]
      throw wrong('ledger.key', { what: 'the head names another first key', where: HEAD_KEY, expected, got })
    }
    this.#head = { ...read, etag: object.etag }
    if (!known) this.#signers = [{ behind: 0, publicKey: firstKey }]
  }

  /** What this process has written itself. @param draft books with the entries of the page that were not there before */
  wrote(draft: Books, open: OpenPage, entries: readonly SignedEntry[]): void {
    this.books.accept(draft)
    this.#open = open
    for (const { entry, publicKey } of entries) this.#follow(entry, publicKey)
  }

  /** The head was moved behind all that is known. @param bytes of it */
  sealed(bytes: Uint8Array, etag: string): void {
    this.#head = { ...decodeHead(bytes), etag }
  }

  #readPage(page: number, { bytes }: StoredObject, { head }: StoredHead): void {
    const known = page === this.#open.page ? this.#open.object?.bytes : undefined
    if (known && Buffer.compare(known, bytes.subarray(0, known.length)) !== 0) {
      const where = `${pageKey(page)}, up to entry ${this.books.count}`
      throw wrong('ledger.edited', { what: 'a page has changed that can only grow', where })
    }
    const added = known ? bytes.subarray(known.length) : bytes
    if (known && added.length === 0) return
    const lines = textOf(added, this.#where(page)).slice(0, -1).split('\n')
    for (const line of lines) {
      const where = this.#where(page)
      this.#take(decodeEntry(line, this.#signers.at(-1)!.publicKey, where), where, head)
    }
  }

  /** The next entry. */
  #where(page: number): string {
    return `entry ${this.books.count + 1}, in ${pageKey(page)}`
  }

  #take(read: ReadEntry, where: string, head: LedgerHead): void {
    const { books } = this
    const { checks = 'chain', onEntry } = this.#options
    const { entry, hash, publicKey } = read
    const isBehindHead = books.count >= head.count
    if ((checks === 'signatures' || isBehindHead) && !isSigned(read)) {
      const what = 'an entry that was edited: its signature does not hold'
      throw wrong('ledger.edited', { what, where, expected: `signed by ${fingerprint(publicKey)}` })
    }
    const expected = books.count + 1
    if (entry.number !== expected) {
      const what = 'an entry that is not the next one: some were removed, swapped or doubled'
      throw wrong('ledger.order', { what, where, expected: `entry ${expected}`, got: `entry ${String(entry.number)}` })
    }
    if (entry.previous !== books.hash) {
      const what = `entry ${expected} does not follow the one before it`
      throw wrong('ledger.order', { what, where, expected: books.hash, got: entry.previous })
    }
    try {
      books.add(entry, hash)
    } catch (cause) {
      if (!isSwarmError(cause, 'ledger.invalid')) throw cause
      throw wrong('ledger.invalid', { what: `an entry that no ledger may have: ${cause.message}`, where, cause })
    }
    if (expected === head.count && hash !== head.hash) {
      const what = 'the head names another last entry'
      throw wrong('ledger.order', { what, where, expected: head.hash.slice(0, 12), got: hash.slice(0, 12) })
    }
    this.#follow(entry, publicKey)
    onEntry?.(read, head.count)
  }

  #follow({ kind, number }: LedgerEntry, publicKey: KeyObject): void {
    if (kind === 'key') this.#signers = [...this.#signers, { behind: number, publicKey }]
  }

  #cut(expected: string): SwarmError {
    const { count } = this.books
    const where = `after entry ${count}, ${pageKey(this.#open.page)}`
    return wrong('ledger.cut', { what: 'the ledger is cut', where, expected, got: `${count} entries` })
  }
}

/** A ledger that holds. */
export interface LedgerReport {
  /** Those that have signed, each by the word of the one before; the last one signs now. Empty: nothing was ever booked. */
  readonly keys: readonly KeyObject[]
  /** Entries; and the hash of the last one, to be noted and looked for later. */
  readonly count: number
  readonly hash: string
  /** Entries behind the head. */
  readonly unsealed: number
  readonly books: Books
}

export interface ReadLedgerOptions extends LedgerReaderOptions {
  /** The beginning of the hash of an entry that was noted earlier and still has to be there. */
  readonly contains?: string
  readonly signal?: AbortSignal
}

/**
 * Reads all of a ledger.
 * @throws the first thing that is wrong: `ledger.edited`, `ledger.order`, `ledger.cut`, `ledger.unsigned`, `ledger.key`, `ledger.version`, `ledger.invalid`
 * @throws codes of the store
 */
export async function readLedger({ contains, signal, ...options }: ReadLedgerOptions): Promise<LedgerReport> {
  const { store } = options
  // Before anything else: what is listed now must still be there then.
  const listed: string[] = []
  for await (const { key } of store.list(LEDGER_PREFIX, { signal })) listed.push(key)
  let isThere = contains === undefined
  const onEntry = (read: ReadEntry, count: number) => {
    isThere ||= read.hash.startsWith(contains!)
    options.onEntry?.(read, count)
  }
  const reader = new LedgerReader({ ...options, onEntry })
  await reader.refresh(signal)
  const { books, head, open } = reader
  refuseStrangers(listed, books.count === 0 ? 0 : open.page, books.count)
  if (!isThere) {
    const got = `${books.count} entries without it`
    throw wrong('ledger.cut', { what: 'the ledger does not have the entry that was noted', expected: contains, got })
  }
  return { keys: reader.keys, count: books.count, hash: books.hash, unsealed: books.count - (head?.head.count ?? 0), books }
}

/** What lies among the pages and is none of them: a page behind one that is missing, a copy. */
function refuseStrangers(listed: readonly string[], pages: number, count: number): void {
  const known = new Set([HEAD_KEY, ...Array.from({ length: pages }, (_, index) => pageKey(index + 1))])
  const stranger = listed.find((key) => !known.has(key))
  if (stranger === undefined) return
  const where = `after entry ${count}, ${pageKey(pages + 1)}`
  if (/^ledger\/pages\/\d{8}$/.test(stranger)) throw wrong('ledger.cut', { what: 'a page of the ledger is missing', where, got: stranger })
  throw wrong('ledger.order', { what: 'an object that does not belong to the ledger', where: stranger, fix: 'Remove it' })
}

function cutHead(): SwarmError {
  return wrong('ledger.cut', { what: 'the head of the ledger is missing', where: HEAD_KEY })
}

async function found(store: ObjectStore, key: string, signal: AbortSignal | undefined): Promise<StoredObject | undefined> {
  try {
    return await store.get(key, { signal })
  } catch (error) {
    if (isSwarmError(error, 'store.not-found')) return undefined
    throw error
  }
}
