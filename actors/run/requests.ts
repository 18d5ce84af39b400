/**
 * What one process asks of the one that owns a run: an object per request, `runs/<run>/requests/<what>`, looked for by the owner.
 * A request is a wish: the owner deletes it when it has heard it. The bytes are `{"v":1,"atMs":…}`.
 */
import type { Clock } from '../../runtime/clock.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'

const REQUEST_VERSION = 1
/** A person waits for the answer; one small read this often costs nothing beside a step. */
const POLL_MS = 500

export type RequestName = 'pause'

const key = (run: string, name: RequestName): string => `runs/${run}/requests/${name}`

/** Asks the owner of a run for something. @param atMs the caller's time, ms since the epoch */
export async function writeRequest(store: ObjectStore, run: string, name: RequestName, atMs: number): Promise<void> {
  await store.put(key(run, name), new TextEncoder().encode(JSON.stringify({ v: REQUEST_VERSION, atMs })))
}

/** Takes a request back, or marks it as heard. */
export async function deleteRequest(store: ObjectStore, run: string, name: RequestName): Promise<void> {
  await store.delete(key(run, name))
}

export interface WatchOptions {
  readonly clock: Clock
  /** What was asked before this time, in ms since the epoch, was meant for an owner before. Default: now. */
  readonly sinceMs?: number
  readonly onPause: () => void
}

/** Looks for requests until the returned function is called or one was heard. The caller owns the run. */
export function watchRequests(store: ObjectStore, run: string, { clock, sinceMs = clock.now(), onPause }: WatchOptions): () => void {
  let cancel: (() => void) | undefined
  let isStopped = false
  const look = async () => {
    const asked = await readRequest(store, run, 'pause')
    if (isStopped) return
    if (asked !== undefined) await deleteRequest(store, run, 'pause').catch(ignore)
    if (asked !== undefined && asked >= sinceMs) onPause()
    else schedule()
  }
  const schedule = () => {
    if (!isStopped) cancel = clock.after(POLL_MS, () => void look().catch(schedule))
  }
  void look().catch(schedule)
  return () => {
    isStopped = true
    cancel?.()
  }
}

/** When it was asked for; undefined if it was not. */
async function readRequest(store: ObjectStore, run: string, name: RequestName): Promise<number | undefined> {
  try {
    const { bytes } = await store.get(key(run, name))
    const { v, atMs } = JSON.parse(new TextDecoder().decode(bytes)) as { v: number; atMs: number }
    return v === REQUEST_VERSION ? atMs : undefined
  } catch (error) {
    if (isSwarmError(error, 'store.not-found')) return undefined
    throw error
  }
}

function ignore(): void {}
