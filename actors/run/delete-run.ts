/** The end of a run: everything of it that is stored. */
import { keys } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { clusterStore } from '../cluster.js'
import { lockRun } from './run-lock.js'
import { DEFAULT_STORE, openStore, type RunOptions } from '../train.js'

/**
 * Deletes a run: definition, checkpoints, history, events. Data sets, users' modules and weights, which runs share, stay.
 * @param options where the run is, as it was started
 * @throws `run.not-found` @throws `run.busy` it is under way: pause it first @throws codes of the store
 */
export async function deleteRun(id: string, { on, store = DEFAULT_STORE }: Pick<RunOptions, 'on' | 'store'> = {}): Promise<void> {
  const fix = 'Pause it first: run.pause()'
  if (on?.kind === 'cluster') {
    const there = clusterStore(on)
    if (await isUnderWay(there, id)) throw new SwarmError('run.busy', { what: `run ${id} is under way`, where: on.url, fix })
    return eraseRun(there, id)
  }
  const lock = typeof store === 'string' ? await lockRun(store, id, fix) : undefined
  const opened = openStore(store)
  try {
    await eraseRun(opened, id)
  } finally {
    if (lock) await opened.close()
    await lock?.release()
  }
}

/** Whether control sees to it that the run has an owner. */
export async function isUnderWay(store: ObjectStore, run: string): Promise<boolean> {
  try {
    return (await readHead(store, run)).head.status === 'running'
  } catch (error) {
    // Never started: its trainer was ended before.
    if (isSwarmError(error, 'run.not-found')) return false
    throw error
  }
}

/** Nobody may be at work on the run. @throws `run.not-found` */
export async function eraseRun(store: ObjectStore, run: string): Promise<void> {
  const stored: string[] = []
  for await (const { key } of store.list(`runs/${run}/`)) stored.push(key)
  if (stored.length === 0) throw new SwarmError('run.not-found', { what: `no run '${run}'`, fix: 'List the runs with: swarmgrad runs' })
  // Without its head a run starts from its seed; without its definition there is no run: it goes last.
  const [first, last] = [keys.head(run), keys.definition(run)]
  await store.delete(first)
  for (const key of stored) if (key !== first && key !== last) await store.delete(key)
  await store.delete(last)
}
