/**
 * For whom control vouches: trust descriptors in the object store, under `control/trust/`, which no host and no trainer may read or write. Every control host looks
 * again and again; a word that is older than a second counts for nothing. So a revocation counts here as soon as it is durable, and everywhere within that second,
 * whatever becomes of the lines between control hosts.
 */
import type { Clock } from '../../runtime/clock.js'
import { TrustedKeys } from '../../runtime/control-keys.js'
import { type ErrorCode, isSwarmError, SwarmError } from '../../runtime/errors.js'
import { publicKeyText } from '../../runtime/identity.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import {
  assertSaid,
  assertVouches,
  decodeTrust,
  encodeTrust,
  type SignedTrust,
  signTrust,
  TRUST_VERSION,
  type TrustDescriptor,
} from '../trust/descriptor.js'
import type { Trust } from '../trust/trust.js'
import { HOST_NAME, hostRecord } from './host-registry.js'
import type { LiveKey } from './live-key.js'

export interface TrustBookOptions {
  readonly store: ObjectStore
  readonly clock: Clock
  readonly controlKey: LiveKey
  /** A descriptor counts for nothing: told once for each that is found. */
  readonly onRefused: (code: ErrorCode) => void
  /** Somebody is trusted, or is not any more. */
  readonly onChange: () => void
}

/** How one host stands. */
export interface TrustEntry {
  readonly host: string
  readonly state: 'trusted' | 'revoked' | 'expired' | 'refused'
  /** Absent: it cannot be read. */
  readonly descriptor?: TrustDescriptor
  /** Why it is not trusted. */
  readonly why?: { readonly code: ErrorCode; readonly message: string }
}

interface Found {
  readonly etag: string
  readonly signed?: SignedTrust
  /** Absent: it holds, within its time. */
  readonly error?: SwarmError
}

/** How often it is looked, in ms. */
const LOOK_MS = 250
/** How long what was seen counts, in ms. */
const COUNTS_MS = 1_000
/** Hosts that can be vouched for: all of their descriptors are read at each look. */
const MAX_TRUSTED = 64
const FOLDER = 'control/trust/'

export class TrustBook implements Trust {
  readonly #options: TrustBookOptions
  #found: ReadonlyMap<string, Found> = new Map()
  /** The highest number that was seen of each host: whoever puts an older descriptor back wins nothing. */
  readonly #newest = new Map<string, number>()
  /** When what is known was begun to be read. */
  #lookedAtMs = -Infinity
  #trustedBefore = ''
  /** One after the other: what was read before a change is not believed after it. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: TrustBookOptions) {
    this.#options = options
  }

  isTrusted(host: string): boolean {
    const nowMs = this.#options.clock.now()
    return Math.abs(nowMs - this.#lookedAtMs) < COUNTS_MS && this.#isVouchedFor(host, nowMs)
  }

  async refresh(): Promise<void> {
    if (Math.abs(this.#options.clock.now() - this.#lookedAtMs) >= COUNTS_MS / 2) await this.look()
  }

  /** All of whom control has ever said something, in order of names. */
  get entries(): TrustEntry[] {
    return [...this.#found].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([host, found]) => this.#entryOf(host, found))
  }

  /** Reads what is there. @throws codes of the store */
  look(): Promise<void> {
    return this.#alone(() => this.#look())
  }

  /** Vouches for the machine that has joined under this name, for so long from now on, in ms. @throws `host.unknown`, `usage`, `store.conflict` */
  grant(host: string, forMs: number): Promise<TrustEntry> {
    return this.#alone(async () => {
      const identity = (await hostRecord(this.#options.store, host))?.identity
      if (identity === undefined) throw unknown(host, 'Have it join first')
      await this.#look()
      if (!this.#found.has(host) && this.#found.size >= MAX_TRUSTED)
        throw new SwarmError('usage', { what: 'hosts that can be vouched for', expected: `at most ${MAX_TRUSTED}` })
      const fromMs = Math.floor(this.#options.clock.now())
      return this.#say(host, identity, fromMs, fromMs + Math.round(forMs))
    })
  }

  /** Takes that back, at once. @throws `host.unknown`: nobody has vouched for it; `trust.version`, `store.conflict` */
  revoke(host: string): Promise<TrustEntry> {
    return this.#alone(async () => {
      await this.#look()
      const found = this.#found.get(host)
      if (!found) throw unknown(host, 'See for whom control vouches with: swarmgrad trust list')
      const identity = found.signed?.descriptor.identity ?? (await hostRecord(this.#options.store, host))?.identity ?? NOBODY
      const nowMs = Math.floor(this.#options.clock.now())
      return this.#say(host, identity, nowMs, nowMs)
    })
  }

  /** Looks again and again until the signal aborts; while the store is away nobody is trusted. */
  async watch(signal: AbortSignal, onError: (error: unknown) => void): Promise<void> {
    while (!signal.aborted) {
      await this.#options.clock.sleep(LOOK_MS, signal).catch(() => undefined)
      if (signal.aborted) return
      await this.look().catch((error: unknown) => {
        if (!isSwarmError(error) || !error.retryable) onError(error)
      })
    }
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work)
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  async #look(): Promise<void> {
    const { store, clock } = this.#options
    const beganMs = clock.now()
    const hosts: string[] = []
    for await (const { key } of store.list(FOLDER)) hosts.push(key.slice(FOLDER.length))
    const read = await Promise.all(
      hosts.filter((host) => HOST_NAME.test(host)).map(async (host) => [host, await this.#read(host)] as const),
    )
    this.#found = new Map(read.flatMap(([host, found]) => (found ? [[host, found]] : [])))
    this.#lookedAtMs = beganMs
    this.#tellChange()
  }

  async #read(host: string): Promise<Found | undefined> {
    const { store, clock, onRefused } = this.#options
    const where = `${FOLDER}${host}`
    const stored = await store.get(where).catch((error: unknown) => {
      if (!isSwarmError(error, 'store.not-found')) throw error
    })
    if (!stored) return undefined
    let { etag } = stored
    let signed: SignedTrust | undefined
    try {
      signed = decodeTrust(stored.bytes, where)
      const descriptor = await this.#said(host, signed)
      etag = await this.#underNewestKey(host, signed, etag)
      assertVouches(descriptor, { identity: (await hostRecord(store, host))?.identity, nowMs: clock.now() })
      return { signed, etag }
    } catch (error) {
      if (!isSwarmError(error) || !error.code.startsWith('trust.')) throw error
      const before = this.#found.get(host)
      const isNew = before?.etag !== etag || before.error?.code !== error.code
      if (isNew && !(error.code in ENDED)) onRefused(error.code)
      return { ...(signed && { signed }), etag, error }
    }
  }

  /** What control has said of it last. */
  async #said(host: string, signed: SignedTrust): Promise<TrustDescriptor> {
    const { clock, controlKey } = this.#options
    const keys = () => new TrustedKeys(controlKey.accepted, clock)
    // Another control host may have heard of a new key before us.
    if (!keys().find(signed.key)) await controlKey.look()
    const descriptor = assertSaid(signed, { host, keys: keys(), newest: this.#newest.get(host) ?? 0 })
    this.#newest.set(host, descriptor.number)
    return descriptor
  }

  /** Signed anew when the control key was changed: it holds as long as it was given for. @returns its tag */
  async #underNewestKey(host: string, { descriptor, key }: SignedTrust, etag: string): Promise<string> {
    const { store, controlKey } = this.#options
    if (key === publicKeyText(controlKey.publicKey)) return etag
    try {
      return (await store.put(`${FOLDER}${host}`, encodeTrust(signTrust(descriptor, controlKey)), { ifMatch: etag })).etag
    } catch (error) {
      // Somebody else has changed it.
      if (!isSwarmError(error, 'store.conflict')) throw error
      return etag
    }
  }

  /** Durable first. */
  async #say(host: string, identity: string, fromMs: number, untilMs: number): Promise<TrustEntry> {
    const { store, controlKey } = this.#options
    const before = this.#found.get(host)
    if (isSwarmError(before?.error, 'trust.version')) throw before.error
    // What cannot be believed may have any number; what nobody has ever seen needs no place behind it.
    const number = 1 + Math.max(this.#newest.get(host) ?? 0, before?.signed?.descriptor.number ?? 0)
    const signed = signTrust({ v: TRUST_VERSION, number, host, identity, fromMs, untilMs }, controlKey)
    const condition = before ? { ifMatch: before.etag } : { ifNoneMatch: '*' as const }
    await store.put(`${FOLDER}${host}`, encodeTrust(signed), condition)
    await this.#look()
    return this.#entryOf(host, this.#found.get(host)!)
  }

  #isVouchedFor(host: string, nowMs: number): boolean {
    const { signed, error } = this.#found.get(host) ?? {}
    return signed !== undefined && !error && nowMs >= signed.descriptor.fromMs && nowMs < signed.descriptor.untilMs
  }

  #tellChange(): void {
    // Who is not believed for want of news is moved by nobody.
    const nowMs = this.#options.clock.now()
    const trusted = [...this.#found.keys()]
      .filter((host) => this.#isVouchedFor(host, nowMs))
      .toSorted()
      .join()
    if (trusted === this.#trustedBefore) return
    this.#trustedBefore = trusted
    this.#options.onChange()
  }

  #entryOf(host: string, { signed, error }: Found): TrustEntry {
    const now = this.#isVouchedFor(host, this.#options.clock.now()) ? 'trusted' : 'expired'
    const state = error ? (ENDED[error.code] ?? 'refused') : now
    return {
      host,
      state,
      ...(signed && { descriptor: signed.descriptor }),
      ...(error && { why: { code: error.code, message: error.message } }),
    }
  }
}

/** Ends that control has wanted. */
const ENDED: { readonly [code in ErrorCode]?: 'revoked' | 'expired' } = { 'trust.revoked': 'revoked', 'trust.expired': 'expired' }
/** The key of nobody: of a host whose record is gone and whose descriptor cannot be read. */
const NOBODY = 'A'.repeat(43)

function unknown(host: string, fix: string): SwarmError {
  return new SwarmError('host.unknown', { what: `nobody is known as ${host}`, fix })
}
