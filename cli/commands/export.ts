/** `swarmgrad export`: the weights of a run for other programs. */
import { exportRun as exportTo } from '../../actors/export-model.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace } from '../place.js'
import { findRun } from '../run-list.js'
import { count } from '../view/format.js'

export async function exportRun(context: CommandContext, words: string): Promise<ExitStatus> {
  const { output, settings } = context
  const { format = 'safetensors' } = settings
  const place = await openPlace(context)
  const run = await findRun(place, words)
  const path = settings.exportTo ?? (format === 'tfjs' ? `${run}-tfjs` : `${run}.safetensors`)
  const { step, files } = await exportTo(place.store, run, path, { format })
  output.record({ type: 'exported', run, step, format, files })
  output.result(`weights of ${run} (step ${count(step)}) in ${files.join(' and ')}`)
  return EXIT.done
}
