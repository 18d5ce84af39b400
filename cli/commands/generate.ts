/** `swarmgrad generate`: a text that goes on as the network of a run thinks. */
import { openModel } from '../../actors/model.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace } from '../place.js'
import { findRun } from '../run-list.js'

export async function generate(context: CommandContext, words: string): Promise<ExitStatus> {
  const { output, settings } = context
  const { prompt = '', length, temperature, seed } = settings
  const place = await openPlace(context)
  const run = await findRun(place, words)
  const model = await openModel(place.store, run)
  try {
    let text = ''
    for await (const character of model.generate(prompt, { length, temperature, seed })) text += character
    output.record({ type: 'generated', run, step: model.step, prompt, text })
    output.result(`${prompt}${text}`)
    return EXIT.done
  } finally {
    await model.close()
  }
}
