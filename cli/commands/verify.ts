/** `swarmgrad verify`. */
import { verifyRun } from '../../actors/verify.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace } from '../place.js'
import { findRun } from '../run-list.js'
import { progressBar } from '../view/bar.js'
import { count } from '../view/format.js'

export async function verify(context: CommandContext, words: string): Promise<ExitStatus> {
  const { output, settings } = context
  const place = await openPlace(context)
  const run = await findRun(place, words)
  const bar = progressBar(output, 'replaying')
  try {
    const onProgress = (step: number, total: number) => bar.show(step / total, `step ${count(step)}/${count(total)}`)
    const { steps, checkpoints, hash, difference } = await verifyRun(place.store, run, { pnodes: settings.pnodes, onProgress })
    bar.end()
    output.record({
      type: 'verified',
      run,
      steps,
      checkpoints,
      hash: hash ?? null,
      same: difference === undefined,
      difference: difference ?? null,
    })
    if (difference) output.result(output.style.red(`✘ ${describeDifference(difference)}`))
    else {
      const end = hash === undefined ? '' : ` · ${hash}`
      output.result(`${output.style.green('✔')} the same in ${count(steps)} steps and ${count(checkpoints)} checkpoints${end}`)
    }
    return difference ? EXIT.failed : EXIT.done
  } finally {
    bar.end()
  }
}

/** What differs first, in a sentence. */
export function describeDifference(difference: {
  run: string
  step: number
  vnode: string
  tensor: string
  expected: string
  got: string
}): string {
  const { run, step, vnode, tensor, expected, got } = difference
  return `run ${run} differs first at step ${count(step)}, VNode ${vnode}, ${tensor}: expected ${expected}, got ${got}`
}
