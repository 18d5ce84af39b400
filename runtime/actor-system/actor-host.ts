/** The actors of one process: definitions, mailboxes, reminders. What both halves of the seam share. */
import type { Clock } from '../clock.js'
import { SwarmError, toSwarmError } from '../errors.js'
import { actorPath, describeRef } from './actor-keys.js'
import { ActorMailbox } from './actor-mailbox.js'
import { ReminderBook } from './actor-reminders.js'
import type { ReminderRecord } from './actor-reminders.js'
import { openState } from './actor-state.js'
import type { ReminderStorage, StateStorage } from './actor-storage.js'
import { DEFAULT_CALL_DEADLINE_MS, MAX_CALL_DEADLINE_MS } from './actor-system.js'
import type { ActorDefinition, ActorRef, ActorSystem, CallOptions, Json } from './actor-system.js'
import { MAX_DELAY_MS, checkHandler } from './actor-turn.js'
import type { Turn, TurnOutcome } from './actor-turn.js'
import { fromText, toCallText } from './json-copy.js'
import { Lanes } from './lanes.js'

/** Told of what no caller hears: a throwing timer, reminder or `deactivate`, and a failed turn whose caller had given up. */
export type ActorErrorListener = (error: SwarmError, ref: ActorRef) => void

/** What the actors of a process live on. */
export interface ActorHostParts {
  readonly clock: Clock
  /** Range 1 to 2^31 - 1 ms. */
  readonly idleMs: number
  readonly state: StateStorage
  readonly reminders: ReminderStorage
  readonly onError: ActorErrorListener
  /** How an actor calls another. */
  readonly call: ActorSystem['call']
}

/** A call that has been checked: an argument as text, a deadline in range. */
export interface CheckedCall {
  readonly target: ActorRef
  readonly method: string
  /** JSON, at most MAX_CALL_BYTES. */
  readonly text: string
  readonly deadlineMs: number
  readonly signal: AbortSignal | undefined
}

/** 24 hours: an idle actor costs only memory here, and a run's actors are used all the time. */
export const DEFAULT_IDLE_MS = 86_400_000

/** The call as it was made, copied at once. @throws `usage`, `aborted`, `actor.too-large` */
export function checkCall(target: ActorRef, method: string, argument: Json | undefined, options: CallOptions): CheckedCall {
  const { deadlineMs = DEFAULT_CALL_DEADLINE_MS, signal } = options
  const what = `${describeRef(target)}: ${method}`
  if (!(deadlineMs >= 1 && deadlineMs <= MAX_CALL_DEADLINE_MS)) {
    throw new SwarmError('usage', { what: 'deadlineMs out of range', expected: `1 to ${MAX_CALL_DEADLINE_MS}`, got: String(deadlineMs) })
  }
  if (signal?.aborted) throw new SwarmError('aborted', { what: `call aborted (${what})`, cause: signal.reason })
  return { target, method, text: toCallText(argument, `the argument of ${what}`, 'usage'), deadlineMs, signal }
}

/** Actors of this process, one turn at a time each. @throws `usage` if idleMs is out of range */
export class ActorHost {
  readonly reminders: ReminderBook
  readonly #parts: ActorHostParts
  readonly #lanes = new Lanes()
  readonly #definitions = new Map<string, ActorDefinition>()
  /** By actorPath; only those that are active or have turns waiting. */
  readonly #mailboxes = new Map<string, ActorMailbox>()
  #closed: Promise<void> | undefined

  constructor(parts: ActorHostParts) {
    const { clock, idleMs, reminders } = parts
    if (!(idleMs >= 1 && idleMs <= MAX_DELAY_MS)) {
      throw new SwarmError('usage', { what: 'idleMs out of range', expected: `1 to ${MAX_DELAY_MS}`, got: String(idleMs) })
    }
    this.#parts = parts
    this.reminders = new ReminderBook({
      storage: reminders,
      clock,
      lanes: this.#lanes,
      fire: (record, isWanted) => this.#fire(record, isWanted),
      report: (error, ref) => this.report(error, ref),
    })
  }

  get types(): string[] {
    return [...this.#definitions.keys()]
  }

  has(type: string): boolean {
    return this.#definitions.has(type)
  }

  register<Memory>(definition: ActorDefinition<Memory>): void {
    this.assertOpen(`register ${definition.type}`)
    if (this.#definitions.has(definition.type)) {
      throw new SwarmError('usage', { what: `the actor type ${JSON.stringify(definition.type)} is already registered` })
    }
    // Memory goes from activate to the handlers of the same definition only.
    this.#definitions.set(definition.type, definition as ActorDefinition)
  }

  async unregister(type: string): Promise<void> {
    if (!this.#definitions.delete(type)) return
    this.reminders.forget(type)
    const prefix = actorPath({ type, id: '' }).slice(0, -1)
    const leaving = [...this.#mailboxes].filter(([path]) => path.startsWith(prefix))
    await Promise.all(leaving.map(([, mailbox]) => mailbox.deactivate()))
  }

  /** The definition that has `method`. @throws `actor.not-found` */
  find(target: ActorRef, method: string): ActorDefinition {
    const definition = this.#definitions.get(target.type)
    if (!definition) {
      const where = `${describeRef(target)}: ${method}`
      throw new SwarmError('actor.not-found', { what: `no actor type ${JSON.stringify(target.type)}`, where })
    }
    checkHandler(definition, method, target)
    return definition
  }

  /** Queues the turn and waits for its end, its deadline or the abort: one that has not begun by then never runs. */
  async perform({ target, method, text, deadlineMs, signal }: CheckedCall): Promise<Json> {
    const what = `${describeRef(target)}: ${method}`
    this.assertOpen(what)
    const definition = this.find(target, method)
    const mailbox = this.#mailbox(target)
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
          if (outcome.type === 'failed' && outcome.error.code !== 'actor.closed') this.report(outcome.error, target)
        } else if (outcome.type === 'done') settle(() => resolve(fromText(outcome.result)))
        else if (outcome.type === 'failed') settle(() => reject(outcome.error))
      }
      const queued: Turn = { kind: 'call', definition, method, argument: text, isWanted: () => !isSettled, done: onDone }
      mailbox.push(queued)
      const cancelDeadline = this.#parts.clock.after(deadlineMs, () =>
        giveUp(new SwarmError('actor.timeout', { what: `no answer from ${what} within ${deadlineMs} ms`, retryable: true })),
      )
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  async deactivate(target: ActorRef): Promise<void> {
    await this.#mailboxes.get(actorPath(target))?.deactivate()
  }

  /** Refuses what waits, deactivates everything, waits for the turns under way and for what is being written. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  assertOpen(what: string): void {
    if (this.#closed) throw new SwarmError('actor.closed', { what: 'the actor system is closed', where: what })
  }

  report(error: SwarmError, ref: ActorRef): void {
    try {
      this.#parts.onError(error, ref)
    } catch (thrown) {
      // A throwing reporter must not end the process either, nor hide what it was told.
      warnOfActor(error, ref)
      warnOfActor(toSwarmError(thrown, 'internal', 'onError threw'), ref)
    }
  }

  async #close(): Promise<void> {
    this.reminders.close()
    await Promise.all([...this.#mailboxes.values()].map((mailbox) => mailbox.close()))
    await this.reminders.settled()
    await this.#lanes.settled()
  }

  async #fire(record: ReminderRecord, isWanted: () => boolean): Promise<TurnOutcome> {
    const { method, argument } = record
    const ref = { type: record.type, id: record.id }
    const definition = this.#definitions.get(ref.type)
    if (!definition) return { type: 'skipped' }
    try {
      this.assertOpen(method)
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
    const { clock, idleMs, state, call } = this.#parts
    const mailbox = new ActorMailbox({
      ref,
      clock,
      idleMs,
      openState: () => openState({ storage: state, lanes: this.#lanes }, ref),
      reminders: this.reminders,
      call,
      report: (error) => this.report(error, ref),
      onEmpty: () => this.#mailboxes.delete(path),
    })
    this.#mailboxes.set(path, mailbox)
    return mailbox
  }
}

/** Where errors go that nobody listens to. */
export function warnOfActor(error: SwarmError, ref: ActorRef): void {
  process.emitWarning(`${describeRef(ref)}: ${error.message}`, { type: 'SwarmActorWarning', code: error.code })
}
