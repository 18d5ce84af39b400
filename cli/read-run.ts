/** What the store knows of a run: its head, its definition and its last events. */
import { readEventsBackwards } from '../actors/run/event-log.js'
import type { RunEvent } from '../actors/events.js'
import { readHistory } from '../actors/run/history.js'
import { readDefinition, type RunDefinition } from '../actors/run/run-definition.js'
import { isSwarmError } from '../runtime/errors.js'
import type { Head } from '../runtime/head.js'
import { readHead } from '../runtime/head-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { Timetable } from '../runtime/timetable.js'
import type { RunPlace } from './place.js'

export type RunState = Head['status'] | 'interrupted'

/** A run in short. */
export interface RunSummary {
  readonly run: string
  /** `interrupted`: it should be running, but nobody is at work on it. */
  readonly status: RunState
  /** The newest checkpoint's, or all if it is done. */
  readonly step: number
  readonly totalSteps: number
  readonly accuracy: number | undefined
  readonly hash: string | undefined
  readonly definition: RunDefinition
  /** Undefined: it was ended before its first write. */
  readonly head: Head | undefined
  /** Whether somebody is at work on it, and the process, if it is one of this machine. */
  readonly isHeld: boolean
  readonly pid: number | undefined
}

/** @throws `run.not-found`, `store.damaged` */
export async function summarise(place: RunPlace, run: string): Promise<RunSummary> {
  const { store } = place
  const definition = await readDefinition(store, run)
  const [head, holder, rows] = await Promise.all([headOf(store, run), place.holder(run), readHistory(store, run)])
  const status = head?.status ?? 'running'
  const { totalSteps } = new Timetable(definition.timetable)
  return {
    run,
    definition,
    head,
    status: status === 'running' && !holder ? 'interrupted' : status,
    step: status === 'done' ? totalSteps : (head?.manifests[0]?.step ?? 0),
    totalSteps,
    accuracy: head?.result?.metrics.accuracy ?? rows.at(-1)?.metrics.accuracy,
    hash: head?.result?.hash,
    isHeld: holder !== undefined,
    pid: holder?.pid,
  }
}

async function headOf(store: ObjectStore, run: string): Promise<Head | undefined> {
  try {
    return (await readHead(store, run)).head
  } catch (error) {
    if (isSwarmError(error, 'run.not-found')) return undefined
    throw error
  }
}

/** The newest event that fits. */
export async function lastEvent<E extends RunEvent>(
  store: ObjectStore,
  run: string,
  fits: (event: RunEvent) => event is E,
): Promise<E | undefined> {
  for await (const { events } of readEventsBackwards(store, run)) {
    const last = events.findLast(fits)
    if (last) return last
  }
  return undefined
}
