/** The runs of a store: which there are, which one a person means, and whether a process is at work on one. */
import { lstat, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { runLockPath } from '../actors/train.js'
import { SwarmError } from '../runtime/errors.js'
import { type FileLock, type LockHolder, tryLock } from '../runtime/object-store/file-lock.js'
import { fileStore } from '../runtime/object-store/file-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'

/** A run as a listing of the store shows it. */
export interface ListedRun {
  readonly run: string
  /** When it was started, in ms since the epoch. */
  readonly startedMs: number
  readonly sizeBytes: number
}

/** More than these many candidates are only counted. */
const SHOWN_CANDIDATES = 5

/** The store in a folder, which need not exist. */
export function storeAt(folder: string): ObjectStore {
  return fileStore({ root: resolve(folder) })
}

/** All runs, oldest first. */
export async function listRuns(store: ObjectStore, folder: string): Promise<ListedRun[]> {
  const found = new Map<string, { openedMs?: number; isRun: boolean; sizeBytes: number }>()
  for await (const { key, sizeBytes } of store.list('runs/')) {
    const [, run, rest] = /^runs\/([^/]+)\/(.*)$/.exec(key) ?? []
    if (run === undefined || rest === undefined) continue
    const entry = found.get(run) ?? { isRun: false, sizeBytes: 0 }
    entry.isRun ||= rest === 'definition'
    entry.sizeBytes += sizeBytes
    // Chunks of events are named by the time at which their log was opened; the first one is the oldest.
    entry.openedMs ??= Number(/^events\/(\d+)-/.exec(rest)?.[1] ?? Number.NaN) || undefined
    found.set(run, entry)
  }
  const runs = [...found].filter(([, { isRun }]) => isRun)
  const listed = runs.map(async ([run, { openedMs, sizeBytes }]) => ({
    run,
    sizeBytes,
    startedMs: openedMs ?? (await writtenMs(folder, run)),
  }))
  return (await Promise.all(listed)).sort((a, b) => a.startedMs - b.startedMs || (a.run < b.run ? -1 : 1))
}

/** Of a run that was ended before its first events: when its definition was written. */
async function writtenMs(folder: string, run: string): Promise<number> {
  const file = await stat(join(resolve(folder), 'runs', run, 'definition')).catch(() => undefined)
  return file?.mtimeMs ?? 0
}

/** The id of the run that `words` names: whole, by its beginning, or `latest`. @throws `run.not-found`, `run.ambiguous` */
export async function findRun(store: ObjectStore, folder: string, words: string): Promise<string> {
  const runs = await listRuns(store, folder)
  if (runs.some(({ run }) => run === words)) return words
  const fix = runs.length === 0 ? `There is none in ${folder}: start one with swarmgrad train` : 'List the runs with: swarmgrad runs'
  if (words === 'latest') {
    const last = runs.at(-1)
    if (last) return last.run
    throw new SwarmError('run.not-found', { what: 'no runs', where: folder, fix: 'Start one with: swarmgrad train' })
  }
  const candidates = runs.filter(({ run }) => run.startsWith(words)).map(({ run }) => run)
  if (candidates.length === 1) return candidates[0]
  if (candidates.length === 0) throw new SwarmError('run.not-found', { what: `no run '${words}'`, where: folder, fix })
  const more = candidates.length > SHOWN_CANDIDATES ? ` and ${candidates.length - SHOWN_CANDIDATES} more` : ''
  throw new SwarmError('run.ambiguous', {
    what: `'${words}' may be ${candidates.slice(0, SHOWN_CANDIDATES).join(', ')}${more}`,
    expected: 'the beginning of one run',
  })
}

/** The process that is at work on a run; undefined if there is none. Takes no lock that is free. */
export async function runHolder(folder: string, run: string): Promise<LockHolder | undefined> {
  const path = runLockPath(folder, run)
  if (!(await lstat(path).catch(() => undefined))) return undefined
  // Of a holder that was killed the link is still there: only the lock knows.
  const lock = await tryLock(path)
  if ('heldBy' in lock) return lock.heldBy
  await lock.release()
  return undefined
}

/** The lock of a run. @throws `run.busy` */
export async function lockRun(folder: string, run: string): Promise<FileLock> {
  const lock = await tryLock(runLockPath(folder, run))
  if ('release' in lock) return lock
  throw new SwarmError('run.busy', {
    what: `run ${run} is under way`,
    got: `process ${lock.heldBy.pid}`,
    fix: `Pause it first with: swarmgrad pause ${run}`,
  })
}
