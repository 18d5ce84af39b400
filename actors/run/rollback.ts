/** Recovery two: the whole run goes back, and tries until there is a place for everything. */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { type ErrorRecord, toSwarmError } from '../../runtime/errors.js'
import type { Head } from '../../runtime/head.js'
import type { HeadWriter } from '../../runtime/head-store.js'
import { RETRY_MS } from '../relocation.js'
import type { HeadEcho } from './head-echo.js'

export interface RollbackOptions {
  readonly context: ActorContext
  readonly writer: HeadWriter
  readonly echo: HeadEcho
  /** Places everything as the changed head says. */
  readonly begin: (change: (head: Head) => Head) => Promise<void>
  /** It has begun. */
  readonly begun: (reason: string) => void
  readonly fail: (error: ErrorRecord) => Promise<void>
}

/** Handler of the Run actor, and its timer, for `Rollback.again`. */
export const ROLL_BACK = 'rollBackAgain'

export class Rollback {
  readonly #options: RollbackOptions
  /** Why one is under way, and to what. */
  #pending: { readonly reason: string; readonly change: (head: Head) => Head } | undefined

  constructor(options: RollbackOptions) {
    this.#options = options
  }

  get isUnderWay(): boolean {
    return this.#pending !== undefined
  }

  /** Goes on with one that found no PNode. */
  async again(): Promise<void> {
    if (this.#pending) await this.back(this.#pending.reason, this.#pending.change)
  }

  /** Everything goes back to the newest manifest of the changed head. */
  async back(reason: string, change: (head: Head) => Head): Promise<void> {
    const { context, writer, echo, begin, begun, fail } = this.#options
    this.#pending = { reason, change }
    try {
      // Whoever has it now may have left VNodes where they were, under the same terms.
      await writer.confirm()
      await echo.stopAll()
      await begin(change)
    } catch (error) {
      if (writer.replaced) throw writer.replaced
      const cause = toSwarmError(error, 'internal', `run ${writer.head.run}`)
      if (!cause.retryable) return fail(cause.toJSON())
      // Whoever reported it has been stopped: nobody else would try again.
      return context.setTimer('rollback', ROLL_BACK, { afterMs: RETRY_MS })
    }
    this.#pending = undefined
    begun(reason)
  }
}
