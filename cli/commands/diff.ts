/** `swarmgrad diff`. */
import { diffRuns } from '../../actors/verify.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace } from '../place.js'
import { findRun } from '../run-list.js'
import { describeDifference } from './verify.js'

/** Status 1 if they differ, as `diff` has it. */
export async function diff(context: CommandContext, words: string, otherWords: string): Promise<ExitStatus> {
  const { output } = context
  const place = await openPlace(context)
  const { store } = place
  const first = await findRun(place, words)
  const second = await findRun(place, otherWords)
  const difference = await diffRuns(store, first, second)
  output.record({ type: 'compared', run: first, other: second, same: difference === undefined, difference: difference ?? null })
  output.result(
    difference ? output.style.red(`✘ ${describeDifference(difference)}`) : `${output.style.green('✔')} ${first} and ${second} are the same`,
  )
  return difference ? EXIT.failed : EXIT.done
}
