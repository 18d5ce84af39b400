/** The Run actor: the door to the owner of a run. */
import type { ActorContext, ActorDefinition, Json } from '../../runtime/actor-system/actor-system.js'
import type { BalanceOptions } from './balance.js'
import { SwarmError } from '../../runtime/errors.js'
import type { ControlKey } from '../../runtime/grant.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { Leaving, Loss } from '../calls.js'
import type { Claim, Commit, Evaluated, Failure } from '../reports.js'
import type { RunDefinition } from './run-definition.js'
import type { RunMonitor } from './run-monitor.js'
import { AUDIT } from '../checks/audits.js'
import { STANDBYS } from './followers.js'
import { LOOK } from './handover.js'
import { REVIEW } from '../checks/reviews.js'
import { ROLL_CALL } from './roll-call.js'
import { ROLL_BACK } from './rollback.js'
import { openRun } from './run-opening.js'
import { STANDSTILL } from './standstill.js'
import type { Trust } from '../trust/trust.js'
import { hostOf, type HeardContext } from '../who-may.js'
import { RunOwner } from './run-owner.js'

export interface RunActorOptions {
  readonly store: ObjectStore
  readonly controlKey: ControlKey
  readonly monitor: (run: string, definition: RunDefinition) => RunMonitor
  /** Told when somebody else has taken a run over. Default: the actor is deactivated, and whoever is activated next reads the run anew. */
  readonly onReplaced?: (run: string, error: SwarmError) => void
  /** How long an owner that goes on with a run waits for PNodes to say that they are there, in ms. Default: as long as for silence. */
  readonly rollCallMs?: number
  /** How long a run stands still before it is asked why, at least, in ms; Infinity: never. Default: as `DEFAULT_MEMBERSHIP` says. */
  readonly standstillMs?: number
  /** Whose word settles disputes, at the moment. Default: of those who had it when they were given something. */
  readonly trust?: Trust
  /** When VNodes move because others would be faster. */
  readonly balance?: Partial<BalanceOptions>
  /** Told of errors that no caller can be told of. */
  readonly onError: (error: SwarmError) => void
}

export function runActor(options: RunActorOptions): ActorDefinition<RunOwner> {
  /** What VNodes and supervisors say concerns a run that is under way: an owner that has just been activated takes it up first. */
  const awake =
    <Argument>(handle: (owner: RunOwner, argument: Argument) => Promise<Json | void>) =>
    async (context: ActorContext, owner: RunOwner, argument: Argument) => {
      try {
        await owner.wake()
        return await handle(owner, argument)
      } finally {
        // Whoever met it may have taken it for something that passes.
        const { replaced } = owner
        if (replaced && !options.onReplaced) context.deactivate()
        if (replaced) options.onReplaced?.(context.ref.id, replaced)
      }
    }
  /** Planned moves concern nobody else. */
  const underWay = <Argument>(handle: (owner: RunOwner, argument: Argument) => Promise<Json | void>, otherwise: Json) =>
    awake(async (owner: RunOwner, argument: Argument) => (owner.isUnderWay ? handle(owner, argument) : otherwise))
  const pauseAwake = awake((owner) => owner.pause())
  /** A PNode reports of what is placed on it. A term is of one placement: under an older one it may report, and is late. */
  const ofOwner =
    <Report extends Pick<Commit, 'vnode' | 'term'>>(handle: (owner: RunOwner, report: Report) => Promise<Json | void>) =>
    (context: HeardContext, owner: RunOwner, report: Report) =>
      awake(async (owner: RunOwner, report: Report) => {
        const host = hostOf(context)
        const place = owner.head.directory[report.vnode]
        if (host && place?.term === report.term && place.pnode !== host.from)
          throw new SwarmError('message.denied', { what: `${report.vnode} is not placed there`, expected: place.pnode, got: host.from })
        return handle(owner, report)
      })(context, owner, report)
  return {
    type: 'Run',
    activate: async (context) => new RunOwner(options, context, await openRun(options.store, context.ref.id)),
    handlers: {
      start: (_context, owner) => owner.start(),
      wake: awake(async ({ head }) => ({ isRunning: head.status === 'running' })),
      committed: ofOwner((owner, commit: Commit) => owner.committed(commit)),
      claimed: ofOwner((owner, claim: Claim) => owner.claimed(claim)),
      evaluated: ofOwner((owner, result: Evaluated) => owner.evaluated(result)),
      failed: ofOwner((owner, failure: Failure) => owner.failed(failure)),
      hostLost: awake((owner, loss: Loss) => owner.hostLost(loss)),
      drain: underWay(({ moves }, leaving: Leaving) => moves.handover.drain(leaving), []),
      joined: underWay(({ moves }, { pnode }: { readonly pnode: string }) => moves.joined(pnode), null),
      trustChanged: underWay(({ moves, checks }) => {
        moves.followers.seek()
        return checks.reviews.look()
      }, null),
      [STANDSTILL]: underWay(({ moves }) => moves.standstill.look(), null),
      [LOOK]: underWay(({ moves }) => moves.handover.look(), null),
      // One that waits for room has nothing that would have to stop first.
      pause: (context, owner) => (owner.isWaiting ? owner.ending.giveUp() : pauseAwake(context, owner, null)),
      [ROLL_BACK]: awake(({ rollback }) => rollback.again()),
      [STANDBYS]: underWay(({ moves }) => moves.followers.fill(), null),
      [REVIEW]: underWay((owner) => owner.review(), null),
      [AUDIT]: underWay(({ checks }) => checks.audits.look(), null),
      [ROLL_CALL]: awake(({ rollCall }) => rollCall.call()),
    },
  }
}
