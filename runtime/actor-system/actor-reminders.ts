/** Reminders: timers that are stored, so that they fire after a restart too. */
import type { Clock } from '../clock.js'
import { isSwarmError, toSwarmError } from '../errors.js'
import type { SwarmError } from '../errors.js'
import { describeRef } from './actor-keys.js'
import type { ReminderStorage, StoredReminder } from './actor-storage.js'
import type { ActorRef, Json } from './actor-system.js'
import { MAX_DELAY_MS, checkSchedule } from './actor-turn.js'
import type { Schedule, TurnOutcome } from './actor-turn.js'
import { toCallText } from './json-copy.js'
import type { Lanes } from './lanes.js'

/** Of the stored form. */
export const REMINDER_VERSION = 1
/** A reminder whose turn failed with a retryable error comes back after this long: a store that hiccuped is usually back by then. */
export const REMINDER_RETRY_MS = 1_000

/** A reminder as stored. */
export interface ReminderRecord {
  readonly version: typeof REMINDER_VERSION
  readonly type: string
  readonly id: string
  readonly name: string
  readonly method: string
  /** By the clock, in milliseconds since the epoch. */
  readonly dueAtMs: number
  readonly everyMs?: number
  readonly argument: Json
}

/** What the reminders live on. */
export interface ReminderParts {
  readonly storage: ReminderStorage
  readonly clock: Clock
  readonly lanes: Lanes
  /** Runs the turn; `isWanted` is asked when it comes up. */
  fire(record: ReminderRecord, isWanted: () => boolean): Promise<TurnOutcome>
  report(error: SwarmError, ref: ActorRef): void
}

interface Entry {
  record: ReminderRecord
  /** When it was first due, as stored: tells one that has fired from a new one of that name. */
  readonly firstDueAtMs: number
  cancel(): void
}

/** Reminders that are remembered as done, so that a storage that wakes them late does not fire them again. */
const MAX_DONE = 1_024

/**
 * All reminders of a system. One fires at least once: its record is deleted (or moved on by its period) after its turn, so a crash in
 * between fires it again. Periods that passed unseen are skipped, not made up for.
 */
export class ReminderBook {
  readonly #parts: ReminderParts
  readonly #entries = new Map<string, Entry>()
  readonly #firing = new Set<Promise<void>>()
  /** By key: when the last one that is over was first due. */
  readonly #done = new Map<string, number>()
  #isClosed = false

  constructor(parts: ReminderParts) {
    this.#parts = parts
  }

  /** Stores and arms a reminder; durable when it resolves. If the store fails, the one it would have replaced stays. */
  async set(ref: ActorRef, name: string, method: string, when: Schedule, argument?: Json): Promise<void> {
    const where = `reminder ${JSON.stringify(name)} of ${describeRef(ref)}`
    checkSchedule(when, where)
    const text = toCallText(argument, `the argument of ${where}`, 'usage')
    const key = this.#parts.storage.keyOf(ref, name)
    const record: ReminderRecord = {
      version: REMINDER_VERSION,
      type: ref.type,
      id: ref.id,
      name,
      method,
      dueAtMs: this.#parts.clock.now() + when.afterMs,
      ...(when.everyMs === undefined ? {} : { everyMs: when.everyMs }),
      argument: JSON.parse(text) as Json,
    }
    const previous = this.#entries.get(key)
    previous?.cancel()
    const entry = newEntry(record)
    this.#entries.set(key, entry)
    try {
      await this.#parts.lanes.run(key, () => this.#parts.storage.write(key, record, when.afterMs))
    } catch (error) {
      if (this.#entries.get(key) === entry) this.#restore(key, previous)
      throw error
    }
    this.#arm(key, entry)
  }

  /** Cancels a reminder and forgets its record. */
  async clear(ref: ActorRef, name: string): Promise<void> {
    const key = this.#parts.storage.keyOf(ref, name)
    const previous = this.#entries.get(key)
    previous?.cancel()
    this.#entries.delete(key)
    try {
      await this.#remove(key, ref, name)
      if (previous) this.#noteDone(key, previous)
    } catch (error) {
      if (!this.#entries.has(key)) this.#restore(key, previous)
      throw error
    }
  }

  /** Arms the stored reminders of the types that `isRegistered` accepts; a damaged record is reported and left alone. */
  async start(isRegistered: (type: string) => boolean): Promise<void> {
    for await (const stored of this.#parts.storage.list()) {
      if (this.#entries.has(stored.key)) continue
      const record = await this.#read(stored)
      if (record && isRegistered(record.type)) this.#admit(stored.key, record)
    }
  }

  /** Arms a reminder that its storage says is due soon, unless it is armed already or has fired. */
  wake(record: ReminderRecord): void {
    const key = this.#parts.storage.keyOf(record, record.name)
    if (this.#done.get(key) !== record.dueAtMs) this.#admit(key, record)
  }

  /** Disarms the reminders of a type; their records stay. */
  forget(type: string): void {
    for (const [key, entry] of this.#entries) {
      if (entry.record.type !== type) continue
      entry.cancel()
      this.#entries.delete(key)
    }
  }

  /** Disarms the reminders of an actor that lives elsewhere from now on; their records stay. */
  forgetActor({ type, id }: ActorRef): void {
    for (const [key, entry] of this.#entries) {
      if (entry.record.type !== type || entry.record.id !== id) continue
      entry.cancel()
      this.#entries.delete(key)
    }
  }

  /** Disarms everything; the records stay. */
  close(): void {
    this.#isClosed = true
    for (const entry of this.#entries.values()) entry.cancel()
  }

  /** Resolves when what fired has been written down. */
  async settled(): Promise<void> {
    while (this.#firing.size > 0) await Promise.all(this.#firing)
  }

  #admit(key: string, record: ReminderRecord): void {
    if (this.#entries.has(key)) return
    const entry = newEntry(record)
    this.#entries.set(key, entry)
    this.#arm(key, entry)
  }

  #noteDone(key: string, { firstDueAtMs }: Entry): void {
    this.#done.delete(key)
    this.#done.set(key, firstDueAtMs)
    for (const oldest of this.#done.keys()) {
      if (this.#done.size <= MAX_DONE) break
      this.#done.delete(oldest)
    }
  }

  #arm(key: string, entry: Entry, delayMs = entry.record.dueAtMs - this.#parts.clock.now()): void {
    if (this.#isClosed || this.#entries.get(key) !== entry) return
    entry.cancel()
    entry.cancel = this.#parts.clock.after(Math.min(Math.max(delayMs, 0), MAX_DELAY_MS), () => {
      const firing = this.#fire(key, entry)
      this.#firing.add(firing)
      void firing.then(() => this.#firing.delete(firing))
    })
  }

  async #fire(key: string, entry: Entry): Promise<void> {
    const isCurrent = () => this.#entries.get(key) === entry
    const ref = { type: entry.record.type, id: entry.record.id }
    try {
      const outcome = await this.#parts.fire(entry.record, isCurrent)
      if (outcome.type === 'failed' && !(this.#isClosed && outcome.error.code === 'actor.closed')) this.#parts.report(outcome.error, ref)
      if (!isCurrent() || outcome.type === 'skipped') return
      await this.#moveOn(key, entry, outcome)
    } catch (error) {
      // What could not be written down fires again: soon, or at its next period.
      this.#parts.report(toSwarmError(error, 'internal'), ref)
      if (entry.record.everyMs === undefined) this.#arm(key, entry, REMINDER_RETRY_MS)
      else this.#arm(key, entry)
    }
  }

  /** Writes down that a reminder has fired, or has it fire again if it could not. */
  async #moveOn(key: string, entry: Entry, outcome: TurnOutcome): Promise<void> {
    const { everyMs, dueAtMs, name, type, id } = entry.record
    const isCurrent = () => this.#entries.get(key) === entry
    const error = outcome.type === 'failed' ? outcome.error : undefined
    if (error?.code === 'actor.closed') return // refused by the closing system: it fires after the restart
    if (everyMs === undefined) {
      if (error?.retryable) {
        this.#arm(key, entry, REMINDER_RETRY_MS)
        return
      }
      await this.#remove(key, { type, id }, name, isCurrent)
      if (!isCurrent()) return
      this.#noteDone(key, entry)
      this.#entries.delete(key)
      return
    }
    const missed = Math.max(0, Math.floor((this.#parts.clock.now() - dueAtMs) / everyMs))
    entry.record = { ...entry.record, dueAtMs: dueAtMs + (missed + 1) * everyMs }
    await this.#advance(key, entry.record, isCurrent)
    this.#arm(key, entry)
  }

  #restore(key: string, previous: Entry | undefined): void {
    if (!previous) {
      this.#entries.delete(key)
      return
    }
    this.#entries.set(key, previous)
    this.#arm(key, previous)
  }

  /** Writes unless `isWanted` says no when its turn has come: a newer reminder of that name is already in line. */
  #advance(key: string, record: ReminderRecord, isWanted: () => boolean): Promise<void> {
    return this.#parts.lanes.run(key, async () => {
      if (isWanted()) await this.#parts.storage.advance(key, record)
    })
  }

  #remove(key: string, ref: ActorRef, name: string, isWanted = () => true): Promise<void> {
    return this.#parts.lanes.run(key, async () => {
      if (isWanted()) await this.#parts.storage.remove(key, ref, name)
    })
  }

  async #read(stored: StoredReminder): Promise<ReminderRecord | undefined> {
    try {
      return await stored.read()
    } catch (error) {
      if (!isSwarmError(error, 'store.damaged')) throw error
      this.#parts.report(error, stored.ref)
      return undefined
    }
  }
}

function newEntry(record: ReminderRecord): Entry {
  return { record, firstDueAtMs: record.dueAtMs, cancel: () => {} }
}
