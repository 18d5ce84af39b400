/** The runs of a place: which there are, and which one a person means. */
import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { SwarmError, isSwarmError } from '../runtime/errors.js'
import { keys } from '../runtime/head.js'
import type { RunPlace } from './place.js'

/** A run as a listing of the store shows it. */
export interface ListedRun {
  readonly run: string
  /** When it was started, in ms since the epoch; 0: nobody knows. */
  readonly startedMs: number
  readonly sizeBytes: number
}

/** More than these many candidates are only counted. */
const SHOWN_CANDIDATES = 5

/** All runs, oldest first. */
export async function listRuns(place: RunPlace): Promise<ListedRun[]> {
  const found = new Map<string, { openedMs?: number; isRun: boolean; sizeBytes: number }>()
  for await (const { key, sizeBytes } of place.store.list('runs/')) {
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
    startedMs: openedMs ?? (await writtenMs(place, run)),
  }))
  return (await Promise.all(listed)).sort((a, b) => a.startedMs - b.startedMs || (a.run < b.run ? -1 : 1))
}

/** Of a run that was ended before its first events: when its definition was written. */
async function writtenMs({ name, cluster }: RunPlace, run: string): Promise<number> {
  const file = cluster ? undefined : await stat(join(resolve(name), 'runs', run, 'definition')).catch(() => undefined)
  return file?.mtimeMs ?? 0
}

/** The id of the run that `words` names: whole, by its beginning, or `latest`. @throws `run.not-found`, `run.ambiguous` */
export async function findRun(place: RunPlace, words: string): Promise<string> {
  const { name: where, flags } = place
  if (await isRun(place, words)) return words
  const runs = await listRuns(place)
  const fix =
    runs.length === 0 ? `There is none in ${where}: start one with swarmgrad train${flags}` : `List the runs with: swarmgrad runs${flags}`
  if (words === 'latest') {
    const last = runs.at(-1)
    if (last) return last.run
    throw new SwarmError('run.not-found', { what: 'no runs', where, fix: `Start one with: swarmgrad train${flags}` })
  }
  const candidates = runs.filter(({ run }) => run.startsWith(words)).map(({ run }) => run)
  if (candidates.length === 1) return candidates[0]
  if (candidates.length === 0) throw new SwarmError('run.not-found', { what: `no run '${words}'`, where, fix })
  const more = candidates.length > SHOWN_CANDIDATES ? ` and ${candidates.length - SHOWN_CANDIDATES} more` : ''
  throw new SwarmError('run.ambiguous', {
    what: `'${words}' may be ${candidates.slice(0, SHOWN_CANDIDATES).join(', ')}${more}`,
    expected: 'the beginning of one run',
  })
}

/** Without a look at all the others. */
async function isRun({ store }: RunPlace, words: string): Promise<boolean> {
  if (words === 'latest' || !/^[A-Za-z0-9_-]+$/.test(words)) return false
  try {
    await store.get(keys.definition(words))
    return true
  } catch (error) {
    if (isSwarmError(error, 'store.not-found')) return false
    throw error
  }
}
