/** The Relocation actor: sees to it that what was lost is placed again, and tries until it is. */
import type { ActorContext, ActorDefinition } from '../runtime/actor-system/actor-system.js'
import { isSwarmError } from '../runtime/errors.js'
import { actor, call, type Calls } from './calls.js'

type Loss = Calls['Relocation']['relocate'][0]

interface Memory {
  readonly runs: Set<string>
  /** Losses that a run has not been able to repair yet. */
  pending: { run: string; loss: Loss }[]
}

/** How often a run that has nowhere to go is tried again, in ms; a PNode that joins is tried at once. */
const RETRY_MS = 500

export function relocationActor(): ActorDefinition<Memory> {
  const attempt = async (context: ActorContext, memory: Memory, todo: Memory['pending']) => {
    memory.pending = []
    for (const { run, loss } of todo) {
      if (!memory.runs.has(run)) continue
      try {
        await call<'Run', 'hostLost'>(context, actor.run(run), 'hostLost', loss)
      } catch (error) {
        if (isSwarmError(error) && !error.retryable) continue
        memory.pending.push({ run, loss })
      }
    }
    if (memory.pending.length > 0) context.setTimer('retry', 'retry', { afterMs: RETRY_MS })
    else context.clearTimer('retry')
  }
  return {
    type: 'Relocation',
    activate: () => ({ runs: new Set(), pending: [] }),
    handlers: {
      watch: (_context, { runs }, { run }: { run: string }) => void runs.add(run),
      forget: (_context, { runs }, { run }: { run: string }) => void runs.delete(run),
      relocate: (context, memory, loss: Loss) =>
        attempt(context, memory, [...memory.pending, ...[...memory.runs].map((run) => ({ run, loss }))]),
      retry: (context, memory) => attempt(context, memory, memory.pending),
    },
  }
}
