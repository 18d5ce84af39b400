/**
 * What is kept of a host for good, under its name, whether it is there or not: its reputation, its convictions, and whether it is in quarantine (M28).
 * Pure. Golden bytes in test/actors/host-record.test.ts.
 */
import { z } from 'zod'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { SwarmError } from '../../runtime/errors.js'
import type { Told, TrustEvent } from '../calls.js'
import { afterEvent, decodeReputation, NEW_REPUTATION, type Reputation } from './reputation.js'

export const HOST_RECORD_VERSION = 1

/** Why a host gets nothing of any run, and until when. */
export interface Quarantine {
  /** In words. */
  readonly reason: string
  readonly sinceMs: number
  readonly untilMs: number
  /** Key of what was said, by everybody. */
  readonly evidence?: string
}

/** What it was convicted for. */
export interface PastConviction {
  /** Of what was told: the same is not counted twice. */
  readonly key: string
  readonly run: string
  readonly vnode: string
  readonly step: number
  readonly atMs: number
  readonly evidence?: string
}

export interface HostRecord {
  readonly v: typeof HOST_RECORD_VERSION
  readonly pnode: string
  /** Whose machine it was when that was last known; empty: nobody's. */
  readonly owner: string
  readonly reputation: Reputation
  /** The newest, which may be over. */
  readonly quarantine?: Quarantine
  /** The last of them, the oldest first. */
  readonly convictions: readonly PastConviction[]
  /** Keys of what was told last. */
  readonly heard: readonly string[]
}

/** After a first conviction; after each further one twice as long: long enough that an attack costs more than it gives, short enough for a mistake. */
export const QUARANTINE_MS = 10 * 60_000
/** Doubling ends here: after a week. */
const MOST_DOUBLINGS = 10
/** Whoever does not know whether he was heard says it again soon: of older ones nobody speaks any more. */
const MOST_HEARD = 64
const MOST_CONVICTIONS = 16

/** Of a host that nothing is known of. */
export function newRecord(pnode: string): HostRecord {
  return { v: HOST_RECORD_VERSION, pnode, owner: '', reputation: NEW_REPUTATION, convictions: [], heard: [] }
}

/** The record after something was told that may concern the host; the same record if nothing of it is new. */
export function afterTold(record: HostRecord, told: Told, nowMs: number): HostRecord {
  const { key, events } = told
  const own = events.filter(({ pnode }) => pnode === record.pnode)
  if (own.length === 0 || record.heard.includes(key) || record.convictions.some((past) => past.key === key)) return record
  const heard = [...record.heard, key].slice(-MOST_HEARD)
  return own.reduce<HostRecord>((after, event) => afterOne(after, told, event, nowMs), { ...record, heard })
}

function afterOne(record: HostRecord, { key, run }: Told, { event, vnode, step, evidence }: TrustEvent, nowMs: number): HostRecord {
  const reputation = afterEvent(record.reputation, event)
  if (event !== 'convicted') return { ...record, reputation }
  const past: PastConviction = { key, run, vnode, step, atMs: nowMs, ...(evidence !== undefined && { evidence }) }
  const before = quarantineAt(record, nowMs)
  const quarantine: Quarantine = {
    reason: reasonOf(past),
    sinceMs: before?.sinceMs ?? nowMs,
    untilMs: Math.max(before?.untilMs ?? 0, nowMs + termMs(record.reputation.convictions)),
    ...(evidence !== undefined && { evidence }),
  }
  return { ...record, reputation, quarantine, convictions: [...record.convictions, past].slice(-MOST_CONVICTIONS) }
}

/** @param earlier convictions */
function termMs(earlier: number): number {
  let ms = QUARANTINE_MS
  for (let i = 0; i < Math.min(earlier, MOST_DOUBLINGS); i++) ms *= 2
  return ms
}

/** In words, for the ledger and for people. */
export function reasonOf({ run, vnode, step }: Pick<PastConviction, 'run' | 'vnode' | 'step'>): string {
  return `convicted over ${vnode} at step ${step} of run ${run}`
}

/** Undefined: it is in none, or in none any more. */
export function quarantineAt({ quarantine }: Pick<HostRecord, 'quarantine'>, nowMs: number): Quarantine | undefined {
  return quarantine !== undefined && nowMs < quarantine.untilMs ? quarantine : undefined
}

/** Its quarantine is over; what it was convicted for is not forgotten, and it begins on probation. */
export function released({ quarantine: _quarantine, ...record }: HostRecord): HostRecord {
  return record
}

const text = z.string()
const time = z.number().nonnegative()
const stored = z.object({
  v: z.literal(HOST_RECORD_VERSION),
  pnode: text.min(1),
  owner: text,
  reputation: z.unknown(),
  quarantine: z.object({ reason: text, sinceMs: time, untilMs: time, evidence: text.optional() }).optional(),
  convictions: z.array(z.object({ key: text, run: text, vnode: text, step: z.int().nonnegative(), atMs: time, evidence: text.optional() })),
  heard: z.array(text),
})

/** As it is stored: canonical JSON. */
export function encodeHostRecord(record: HostRecord): Uint8Array {
  return new TextEncoder().encode(canonicalJson(record))
}

/** @param where its key, for errors @throws `reputation.version`, `reputation.damaged` */
export function decodeHostRecord(bytes: Uint8Array, where: string): HostRecord {
  let read: unknown
  try {
    read = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SwarmError('reputation.damaged', { what: 'the record of a host that is no JSON', where, cause })
  }
  const version = (read as { readonly v?: unknown } | null)?.v
  if (typeof version === 'number' && version !== HOST_RECORD_VERSION) {
    const fix = 'Use the version of swarmgrad that wrote it'
    const [expected, got] = [HOST_RECORD_VERSION, version]
    throw new SwarmError('reputation.version', { what: 'the record of a host, of an unknown version', where, expected, got, fix })
  }
  const { success, data, error } = stored.safeParse(read)
  if (!success) throw new SwarmError('reputation.damaged', { what: 'no record of a host', where, got: z.prettifyError(error) })
  return { ...data, reputation: decodeReputation(canonicalJson(data.reputation ?? null)) }
}
