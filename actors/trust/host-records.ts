/** The records of hosts in the object store: `trust/hosts/<name>`, one object each, changed by compare-and-set. They outlive every actor, and every run. */
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import { encodeSegment } from '../../runtime/actor-system/actor-keys.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { decodeHostRecord, encodeHostRecord, type HostRecord, newRecord } from './host-record.js'

/** Of what only control writes. */
export const TRUST_PREFIX = 'trust/'
const HOSTS = `${TRUST_PREFIX}hosts/`
export const hostRecordKey = (pnode: string): string => `${HOSTS}${encodeSegment(pnode)}`

/** Records that are read at the same time. */
const AT_ONCE = 32
/** Writers of one record are few: control, and a person who releases it. */
const MAX_ATTEMPTS = 10

export interface HostRecordsOptions {
  readonly store: ObjectStore
  /** Ends whatever waits for the store. */
  readonly signal?: AbortSignal
  /** A record that cannot be read begins anew, on probation. Absent: it is an error. */
  readonly onDamaged?: (error: SwarmError) => void
}

interface Known {
  readonly record: HostRecord
  /** Absent: there is none in the store. */
  readonly etag?: string
}

/** Records as one process knows them: read once, and again where somebody else has written. */
export class HostRecords {
  readonly #options: HostRecordsOptions
  readonly #known = new Map<string, Known>()

  constructor(options: HostRecordsOptions) {
    this.#options = options
  }

  /** As it was last read or written; that of a host that nothing is known of is a new one. @throws `reputation.*`, codes of the store */
  async get(pnode: string): Promise<HostRecord> {
    const { record } = this.#known.get(pnode) ?? (await this.#read(pnode))
    return record
  }

  /** As it is in the store now. @throws as `get` */
  async refresh(pnode: string): Promise<HostRecord> {
    return (await this.#read(pnode)).record
  }

  /** All that there are, as they are now, by name. @throws as `get` */
  async all(): Promise<HostRecord[]> {
    const { store, signal } = this.#options
    const keys: string[] = []
    for await (const { key } of store.list(HOSTS, { signal })) keys.push(key)
    const records: HostRecord[] = []
    for (let from = 0; from < keys.length; from += AT_ONCE) {
      const some = await Promise.all(keys.slice(from, from + AT_ONCE).map((key) => this.#readKey(key)))
      records.push(...some.flatMap((known) => known?.record ?? []))
    }
    return records.toSorted((a, b) => (a.pnode < b.pnode ? -1 : 1))
  }

  /** Durable when it resolves. @param change gives the same record if there is nothing to be changed @throws as `get` */
  async change(pnode: string, change: (record: HostRecord) => HostRecord): Promise<HostRecord> {
    const { store, signal } = this.#options
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      const { record: before, etag } = this.#known.get(pnode) ?? (await this.#read(pnode))
      const record = change(before)
      if (record === before) return record
      try {
        const condition = etag === undefined ? ({ ifNoneMatch: '*' } as const) : { ifMatch: etag }
        const put = await store.put(hostRecordKey(pnode), encodeHostRecord(record), { ...condition, signal })
        this.#known.set(pnode, { record, etag: put.etag })
        return record
      } catch (error) {
        // Whatever it was, what is stored now is not known.
        this.#known.delete(pnode)
        if (!isSwarmError(error, 'store.conflict')) throw error
      }
    }
    const what = `others came first ${MAX_ATTEMPTS} times`
    throw new SwarmError('store.conflict', { what, where: hostRecordKey(pnode), retryable: true })
  }

  async #read(pnode: string): Promise<Known> {
    const known = (await this.#readKey(hostRecordKey(pnode), pnode)) ?? { record: newRecord(pnode) }
    this.#known.set(pnode, known)
    return known
  }

  /** @param pnode whose it is; absent: who the record says @returns undefined: there is none */
  async #readKey(key: string, pnode?: string): Promise<Known | undefined> {
    const { store, signal, onDamaged } = this.#options
    let etag: string | undefined
    try {
      const found = await store.get(key, { signal })
      etag = found.etag
      const known: Known = { record: decodeHostRecord(found.bytes, key), etag }
      if (hostRecordKey(known.record.pnode) !== key)
        throw new SwarmError('reputation.damaged', { what: 'it is of another host', where: key })
      this.#known.set(known.record.pnode, known)
      return known
    } catch (error) {
      if (isSwarmError(error, 'store.not-found')) return undefined
      if (!onDamaged || !isSwarmError(error, 'reputation.damaged')) throw error
      onDamaged(error)
      return pnode === undefined ? undefined : { record: newRecord(pnode), etag }
    }
  }
}
