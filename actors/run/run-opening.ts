/** What the owner of a run begins with. */
import { isSwarmError } from '../../runtime/errors.js'
import { firstHead } from '../../runtime/head.js'
import { HeadWriter } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { Timetable } from '../../runtime/timetable.js'
import { Evaluations } from './evaluations.js'
import { readDefinition, type RunDefinition } from './run-definition.js'

export interface OpenedRun {
  readonly writer: HeadWriter
  readonly definition: RunDefinition
  readonly timetable: Timetable
  readonly evaluations: Evaluations
}

/** Takes a run over: raises `writer`, so that an older owner is refused. @throws `run.not-found`, `run.writer`, codes of the store */
export async function openRun(store: ObjectStore, run: string): Promise<OpenedRun> {
  const definition = await readDefinition(store, run)
  const writer = await HeadWriter.claim(store, run).catch((error: unknown) => {
    if (!isSwarmError(error, 'run.not-found')) throw error
    return HeadWriter.create(store, firstHead(run))
  })
  const timetable = new Timetable(definition.timetable)
  return { writer, definition, timetable, evaluations: await Evaluations.read(store, run, definition, timetable) }
}

/** What people want to know of a run that begins. */
export function sizeOf({ training, data }: RunDefinition, { totalSteps }: Timetable) {
  const { epochs, batchSize } = training
  const samples = data.splits.train?.reduce((sum, shard) => sum + shard.samples, 0) ?? 0
  return { totalSteps, epochs, batchSize, samples }
}
