/** Whether a follower has fallen so far behind that nobody keeps what it lacks. */
import { SwarmError } from '../../runtime/errors.js'
import type { StepLog } from '../../runtime/step-log.js'

/** As often as that nothing has come for a follower that is behind the newest checkpoint: nobody keeps it any more. */
const BEHIND_TICKS = 8

export class FollowerLag {
  /** Where it stands since it was seen to be behind, and how often it was seen there. */
  #behind = { applied: 0, ticks: 0 }

  /** To be asked at every tick. @returns why it cannot go on, if it cannot */
  see(id: string, { applied, isBehind }: Pick<StepLog<unknown>, 'applied' | 'isBehind'>, manifest: number): SwarmError | undefined {
    this.#behind = { applied, ticks: isBehind && this.#behind.applied === applied ? this.#behind.ticks + 1 : 0 }
    if (this.#behind.ticks < BEHIND_TICKS) return undefined
    return new SwarmError('follower.behind', {
      what: `follower ${id}`,
      expected: `inputs after ${applied}`,
      got: `a checkpoint at ${manifest}`,
    })
  }
}
