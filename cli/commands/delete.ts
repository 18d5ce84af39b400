/** `swarmgrad delete`. */
import { createInterface } from 'node:readline/promises'
import { eraseRun } from '../../actors/run/delete-run.js'
import { lockRun } from '../../actors/run/run-lock.js'
import { SwarmError } from '../../runtime/errors.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace, type RunPlace } from '../place.js'
import { findRun, listRuns } from '../run-list.js'
import { size } from '../view/format.js'

export async function deleteRun(context: CommandContext, words: string): Promise<ExitStatus> {
  const { output, settings } = context
  const place = await openPlace(context)
  const { store } = place
  const run = await findRun(place, words)
  const { sizeBytes = 0 } = (await listRuns(place)).find((listed) => listed.run === run) ?? {}
  const release = await holdRun(place, run)
  try {
    if (!settings.yes && !(await isConfirmed(`Delete run ${run} (${size(sizeBytes)})? [y/N] `))) {
      output.note('nothing was deleted')
      return EXIT.failed
    }
    await eraseRun(store, run)
  } finally {
    await release()
  }
  output.record({ type: 'deleted', run, sizeBytes })
  output.result(`deleted ${run}, ${size(sizeBytes)}`)
  return EXIT.done
}

/** Held to the end: nobody can go on with a run that is half gone. @throws `run.busy` */
async function holdRun(place: RunPlace, run: string): Promise<() => Promise<void>> {
  if (!place.cluster) {
    const lock = await lockRun(place.name, run, `Pause it first with: swarmgrad pause ${run}`)
    return () => lock.release()
  }
  // There a run has no lock: without its head, which goes first, nobody goes on with it.
  if (!(await place.holder(run))) return async () => undefined
  const fix = `Pause it first with: swarmgrad pause ${run}${place.flags}`
  throw new SwarmError('run.busy', { what: `run ${run} is under way`, where: place.name, fix })
}

/** @throws `usage` without a terminal */
async function isConfirmed(question: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new SwarmError('usage', { what: 'delete asks before it deletes, and there is no terminal', fix: 'Say --yes' })
  }
  const asked = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await asked.question(question)).trim())
  } finally {
    asked.close()
  }
}
