/** The Run actor: the door to the owner of a run. */
import type { ActorContext, ActorDefinition } from '../runtime/actor-system/actor-system.js'
import { isSwarmError } from '../runtime/errors.js'
import type { Loss } from './calls.js'
import type { Commit, Evaluated, Failure } from './reports.js'
import { type RunActorOptions, RunOwner } from './run-owner.js'

export function runActor(options: RunActorOptions): ActorDefinition<RunOwner> {
  /** What VNodes and supervisors say concerns a run that is under way: an owner that has just been activated takes it up first. */
  const awake =
    <Argument>(handle: (owner: RunOwner, argument: Argument) => Promise<void>) =>
    async (context: ActorContext, owner: RunOwner, argument: Argument) => {
      try {
        await owner.wake()
        await handle(owner, argument)
      } catch (error) {
        if (!isSwarmError(error, 'run.writer')) throw error
        if (!options.onReplaced) context.deactivate()
        options.onReplaced?.(context.ref.id, error)
        throw error
      }
    }
  return {
    type: 'Run',
    activate: (context) => RunOwner.activate(options, context),
    handlers: {
      start: (_context, owner) => owner.start(),
      wake: awake(async () => undefined),
      committed: awake((owner, commit: Commit) => owner.committed(commit)),
      evaluated: awake((owner, result: Evaluated) => owner.evaluated(result)),
      failed: awake((owner, failure: Failure) => owner.failed(failure)),
      hostLost: awake((owner, loss: Loss) => owner.hostLost(loss)),
      drain: awake((owner, leaving: { readonly pnode: string }) => owner.drain(leaving)),
      pause: awake((owner) => owner.pause()),
      rollBackAgain: awake((owner) => owner.rollBackAgain()),
      rollCall: awake((owner) => owner.rollCall()),
    },
  }
}
