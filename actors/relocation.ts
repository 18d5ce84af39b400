/** The Relocation actor: sees to it that what was lost is placed again, and tries until it is. */
import type { ActorContext, ActorDefinition } from '../runtime/actor-system/actor-system.js'
import { isSwarmError } from '../runtime/errors.js'
import { actor, call, isTransient, type Leaving, type Loss } from './calls.js'

interface Memory {
  readonly runs: Set<string>
  /** Losses that a run has not been able to repair yet. */
  pending: Pending[]
}

interface Pending {
  readonly run: string
  readonly loss: Loss
}

/** How often a run that has nowhere to go is tried again, in ms; a PNode that joins is tried at once. */
export const RETRY_MS = 500

export function relocationActor(): ActorDefinition<Memory> {
  const attempt = async (context: ActorContext, memory: Memory, todo: readonly Pending[]) => {
    const pending: Pending[] = []
    for (const { run, loss } of todo) {
      if (!memory.runs.has(run)) continue
      try {
        await call<'Run', 'hostLost'>(context, actor.run(run), 'hostLost', loss)
      } catch (error) {
        if (isSwarmError(error) && !error.retryable) continue
        pending.push({ run, loss })
      }
    }
    await keep(context, memory, pending)
  }
  const keep = async (context: ActorContext, memory: Memory, pending: Pending[]) => {
    if (pending.length > 0 || memory.pending.length > 0) await context.state.set('pending', pending as never)
    memory.pending = pending
    if (pending.length > 0) context.setTimer('retry', 'retry', { afterMs: RETRY_MS })
    else context.clearTimer('retry')
  }
  return {
    type: 'Relocation',
    activate: async (context) => {
      // What one activation has heard, the next one has to see to. What a lost disk forgets, runs tell again when they are taken up.
      const memory: Memory = { runs: new Set(await context.state.get<string[]>('runs')), pending: [] }
      await keep(context, memory, (await context.state.get<never>('pending')) ?? [])
      return memory
    },
    handlers: {
      watch: async ({ state }, { runs }, { run }: { run: string }) => {
        if (runs.has(run)) return
        runs.add(run)
        await state.set('runs', [...runs])
      },
      forget: async ({ state }, { runs }, { run }: { run: string }) => {
        if (runs.delete(run)) await state.set('runs', [...runs])
      },
      relocate: (context, memory, loss: Loss) =>
        attempt(context, memory, [...memory.pending, ...[...memory.runs].map((run) => ({ run, loss }))]),
      drain: async (context, { runs }, leaving: Leaving) => {
        const left = [...runs].map(async (run) => {
          try {
            return (await call<'Run', 'drain'>(context, actor.run(run), 'drain', leaving)).map((vnode) => `${run}/${vnode}`)
          } catch (error) {
            return isTransient(error) ? [`${run}/?`] : []
          }
        })
        return (await Promise.all(left)).flat()
      },
      joined: async (context, memory, newcomer: { pnode: string }) => {
        await attempt(context, memory, memory.pending)
        await Promise.allSettled([...memory.runs].map((run) => call<'Run', 'joined'>(context, actor.run(run), 'joined', newcomer)))
      },
      retry: (context, memory) => attempt(context, memory, memory.pending),
    },
  }
}
