/** The embedded half of the actor system: mailboxes in this process, state in an object store. */
import type { Clock } from '../clock.js'
import { SwarmError, toSwarmError } from '../errors.js'
import type { ObjectStore } from '../object-store/object-store.js'
import { actorPath, describeRef } from './actor-keys.js'
import { ActorMailbox } from './actor-mailbox.js'
import { ReminderBook } from './actor-reminders.js'
import type { ReminderRecord } from './actor-reminders.js'
import { openState } from './actor-state.js'
import { DEFAULT_CALL_DEADLINE_MS, MAX_CALL_DEADLINE_MS } from './actor-system.js'
import type { ActorDefinition, ActorRef, ActorSystem, CallOptions, Json } from './actor-system.js'
import { MAX_DELAY_MS, checkHandler } from './actor-turn.js'
import type { Turn, TurnOutcome } from './actor-turn.js'
import { fromText, toCallText } from './json-copy.js'
import { Lanes } from './lanes.js'

export interface LocalActorsOptions {
  /** Not closed by the system. One live system per (store, prefix): a second one would not know of the first one's actors. */
  readonly store: ObjectStore
  readonly clock: Clock
  /** Before the keys `actors/…` and `reminders/…`. Default none; end it in `/`. */
  readonly prefix?: string
  /** An actor that was not called for so long is deactivated. Range 1 to 2^31 - 1 ms. Default DEFAULT_IDLE_MS. */
  readonly idleMs?: number
  /** Told of what no caller hears: a throwing timer, reminder or `deactivate`, and a failed turn whose caller had given up. Default: a process warning. */
  readonly onError?: (error: SwarmError, ref: ActorRef) => void
}

/** 24 hours: an idle actor costs only memory here, and a run's actors are used all the time. */
export const DEFAULT_IDLE_MS = 86_400_000

/**
 * An actor system in this process.
 *
 * - A call that times out or is aborted before its turn began is withdrawn and never runs; a turn that has begun goes on.
 * - A call to an actor whose turn is under way waits for that turn. A cycle of calls therefore waits for itself, until the
 *   deadline of one of its calls breaks it with `actor.timeout`.
 * - `close` refuses what waits with `actor.closed`, aborts the contexts' signals and waits for the turns under way, for as long as they take.
 *
 * @throws `usage` if idleMs is out of range
 */
export function localActors(options: LocalActorsOptions): ActorSystem {
  const { store, clock, prefix = '', idleMs = DEFAULT_IDLE_MS, onError = warn } = options
  if (!(idleMs >= 1 && idleMs <= MAX_DELAY_MS)) {
    throw new SwarmError('usage', { what: 'idleMs out of range', expected: `1 to ${MAX_DELAY_MS}`, got: String(idleMs) })
  }
  return new LocalActors({ store, clock, prefix, idleMs, onError })
}

class LocalActors implements ActorSystem {
  readonly #options: Required<LocalActorsOptions>
  readonly #lanes = new Lanes()
  readonly #reminders: ReminderBook
  readonly #definitions = new Map<string, ActorDefinition>()
  /** By actorPath; only those that are active or have turns waiting. */
  readonly #mailboxes = new Map<string, ActorMailbox>()
  #closed: Promise<void> | undefined

  constructor(options: Required<LocalActorsOptions>) {
    this.#options = options
    const { store, clock, prefix } = options
    this.#reminders = new ReminderBook({
      store,
      clock,
      prefix,
      lanes: this.#lanes,
      fire: (record, isWanted) => this.#fire(record, isWanted),
      report: (error, ref) => this.#report(error, ref),
    })
  }

  register<Memory>(definition: ActorDefinition<Memory>): void {
    this.#assertOpen(`register ${definition.type}`)
    if (this.#definitions.has(definition.type)) {
      throw new SwarmError('usage', { what: `the actor type ${JSON.stringify(definition.type)} is already registered` })
    }
    // Memory goes from activate to the handlers of the same definition only.
    this.#definitions.set(definition.type, definition as ActorDefinition)
  }

  async unregister(type: string): Promise<void> {
    if (!this.#definitions.delete(type)) return
    this.#reminders.forget(type)
    const prefix = actorPath({ type, id: '' }).slice(0, -1)
    const leaving = [...this.#mailboxes].filter(([path]) => path.startsWith(prefix))
    await Promise.all(leaving.map(([, mailbox]) => mailbox.deactivate()))
  }

  async call(target: ActorRef, method: string, argument?: Json, options: CallOptions = {}): Promise<Json> {
    const { deadlineMs = DEFAULT_CALL_DEADLINE_MS, signal } = options
    const what = `${describeRef(target)}: ${method}`
    this.#assertOpen(what)
    const definition = this.#definitions.get(target.type)
    if (!definition) throw new SwarmError('actor.not-found', { what: `no actor type ${JSON.stringify(target.type)}`, where: what })
    checkHandler(definition, method, target)
    if (!(deadlineMs >= 1 && deadlineMs <= MAX_CALL_DEADLINE_MS)) {
      throw new SwarmError('usage', { what: 'deadlineMs out of range', expected: `1 to ${MAX_CALL_DEADLINE_MS}`, got: String(deadlineMs) })
    }
    if (signal?.aborted) throw new SwarmError('aborted', { what: `call aborted (${what})`, cause: signal.reason })
    const text = toCallText(argument, `the argument of ${what}`, 'usage')
    return this.#await(target, { kind: 'call', definition, method, argument: text }, deadlineMs, signal)
  }

  async deactivate(target: ActorRef): Promise<void> {
    await this.#mailboxes.get(actorPath(target))?.deactivate()
  }

  async start(): Promise<void> {
    this.#assertOpen('start')
    await this.#reminders.start((type) => this.#definitions.has(type))
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#reminders.close()
    await Promise.all([...this.#mailboxes.values()].map((mailbox) => mailbox.close()))
    await this.#reminders.settled()
    await this.#lanes.settled()
  }

  /** Queues the turn and waits for its end, its deadline or the abort. */
  #await(target: ActorRef, turn: Omit<Turn, 'isWanted' | 'done'>, deadlineMs: number, signal?: AbortSignal): Promise<Json> {
    const mailbox = this.#mailbox(target)
    const what = `${describeRef(target)}: ${turn.method}`
    return new Promise((resolve, reject) => {
      let isSettled = false
      const settle = (end: () => void) => {
        isSettled = true
        cancelDeadline()
        signal?.removeEventListener('abort', onAbort)
        end()
      }
      const giveUp = (error: SwarmError) => {
        mailbox.withdraw(queued)
        settle(() => reject(error))
      }
      const onAbort = () => giveUp(new SwarmError('aborted', { what: `call aborted (${what})`, cause: signal?.reason }))
      const onDone = (outcome: TurnOutcome) => {
        if (isSettled) {
          if (outcome.type === 'failed' && outcome.error.code !== 'actor.closed') this.#report(outcome.error, target)
        } else if (outcome.type === 'done') settle(() => resolve(fromText(outcome.result)))
        else if (outcome.type === 'failed') settle(() => reject(outcome.error))
      }
      const queued: Turn = { ...turn, isWanted: () => !isSettled, done: onDone }
      mailbox.push(queued)
      const cancelDeadline = this.#options.clock.after(deadlineMs, () =>
        giveUp(new SwarmError('actor.timeout', { what: `no answer from ${what} within ${deadlineMs} ms`, retryable: true })),
      )
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  async #fire(record: ReminderRecord, isWanted: () => boolean): Promise<TurnOutcome> {
    const { method, argument } = record
    const ref = { type: record.type, id: record.id }
    const definition = this.#definitions.get(ref.type)
    if (!definition) return { type: 'skipped' }
    try {
      this.#assertOpen(method)
      checkHandler(definition, method, ref)
    } catch (error) {
      return { type: 'failed', error: toSwarmError(error, 'internal') }
    }
    return new Promise((resolve) => {
      this.#mailbox(ref).push({ kind: 'reminder', definition, method, argument: JSON.stringify(argument), isWanted, done: resolve })
    })
  }

  #mailbox(target: ActorRef): ActorMailbox {
    const path = actorPath(target)
    const known = this.#mailboxes.get(path)
    if (known) return known
    const ref = { type: target.type, id: target.id }
    const { clock, idleMs, store, prefix } = this.#options
    const mailbox = new ActorMailbox({
      ref,
      clock,
      idleMs,
      openState: () => openState({ store, prefix, lanes: this.#lanes }, ref),
      reminders: this.#reminders,
      call: (...parts) => this.call(...parts),
      report: (error) => this.#report(error, ref),
      onEmpty: () => this.#mailboxes.delete(path),
    })
    this.#mailboxes.set(path, mailbox)
    return mailbox
  }

  #assertOpen(what: string): void {
    if (this.#closed) throw new SwarmError('actor.closed', { what: 'the actor system is closed', where: what })
  }

  #report(error: SwarmError, ref: ActorRef): void {
    try {
      this.#options.onError(error, ref)
    } catch (thrown) {
      // A throwing reporter must not end the process either, nor hide what it was told.
      warn(error, ref)
      warn(toSwarmError(thrown, 'internal', 'onError threw'), ref)
    }
  }
}

function warn(error: SwarmError, ref: ActorRef): void {
  process.emitWarning(`${describeRef(ref)}: ${error.message}`, { type: 'SwarmActorWarning', code: error.code })
}
