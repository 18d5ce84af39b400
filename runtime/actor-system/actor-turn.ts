/** One entry of an actor's mailbox, and the rules that timers and reminders share. */
import { SwarmError } from '../errors.js'
import { describeRef } from './actor-keys.js'
import type { ActorDefinition, ActorRef } from './actor-system.js'

/** How a turn ended. */
export type TurnOutcome =
  | { readonly type: 'done'; readonly result: string }
  | { readonly type: 'failed'; readonly error: SwarmError }
  /** Nobody wanted it any more when it came up. */
  | { readonly type: 'skipped' }

/** A call, timer tick or reminder on its way to a handler. */
export interface Turn {
  readonly kind: 'call' | 'timer' | 'reminder'
  readonly definition: ActorDefinition
  /** A name that `findHandler` accepted. */
  readonly method: string
  /** JSON text. */
  readonly argument: string
  /** Asked once, just before it runs. */
  isWanted(): boolean
  /** Called exactly once, unless the turn was withdrawn. Must not throw. */
  done(outcome: TurnOutcome): void
}

/** When a timer or reminder fires. */
export interface Schedule {
  readonly afterMs: number
  readonly everyMs?: number
}

/** The longest delay of a timer or reminder, in milliseconds (24.8 days): what a machine's timer takes in one piece. */
export const MAX_DELAY_MS = 2_147_483_647

/** @throws `usage` */
export function checkSchedule({ afterMs, everyMs }: Schedule, where: string): void {
  const isDelay = (ms: number, least: number) => Number.isFinite(ms) && ms >= least && ms <= MAX_DELAY_MS
  if (!isDelay(afterMs, 0)) {
    throw new SwarmError('usage', { what: 'afterMs out of range', where, expected: `0 to ${MAX_DELAY_MS}`, got: String(afterMs) })
  }
  if (everyMs !== undefined && !isDelay(everyMs, 1)) {
    throw new SwarmError('usage', { what: 'everyMs out of range', where, expected: `1 to ${MAX_DELAY_MS}`, got: String(everyMs) })
  }
}

/** Refuses what the definition does not declare itself: `constructor`, `toString` … @throws `actor.not-found` */
export function checkHandler(definition: ActorDefinition, method: string, ref: ActorRef): void {
  if (Object.hasOwn(definition.handlers, method) && typeof definition.handlers[method] === 'function') return
  throw new SwarmError('actor.not-found', {
    what: `${describeRef(ref)} has no handler ${JSON.stringify(method)}`,
    expected: Object.keys(definition.handlers).join(', '),
  })
}

/** What a caller is told of something thrown by an actor: a SwarmError by its record, anything else as `actor.failed`. */
export function toActorError(error: unknown, ref: ActorRef, method: string): SwarmError {
  if (error instanceof SwarmError) return SwarmError.from(error.toJSON())
  const detail = error instanceof Error ? error.message : String(error)
  return new SwarmError('actor.failed', { what: `${describeRef(ref)}: ${method} threw: ${detail}`, cause: error })
}
