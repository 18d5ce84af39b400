/** The seam to virtual actors. */
import type { Clock } from '../clock.js'

/** JSON values: all that control messages may carry. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

export interface ActorRef {
  /** `Run`, `Placement`, `VNode.<pnodeId>` … */
  readonly type: string
  /** Any well-formed string of at least one character; implementations encode what their storage cannot hold. */
  readonly id: string
}

export interface CallOptions {
  /** Its abort rejects the call with `aborted`; a turn that has begun goes on. */
  readonly signal?: AbortSignal
  /** Range 1 to MAX_CALL_DEADLINE_MS. Default DEFAULT_CALL_DEADLINE_MS. */
  readonly deadlineMs?: number
}

/**
 * Durable key-value state of one actor, kept in the object store; it outlives deactivation and restarts. Keys are well-formed strings
 * of at least one character. Operations take effect in the order called, awaited or not; values are copied when called.
 */
export interface ActorState {
  get<T extends Json>(key: string): Promise<T | undefined>
  set(key: string, value: Json): Promise<void>
  delete(key: string): Promise<void>
}

/** What a handler is given besides its argument. */
export interface ActorContext {
  readonly ref: ActorRef
  readonly state: ActorState
  readonly clock: Clock
  /** Aborted when the actor deactivates or the system closes. */
  readonly signal: AbortSignal
  call(target: ActorRef, method: string, argument?: Json, options?: CallOptions): Promise<Json>
  /**
   * Calls `method` on this actor after `afterMs` (0 to 2^31 - 1), then every `everyMs` (1 to 2^31 - 1) if given, while it is active.
   * Setting it again replaces it. Lost on deactivation. A tick that comes due while the last one waits or runs is skipped. Ticks do
   * not count as use: an actor that is not called otherwise becomes idle. @throws `usage`, `actor.not-found`, `actor.too-large`
   */
  setTimer(name: string, method: string, when: { readonly afterMs: number; readonly everyMs?: number }, argument?: Json): void
  clearTimer(name: string): void
  /**
   * Like a timer, but durable when it resolves: it activates the actor, and fires after a restart too (at once if its time has passed;
   * periods missed meanwhile are not made up for). Fires at least once: again after a crash in its turn, and, without `everyMs`,
   * again after a retryable error.
   */
  setReminder(name: string, method: string, when: { readonly afterMs: number; readonly everyMs?: number }, argument?: Json): Promise<void>
  clearReminder(name: string): Promise<void>
  /** Asks to be deactivated after this turn. */
  deactivate(): void
}

export type ActorHandler<Memory> = (context: ActorContext, memory: Memory, argument: any) => Promise<Json | void> | Json | void

/** An actor type: a record of handlers over what the actor holds in memory between activation and deactivation. */
export interface ActorDefinition<Memory = unknown> {
  readonly type: string
  /** Runs before the first call of an activation; a throw fails that call and leaves the actor inactive. */
  activate(context: ActorContext): Promise<Memory> | Memory
  /** Runs in a turn of its own, after `context.signal` was aborted; a throw is logged, never loses the process. */
  deactivate?(context: ActorContext, memory: Memory): Promise<void> | void
  /** Only these names can be called. */
  readonly handlers: { readonly [method: string]: ActorHandler<Memory> }
}

/**
 * Virtual actors: addressed by (type, id), activated by their first call, one turn at a time.
 *
 * Implementers guarantee:
 * - one turn at a time per (type, id): calls, timers and reminders never overlap; calls from one caller run in the order made;
 * - `activate` has finished before the first handler runs, and runs once per activation;
 * - arguments and results are JSON, copied (never shared) and at most MAX_CALL_BYTES of UTF-8 each way: `actor.too-large` else;
 *   an omitted argument arrives as `null`, a handler that returns nothing answers `null`;
 * - a SwarmError thrown by a handler reaches the caller with its `code`, `message` and `retryable`; anything else as
 *   `actor.failed`, terminal; a throwing timer or reminder never ends the process;
 * - `actor.timeout` (retryable) after the deadline, though a turn that has begun goes on (one that has not may be withdrawn); `actor.busy` (retryable) when the
 *   mailbox is full; `actor.not-found` for an unknown type or an undeclared handler (`constructor` and `toString` included);
 * - state survives deactivation and a restart of the system; reminders fire after a restart.
 *
 * An actor whose turn waits for a call waits with its whole mailbox: a cycle of calls waits for itself until a deadline breaks it
 * with `actor.timeout`. Actors therefore call only downwards.
 */
export interface ActorSystem {
  /** @throws `usage` if the type is already registered */
  register<Memory>(definition: ActorDefinition<Memory>): void
  /** Forgets a type: its actors are deactivated, later calls get `actor.not-found`. */
  unregister(type: string): Promise<void>
  /** @throws the codes above, `aborted`, `usage` (deadline, an argument that is not JSON) */
  call(target: ActorRef, method: string, argument?: Json, options?: CallOptions): Promise<Json>
  /** Deactivates after the turns that are already queued. Resolves also if it was not active. */
  deactivate(target: ActorRef): Promise<void>
  /** Starts reminders of registered types that an earlier process left behind. Call once, after registering. */
  start(): Promise<void>
  /** Deactivates everything, waits for turns under way; calls that wait and later ones get `actor.closed`. Harmless when repeated. */
  close(): Promise<void>
}

/** Control calls are short; two seconds is what the production system allows too. */
export const DEFAULT_CALL_DEADLINE_MS = 2_000
/** The longest deadline of a call, in milliseconds. */
export const MAX_CALL_DEADLINE_MS = 600_000
/** Control messages only: tensors never pass through actors. */
export const MAX_CALL_BYTES = 64 * 1024
/** Calls that may wait for one actor. */
export const MAX_MAILBOX = 1_024
