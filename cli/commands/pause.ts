/** `swarmgrad pause`: a request in the store, which the process at work on the run looks for; on a cluster, one to control. */
import { deleteRequest, writeRequest } from '../../actors/run/requests.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace, type RunHolder, type RunPlace } from '../place.js'
import { summarise } from '../read-run.js'
import { findRun } from '../run-list.js'
import { count } from '../view/format.js'

const POLL_MS = 200
/** A step boundary with its checkpoint comes within seconds; a process that is stopped never answers. */
const PATIENCE_MS = 60_000

export async function pause(context: CommandContext, words: string): Promise<ExitStatus> {
  const { output } = context
  const place = await openPlace(context)
  const run = await findRun(place, words)
  const holder = await place.holder(run)
  if (!holder) {
    const { status, step } = await summarise(place, run)
    if (status === 'paused' || status === 'interrupted') {
      output.record({ type: 'paused', run, step, status })
      output.result(`not running (${status} after step ${count(step)}) · go on with: swarmgrad resume ${run}${place.flags}`)
      return EXIT.done
    }
    throw new SwarmError('usage', { what: `run ${run} is not running`, got: status })
  }
  const request = await ask(place, run, holder)
  output.note(`asked ${request.whom} to pause …`)
  const untilMs = systemClock.now() + PATIENCE_MS
  while (await place.holder(run)) {
    if (systemClock.now() > untilMs) {
      await request.forget()
      throw new SwarmError('actor.timeout', {
        what: `${request.whom} has not paused run ${run} within ${PATIENCE_MS / 1000} s`,
        fix: request.fix,
        retryable: true,
      })
    }
    await systemClock.sleep(POLL_MS)
  }
  await request.forget()
  const { status, step } = await summarise(place, run)
  output.record({ type: 'paused', run, step, status })
  output.result(
    status === 'paused'
      ? `paused after step ${count(step)} · go on with: swarmgrad resume ${run}${place.flags}`
      : `${status} after step ${count(step)}, before the request was heard`,
  )
  return status === 'failed' ? EXIT.failed : EXIT.done
}

interface PauseRequest {
  readonly whom: string
  /** What to do if nothing comes of it. */
  readonly fix: string
  forget(): Promise<void>
}

async function ask({ cluster, store, name, flags }: RunPlace, run: string, { pid }: RunHolder): Promise<PauseRequest> {
  if (cluster) {
    await cluster.client.pause(run)
    const fix = `It pauses when its VNodes are somewhere; see who is there with: swarmgrad pnodes${flags}`
    return { whom: `the cluster ${name}`, fix, forget: async () => undefined }
  }
  await writeRequest(store, run, 'pause', systemClock.now())
  const fix = 'It may be stopped, or not be a swarmgrad command: interrupt it with Ctrl-C there'
  return { whom: `process ${pid}`, fix, forget: () => deleteRequest(store, run, 'pause') }
}
