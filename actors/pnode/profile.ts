/** How a PNode measures itself: its compute, its memory and its line, when it joins and quietly again (M9). */
import type { Clock } from '../../runtime/clock.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { RandomStream } from '../../runtime/random.js'
import type { Profile } from '../calls.js'

/** The way from a PNode to the rest of its cluster. */
export interface Link {
  /** A question to control, and its answer. */
  readonly ping: (signal: AbortSignal) => Promise<unknown>
  /** Where objects of the cluster are. It must fail where it cannot be reached, not wait. */
  readonly store: Pick<ObjectStore, 'get' | 'put'>
}

export type LinkProfile = Pick<Profile, 'uploadBytesPerS' | 'downloadBytesPerS' | 'roundTripMs'>

/** What a host measures its line with: the one object outside runs that it may write, always anew. */
export const probeKey = (pnode: string): string => `probes/${pnode}`

/** The first object, and how much larger the next one is: as long as one takes too little time to say much. */
const FIRST_BYTES = 64 * 1024
const GROWTH = 4
export const MAX_PROBE_BYTES = 1024 * 1024
const ENOUGH_MS = 200
/** So often a line is tried that seems slow: whoever joins is often busy with it, and the best says what the line can do. */
const TRIES = 3
/** A line that takes longer is as good as none: what has not got through by then counts as its speed. */
export const LINE_DEADLINE_MS = 5_000
const PINGS = 4
const PING_DEADLINE_MS = 2_000

/**
 * The line of a PNode, in bytes a second and ms. What cannot be measured is absent: somebody who cannot be reached now says nothing of the line.
 * @throws the signal's reason
 */
export async function measureLink(pnode: string, link: Link, clock: Clock, signal: AbortSignal): Promise<LinkProfile> {
  const measured: { -readonly [Field in keyof LinkProfile]: LinkProfile[Field] } = {}
  let roundTripMs = await bestPing(link, clock, signal)
  const bytes = noise(pnode)
  const key = probeKey(pnode)
  const upload = await bestOf(() =>
    speedOf(clock, signal, (size, until) => link.store.put(key, bytes.subarray(0, size), { signal: until })),
  )
  if (upload) measured.uploadBytesPerS = upload.bytesPerS
  // What has been written last can be read.
  const last = upload?.isWhole ? upload.sizeBytes : undefined
  const download = last && (await bestOf(() => speedOf(clock, signal, (_size, until) => link.store.get(key, { signal: until }), last)))
  if (download) measured.downloadBytesPerS = download.bytesPerS
  // Control may have been away just then, and be back.
  if (roundTripMs === undefined && upload?.isWhole) roundTripMs = await bestPing(link, clock, signal)
  // Where objects are on their way and no question gets through, it is the line.
  if (roundTripMs === undefined && upload) roundTripMs = PING_DEADLINE_MS
  return { ...(roundTripMs !== undefined && { roundTripMs }), ...measured }
}

/** The shortest of some round trips, in ms; undefined if one was not answered before any was. */
async function bestPing({ ping }: Link, clock: Clock, signal: AbortSignal): Promise<number | undefined> {
  let best: number | undefined
  for (let i = 0; i < PINGS; i++) {
    const { tookMs, isDone } = await timed(clock, signal, PING_DEADLINE_MS, (until) => ping(until))
    if (!isDone) return best
    best = Math.min(best ?? Infinity, tookMs)
  }
  return best
}

interface Speed {
  readonly bytesPerS: number
  /** Of the object that was moved last. */
  readonly sizeBytes: number
  /** It got through. */
  readonly isWhole: boolean
}

/** The best of some tries, if the first is slow; a line on which nothing gets through is not waited for again. */
async function bestOf(attempt: () => Promise<Speed | undefined>): Promise<Speed | undefined> {
  let best = await attempt()
  for (let i = 1; i < TRIES && best?.isWhole && best.sizeBytes < MAX_PROBE_BYTES; i++) {
    const again = await attempt()
    if (!again?.isWhole) break
    if (again.bytesPerS > best.bytesPerS) best = again
  }
  return best
}

/** The speed of the largest object that was tried, its answer included; undefined if it failed, or took no time: no network, then. */
async function speedOf(
  clock: Clock,
  signal: AbortSignal,
  move: (sizeBytes: number, signal: AbortSignal) => Promise<unknown>,
  onlyBytes?: number,
): Promise<Speed | undefined> {
  let found: Speed | undefined
  for (let sizeBytes = onlyBytes ?? FIRST_BYTES; sizeBytes <= MAX_PROBE_BYTES; sizeBytes *= GROWTH) {
    const { tookMs, isDone } = await timed(clock, signal, LINE_DEADLINE_MS, (until) => move(sizeBytes, until))
    const isWhole = isDone && tookMs > 0
    if (!isWhole && tookMs < LINE_DEADLINE_MS) return found
    found = { bytesPerS: Math.round((sizeBytes * 1000) / tookMs), sizeBytes, isWhole }
    if (!isWhole || tookMs >= ENOUGH_MS || onlyBytes !== undefined) return found
  }
  return found
}

/** How long something took, and whether it succeeded; it is given up at its deadline. */
async function timed(
  clock: Clock,
  signal: AbortSignal,
  deadlineMs: number,
  work: (signal: AbortSignal) => Promise<unknown>,
): Promise<{ readonly tookMs: number; readonly isDone: boolean }> {
  const late = new AbortController()
  const cancel = clock.after(deadlineMs, () => late.abort())
  const startMs = clock.now()
  try {
    await work(AbortSignal.any([signal, late.signal]))
    return { tookMs: clock.now() - startMs, isDone: true }
  } catch {
    signal.throwIfAborted()
    return { tookMs: late.signal.aborted ? deadlineMs : clock.now() - startMs, isDone: false }
  } finally {
    cancel()
  }
}

/** Bytes that no line can make smaller. */
function noise(pnode: string): Uint8Array {
  const random = new RandomStream(0, 'probe', pnode)
  const words = Uint32Array.from({ length: MAX_PROBE_BYTES / 4 }, () => random.bits())
  return new Uint8Array(words.buffer)
}

/** How often a PNode measures itself again, in ms: a machine does not change by the minute, and its steps are measured all the time. */
export const MEASURE_MS = 10 * 60_000
/** The first time comes after so much of that: who was busy when it joined need not be an observer for long. */
const FIRST_SHARE = 0.1

export interface QuietOptions {
  readonly pnode: string
  readonly clock: Clock
  readonly signal: AbortSignal
  /** Mean of the time between two, in ms; Infinity: never. */
  readonly everyMs: number
  /** Whether there is no step that would wait for it. */
  readonly isIdle: () => boolean
  readonly measure: () => Promise<void>
}

/** Calls `measure` again and again while nothing would be delayed, each PNode at times of its own: a cluster must not do it all at once. */
export function measureQuietly({ pnode, clock, signal, everyMs, isIdle, measure }: QuietOptions): void {
  if (everyMs === Infinity) return
  const jitter = new RandomStream(0, 'measure', pnode)
  const next = (meanMs: number) => {
    if (signal.aborted) return
    clock.after(meanMs * (0.75 + 0.5 * jitter.uniform()), () => {
      if (signal.aborted) return
      // While it has VNodes, its steps are the measurement.
      if (isIdle()) void measure().finally(() => next(everyMs))
      else next(everyMs)
    })
  }
  next(everyMs * FIRST_SHARE)
}
