/** `swarmgrad delete`. */
import { createInterface } from 'node:readline/promises'
import { keys } from '../../runtime/head.js'
import { SwarmError } from '../../runtime/errors.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { listRuns, findRun, lockRun, storeAt } from '../run-list.js'
import { size } from '../view/format.js'

export async function deleteRun({ output, settings, store: folder }: CommandContext, words: string): Promise<ExitStatus> {
  const store = storeAt(folder)
  const run = await findRun(store, folder, words)
  const { sizeBytes = 0 } = (await listRuns(store, folder)).find((listed) => listed.run === run) ?? {}
  // Held to the end: nobody can go on with a run that is half gone.
  const lock = await lockRun(folder, run)
  try {
    if (!settings.yes && !(await isConfirmed(`Delete run ${run} (${size(sizeBytes)})? [y/N] `))) {
      output.note('nothing was deleted')
      return EXIT.failed
    }
    // Without its head a run starts from its seed; without its definition there is no run: it goes last.
    const last = keys.definition(run)
    await store.delete(keys.head(run))
    for await (const { key } of store.list(`runs/${run}/`)) if (key !== last) await store.delete(key)
    await store.delete(last)
  } finally {
    await lock.release()
  }
  output.record({ type: 'deleted', run, sizeBytes })
  output.result(`deleted ${run}, ${size(sizeBytes)}`)
  return EXIT.done
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
