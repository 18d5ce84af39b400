/**
 * The one durable record of a run, `runs/<run>/head`, and the manifests that it points to (PROTOCOL.md rules 1, 2 and 7).
 * Pure transitions; writing is in head-store.ts. Golden bytes in test/runtime/head.test.ts.
 */
import { crc32 } from 'node:zlib'
import { canonicalJson } from './canonical-json.js'
import { type ErrorRecord, SwarmError, invariant } from './errors.js'
import type { Roots } from './log-root.js'

export const HEAD_VERSION = 1
export const MANIFEST_VERSION = 2
/** The newest manifest and the two before it: one damaged blob costs one interval, not the run. */
export const KEPT_MANIFESTS = 3

export type RunStatus = 'running' | 'paused' | 'done' | 'failed'

/** An entry of the log that one VNode does not apply, for good: it is poison (PROTOCOL.md rule 15). Why is in its dead letter. */
export interface Skip {
  readonly vnode: string
  readonly position: number
  readonly step: number
  /** 0: a training batch. */
  readonly evaluation: number
}

/** A complete global checkpoint, as the head names it. */
export interface ManifestRef {
  readonly key: string
  readonly generation: number
  readonly step: number
  readonly position: number
}

/** Where a VNode is. */
export interface Place {
  readonly pnode: string
  readonly term: number
  /** The start of the PNode's process that it was given to: a later one knows nothing of it. */
  readonly incarnation?: string
  /** Whoever runs the cluster answered for the PNode when it got the VNode. */
  readonly isTrusted?: true
  /** A follower that applies this segment, and no more. */
  readonly audits?: SegmentRef
}

/** The steps of one VNode between two manifests. */
export interface SegmentRef {
  /** The step of the manifest that it begins behind; 0: the seed. */
  readonly from: number
  /** The step of the manifest that it ends with. */
  readonly to: number
}

/** A segment that somebody else is to apply, too. Until he agrees it is not verified. */
export interface OpenAudit extends SegmentRef {
  readonly vnode: string
  /** Who says what it gives. */
  readonly pnode: string
}

export interface Head {
  readonly v: typeof HEAD_VERSION
  readonly run: string
  /** Fencing number of the Run actor. */
  readonly writer: number
  readonly generation: number
  readonly status: RunStatus
  /** A pause was asked for and has not come about yet. */
  readonly isPausing?: true
  /** Of every PNode that computes for this run, since its beginning from the seed or its newest manifest. */
  readonly computeClass?: string
  /** Newest first, at most KEPT_MANIFESTS; empty before the first cut. */
  readonly manifests: readonly ManifestRef[]
  readonly directory: { readonly [vnode: string]: Place }
  /** The last term drawn. */
  readonly termCounter: number
  /** PNodes that were convicted: they get nothing of this run any more. Absent: none. */
  readonly excluded?: readonly string[]
  /** Segments that are looked at: whatever is needed for it is kept. Absent: none. */
  readonly audits?: readonly OpenAudit[]
  /** By PNode: the step of the manifest behind which its first segment begins that nobody has verified, nor ever will (PROTOCOL.md rule 27). Absent: none. */
  readonly unverified?: { readonly [pnode: string]: number }
  /** In the order in which they were decided; they outlive every rollback. Absent: none. */
  readonly skips?: readonly Skip[]
  /** Set when done: hash of the run, accuracy of the last evaluation. */
  readonly result?: { readonly hash: string; readonly metrics: { readonly [name: string]: number } }
  readonly error?: ErrorRecord
  /** Relocations and what they cost, over the whole life of the run. */
  readonly counters: { readonly moves: number; readonly stepsReplayed: number }
}

/** A complete cut: the state of every VNode after one step. */
export interface Manifest {
  readonly v: typeof MANIFEST_VERSION
  readonly run: string
  readonly generation: number
  readonly step: number
  readonly position: number
  readonly computeClass: string
  /** In graph order. */
  readonly vnodes: readonly {
    readonly vnode: string
    readonly hash: string
    readonly sizeBytes: number
    /** Of all that it had read and put out by then. Absent: nobody compared it. */
    readonly roots?: Roots
  }[]
  /** Key of the object with the per-step digests since the manifest before. */
  readonly trace?: string
  /** Result of the evaluation history up to here. */
  readonly previous?: string
}

export const keys = {
  head: (run: string) => `runs/${run}/head`,
  definition: (run: string) => `runs/${run}/definition`,
  /** @param generation of the manifest that names it: what an older generation left behind has other names */
  blob: (run: string, generation: number, hash: string) => `runs/${run}/blobs/${generation}/${hash}`,
  manifest: (run: string, generation: number, step: number) => `runs/${run}/checkpoints/${generation}-${step}`,
}

/** What a PNode has of a run, in the order in which it was placed. */
export function vnodesOn(directory: Head['directory'], pnode: string): string[] {
  return Object.keys(directory).filter((vnode) => directory[vnode].pnode === pnode)
}

export function firstHead(run: string): Head {
  return {
    v: HEAD_VERSION,
    run,
    writer: 0,
    generation: 1,
    status: 'running',
    manifests: [],
    directory: {},
    termCounter: 0,
    counters: { moves: 0, stepsReplayed: 0 },
  }
}

/** A new Run actor takes over. */
export function claimed(head: Head): Head {
  return { ...head, writer: head.writer + 1 }
}

/**
 * VNodes are given to PNodes, each under a term of its own, drawn in the order given.
 * @param gone followers that are no more
 */
export function placed(
  head: Head,
  moves: readonly (Omit<Place, 'term'> & { readonly vnode: string })[],
  gone: readonly string[] = [],
): Head {
  const directory = Object.fromEntries(Object.entries(head.directory).filter(([vnode]) => !gone.includes(vnode)))
  let { termCounter } = head
  for (const { vnode, pnode, incarnation, isTrusted, audits } of moves)
    directory[vnode] = {
      pnode,
      term: ++termCounter,
      ...(incarnation && { incarnation }),
      ...(isTrusted && { isTrusted }),
      ...(audits && { audits }),
    }
  return { ...head, directory, termCounter }
}

/** A cut is complete: the newest manifests are kept, and those that audits and rollbacks may need. */
export function advanced(head: Head, manifest: ManifestRef): Head {
  invariant(
    manifest.generation === head.generation,
    () => `${head.run}: manifest of generation ${manifest.generation} in ${head.generation}`,
  )
  const newest = head.manifests[0]
  invariant(!newest || manifest.step > newest.step, () => `${head.run}: manifest ${manifest.step} after ${newest?.step}`)
  const pinned = pinnedSteps(head)
  return { ...head, manifests: [manifest, ...head.manifests].filter(({ step }, i) => i < KEPT_MANIFESTS || pinned.has(step)) }
}

/** Steps of manifests that a segment under audit begins or ends with, or behind which a PNode is not verified. */
function pinnedSteps({ audits = [], unverified = {} }: Head): ReadonlySet<number> {
  return new Set([...audits.flatMap(({ from, to }) => [from, to]), ...Object.values(unverified)])
}

/** Where everybody has to be able to begin anew, so that whoever audits can be fed: a step. Without audits the newest manifest's. */
export function baseOf({ audits = [], manifests }: Pick<Head, 'audits' | 'manifests'>): number {
  return Math.min(manifests[0]?.step ?? 0, ...audits.map(({ from }) => from))
}

/** Segments are to be audited; the others, of these PNodes, never will be. */
export function auditing(
  head: Head,
  audits: readonly OpenAudit[],
  unaudited: readonly { readonly pnode: string; readonly from: number }[],
): Head {
  const unverified = { ...head.unverified }
  for (const { pnode, from } of unaudited) unverified[pnode] = Math.min(unverified[pnode] ?? from, from)
  const open = [...(head.audits ?? []), ...audits]
  return {
    ...head,
    ...(open.length > 0 && { audits: open }),
    ...(Object.keys(unverified).length > 0 && { unverified }),
  }
}

/** These audits are over. @param unsettled those that nobody could be found for: what they were about stays unverified */
export function audited(head: Head, over: readonly OpenAudit[], unsettled: readonly OpenAudit[] = []): Head {
  const isOver = (audit: OpenAudit) => over.some(({ vnode, from, to }) => vnode === audit.vnode && from === audit.from && to === audit.to)
  const left = (head.audits ?? []).filter((audit) => !isOver(audit))
  const unaudited = unsettled.map(({ pnode, from }) => ({ pnode, from }))
  return auditing({ ...head, audits: undefined }, left, unaudited)
}

/** A pause was asked for: whoever owns the run from now on sees to it. */
export function pausing(head: Head): Head {
  return { ...head, isPausing: true }
}

/** The pause has come about, or the run goes on. */
export function unpaused(head: Head): Head {
  return { ...head, isPausing: undefined }
}

/** A run that is to go on, from its newest manifest under the next generation, and has no place yet. */
export function waiting(head: Head): Head {
  return { ...unpaused(rolledBack(head)), status: 'running', error: undefined, directory: {} }
}

/** The run has come to its end. */
export function finished(head: Head, result: NonNullable<Head['result']>, counters: Head['counters']): Head {
  return { ...head, status: 'done', result, counters }
}

/** The run cannot go on. */
export function failed(head: Head, error: ErrorRecord, counters: Head['counters']): Head {
  return { ...head, status: 'failed', error, counters }
}

/**
 * Recovery two: the whole run goes back to its newest manifest that `isUsable`, or to its seed, under a new generation. What was under audit is done again, and
 * audited then: nobody keeps what was sent before. What is left of somebody who was convicted is never gone on from: whoever excluded him may not have come to it.
 */
export function rolledBack(head: Head, isUsable: (manifest: ManifestRef) => boolean = () => true): Head {
  const { excluded = [], unverified: unseen = {} } = head
  const base = Math.min(baseOf(head), ...excluded.map((pnode) => unseen[pnode] ?? Infinity))
  const manifests = head.manifests.filter((manifest) => manifest.step <= base && isUsable(manifest))
  const goesOnFrom = manifests[0]?.step ?? 0
  const unverified = Object.fromEntries(Object.entries(unseen).filter(([, step]) => step < goesOnFrom))
  return {
    ...head,
    generation: head.generation + 1,
    status: 'running',
    manifests,
    directory: {},
    audits: undefined,
    unverified: Object.keys(unverified).length > 0 ? unverified : undefined,
  }
}

/** Recovery two from before all that these PNodes have done and nobody has verified. */
export function rolledBackBeforeUnverified(head: Head, pnodes: readonly string[]): Head {
  const step = Math.min(...pnodes.map((pnode) => head.unverified?.[pnode] ?? Infinity))
  return rolledBack(head, (manifest) => manifest.step <= step)
}

/** Whoever was convicted has no part in the run any more. */
export function excluding(head: Head, pnodes: readonly string[]): Head {
  const excluded = [...new Set([...(head.excluded ?? []), ...pnodes])]
  return excluded.length > 0 ? { ...head, excluded } : head
}

/** Recovery two from behind which everybody has been restored, since that manifest is damaged. */
export function rolledBackBehindBase(head: Head): Head {
  const base = baseOf(head)
  return rolledBackBehind(head.manifests.find(({ step }) => step === base))(head)
}

/** Recovery two from a manifest that is damaged. */
export function rolledBackBehind(damaged: ManifestRef | undefined): (head: Head) => Head {
  return (head) => rolledBack(head, ({ key }) => key !== damaged?.key)
}

/**
 * An entry is poison. Recovery two: whoever applied it before, on a host that has been lost since, or got its output, goes back behind it, and
 * nothing that was sent in the generation before is heard any more.
 */
export function skipped(head: Head, skip: Skip): Head {
  const { vnode, position } = skip
  const base = head.manifests.find(({ step }) => step === baseOf(head))
  invariant(!base || position > base.position, () => `${head.run}: skip of ${vnode} at ${position}, manifest at ${base?.position}`)
  invariant(!skipsOf(head, vnode).includes(position), () => `${head.run}: ${vnode} skips ${position} already`)
  return { ...rolledBack(head), skips: [...(head.skips ?? []), skip] }
}

/** Positions that a VNode skips after `from`, ascending. */
export function skipsOf({ skips = [] }: Pick<Head, 'skips'>, vnode: string, from = 0): number[] {
  const own = skips.filter((skip) => skip.vnode === vnode && skip.position > from)
  return own.map(({ position }) => position).toSorted((a, b) => a - b)
}

/** Canonical JSON, with the CRC-32 of all other members under `crc32`: a flipped digit is a digit too. */
export function encodeRecord(record: Head | Manifest): Uint8Array {
  return new TextEncoder().encode(`${canonicalJson({ ...record, crc32: sumOf(record) })}\n`)
}

function sumOf(record: object): string {
  return crc32(canonicalJson(record)).toString(16).padStart(8, '0')
}

/** @throws `head.version`, `store.damaged` */
export function decodeHead(bytes: Uint8Array, key: string): Head {
  return decodeRecord(bytes, key, 'head.version', HEAD_VERSION) as Head
}

/** @throws `manifest.version`, `store.damaged` */
export function decodeManifest(bytes: Uint8Array, key: string): Manifest {
  return decodeRecord(bytes, key, 'manifest.version', MANIFEST_VERSION) as Manifest
}

function decodeRecord(bytes: Uint8Array, key: string, code: 'head.version' | 'manifest.version', version: number): Head | Manifest {
  const damaged = (expected: string, got: string, cause?: unknown) =>
    new SwarmError('store.damaged', { what: 'damaged record', where: key, expected, got, cause })
  let parsed: (Head | Manifest) & { readonly crc32?: unknown }
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw damaged('JSON', `${bytes.byteLength} bytes that are not`, cause)
  }
  if (typeof parsed !== 'object' || parsed === null) throw damaged('an object', typeof parsed)
  const { crc32: sum, ...record } = parsed
  if (sum !== sumOf(record)) throw damaged(`CRC-32 ${sumOf(record)}`, String(sum))
  if (record.v !== version) {
    throw new SwarmError(code, {
      what: 'record of another format version',
      where: key,
      expected: version,
      got: String(record.v),
      fix: 'Use the version of swarmgrad that wrote it',
    })
  }
  return record
}
