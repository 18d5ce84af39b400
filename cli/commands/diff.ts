/** `swarmgrad diff`. */
import { diffRuns } from '../../actors/verify.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { findRun, storeAt } from '../run-list.js'
import { describeDifference } from './verify.js'

/** Status 1 if they differ, as `diff` has it. */
export async function diff({ output, store: folder }: CommandContext, words: string, otherWords: string): Promise<ExitStatus> {
  const store = storeAt(folder)
  const first = await findRun(store, folder, words)
  const second = await findRun(store, folder, otherWords)
  const difference = await diffRuns(store, first, second)
  output.record({ type: 'compared', run: first, other: second, same: difference === undefined, difference: difference ?? null })
  output.result(
    difference ? output.style.red(`✘ ${describeDifference(difference)}`) : `${output.style.green('✔')} ${first} and ${second} are the same`,
  )
  return difference ? EXIT.failed : EXIT.done
}
