/** A run on a cluster from its start until it ends, or until whoever watches has seen enough: it goes on without them. */
import type { ClusterRun } from '../actors/cluster.js'
import type { Internals, Run, RunOptions } from '../actors/train.js'
import { isSwarmError } from '../runtime/errors.js'
import type { CommandContext } from './command.js'
import { executionOf, showEvents, tellEnd } from './drive-run.js'
import { EXIT, type ExitStatus } from './exit.js'
import { openPlace, type RunPlace } from './place.js'
import { watchSignals } from './signals.js'
import { viewFor } from './view/view.js'

/** Starts a run there, and shows it. @throws what the run fails with */
export async function driveOnCluster(
  context: CommandContext,
  { cluster, store, flags }: ClusterPlace,
  start: (options: RunOptions, internals: Pick<Internals, 'id'>) => Run,
): Promise<ExitStatus> {
  const { settings, output } = context
  const view = viewFor(output)
  const abort = new AbortController()
  let interrupted: ExitStatus | undefined
  let hasStarted = false
  let letGo = () => {}
  const detached = new Promise<undefined>((resolve) => (letGo = () => resolve(undefined)))
  const signals = watchSignals({
    onFirst(status) {
      interrupted = status
      if (hasStarted) letGo()
      else abort.abort()
    },
    onSecond: () => view.end(),
  })
  const onProgress = (done: number, total: number) => view.fetch(done, total)
  const options: RunOptions = { on: cluster.on, signal: abort.signal, ...executionOf(settings), onProgress }
  const run = start(options, { id: settings.id }) as ClusterRun
  try {
    await run.started
    hasStarted = true
    if (settings.detach) {
      // Nobody is there to see the event.
      for (const note of run.notes) output.note(`warning: ${note}`)
      tellDetached(context, run.id)
      output.result(run.id)
      output.note(`goes on without us; ${attach(run.id, flags)}`)
      return EXIT.done
    }
    const shown = showEvents(run, { view, output, store, pnodes: await membersOf(cluster) })
    const ended = Promise.all([run.result, shown]).then(([result]) => result)
    // After a farewell nobody listens.
    ended.catch(() => undefined)
    const result = await Promise.race([ended, detached])
    view.end()
    if (result) return tellEnd(context, result, flags)
    tellDetached(context, run.id)
    output.result(`detached: run ${run.id} goes on; ${attach(run.id, flags)}`)
    return EXIT.done
  } catch (error) {
    view.end()
    if (interrupted === undefined || hasStarted || !isSwarmError(error, 'aborted')) throw error
    output.note('ended before the run began')
    return interrupted
  } finally {
    view.end()
    signals.stop()
  }
}

export type ClusterPlace = RunPlace & Required<Pick<RunPlace, 'cluster'>>

/** For commands that have found a cluster meant. @throws as `openPlace` */
export async function openClusterPlace(context: CommandContext): Promise<ClusterPlace> {
  return (await openPlace(context)) as ClusterPlace
}

function tellDetached({ output }: CommandContext, run: string): void {
  output.record({ type: 'detached', run, pid: null, log: null })
}

function attach(run: string, flags: string): string {
  return `watch it from anywhere with: swarmgrad events ${run} --follow${flags}, or: swarmgrad status ${run}${flags}`
}

async function membersOf({ client }: ClusterPlace['cluster']): Promise<number> {
  return (await client.pnodes()).filter(({ state }) => state !== 'lost').length
}
