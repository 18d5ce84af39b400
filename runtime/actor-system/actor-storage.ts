/** Where a system keeps what outlives an activation: state and reminders. */
import type { ActorRef } from './actor-system.js'
import type { ReminderRecord } from './actor-reminders.js'

/** The place of one value of an actor. Never used by two operations at once. */
export interface StateSlot {
  /** The JSON text of the value; undefined if there is none. */
  read(): Promise<string | undefined>
  /** Durable when it resolves. @param text JSON */
  write(text: string): Promise<void>
  /** Harmless if there is none. */
  remove(): Promise<void>
}

export interface StateStorage {
  /** @throws `usage` if the names do not fit the storage */
  slot(ref: ActorRef, key: string): StateSlot
}

/** A reminder that an earlier process left behind. */
export interface StoredReminder {
  readonly key: string
  /** As far as the key says it: names the actor in a report of damage. */
  readonly ref: ActorRef
  /** Undefined if it was removed since it was listed. @throws `store.damaged` */
  read(): Promise<ReminderRecord | undefined>
}

export interface ReminderStorage {
  /** Different for each (actor, name). @throws `usage` if the names do not fit the storage */
  keyOf(ref: ActorRef, name: string): string
  /** Durable when it resolves; replaces the one of the same key. @param afterMs until it is due */
  write(key: string, record: ReminderRecord, afterMs: number): Promise<void>
  /** Notes when a periodic one is due next. */
  advance(key: string, record: ReminderRecord): Promise<void>
  /** Harmless if there is none. */
  remove(key: string, ref: ActorRef, name: string): Promise<void>
  /** Those of earlier processes; none where the storage itself wakes them. */
  list(): AsyncIterable<StoredReminder>
}
