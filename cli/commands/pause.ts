/** `swarmgrad pause`: a request in the store, which the process at work on the run looks for. */
import { deleteRequest, writeRequest } from '../../actors/requests.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { summarise } from '../read-run.js'
import { findRun, runHolder, storeAt } from '../run-list.js'
import { count } from '../view/format.js'

const POLL_MS = 200
/** A step boundary with its checkpoint comes within seconds; a process that is stopped never answers. */
const PATIENCE_MS = 60_000

export async function pause({ output, store: folder }: CommandContext, words: string): Promise<ExitStatus> {
  const store = storeAt(folder)
  const run = await findRun(store, folder, words)
  const holder = await runHolder(folder, run)
  if (!holder) {
    const { status, step } = await summarise(store, folder, run)
    if (status === 'paused' || status === 'interrupted') {
      output.record({ type: 'paused', run, step, status })
      output.result(`not running (${status} after step ${count(step)}) · go on with: swarmgrad resume ${run}`)
      return EXIT.done
    }
    throw new SwarmError('usage', { what: `run ${run} is not running`, got: status })
  }
  await writeRequest(store, run, 'pause', systemClock.now())
  output.note(`asked process ${holder.pid} to pause …`)
  const untilMs = systemClock.now() + PATIENCE_MS
  while (await runHolder(folder, run)) {
    if (systemClock.now() > untilMs) {
      await deleteRequest(store, run, 'pause')
      throw new SwarmError('actor.timeout', {
        what: `process ${holder.pid} has not paused run ${run} within ${PATIENCE_MS / 1000} s`,
        fix: 'It may be stopped, or not be a swarmgrad command: interrupt it with Ctrl-C there',
        retryable: true,
      })
    }
    await systemClock.sleep(POLL_MS)
  }
  await deleteRequest(store, run, 'pause')
  const { status, step } = await summarise(store, folder, run)
  output.record({ type: 'paused', run, step, status })
  output.result(
    status === 'paused'
      ? `paused after step ${count(step)} · go on with: swarmgrad resume ${run}`
      : `${status} after step ${count(step)}, before the request was heard`,
  )
  return status === 'failed' ? EXIT.failed : EXIT.done
}
