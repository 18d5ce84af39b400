/** State and reminders of actors in Dapr: what the state store behind the sidecar keeps. */
import { SwarmError } from '../errors.js'
import { actorPath, describeRef, encodeSegment } from './actor-keys.js'
import { REMINDER_VERSION } from './actor-reminders.js'
import type { ReminderRecord } from './actor-reminders.js'
import { STATE_VERSION, unwrapState } from './actor-state.js'
import type { ReminderStorage, StateStorage } from './actor-storage.js'
import type { ActorRef } from './actor-system.js'
import type { DaprSidecar } from './dapr-sidecar.js'

/**
 * Dapr keeps waking a reminder so often until it is over, at most. Ours fires by its own timer; Dapr's tick only brings it back after a
 * restart, a move or a crash in its turn. Each tick costs a call and a write to the store.
 */
export const WAKE_MS = 10_000
/** Dapr's word for an actor that it does not hold for active. */
const NOT_ACTIVE = 'ERR_ACTOR_INSTANCE_MISSING'

/** What the storage needs from the system. */
export interface DaprStorageParts {
  readonly sidecar: () => DaprSidecar
  /** Makes sure that the sidecar takes the actor for active here: it refuses state for others. @throws `actor.closed` if it lives elsewhere */
  readonly claim: (ref: ActorRef) => Promise<void>
  /** Told when the sidecar takes it for inactive after all. */
  readonly disclaim: (ref: ActorRef) => void
}

/** State through Dapr's actor state API. It belongs to (application, type, id): it does not follow an actor to a host of another name. */
export function daprState({ sidecar, claim, disclaim }: DaprStorageParts): StateStorage {
  return {
    slot(ref, key) {
      const [type, id, name] = [encodeSegment(ref.type), encodeSegment(ref.id), encodeSegment(key)]
      const use = async <T>(work: () => Promise<T>) => {
        await claim(ref)
        try {
          return await work()
        } catch (error) {
          if (error instanceof SwarmError && error.message.includes(NOT_ACTIVE)) disclaim(ref)
          throw error
        }
      }
      return {
        async read() {
          const stored = await use(() => sidecar().getState(type, id, name))
          return stored === undefined ? undefined : unwrapState(stored, key, ref)
        },
        write: (text) => {
          const value = { version: STATE_VERSION, value: JSON.parse(text) as unknown }
          return use(() => sidecar().changeState(type, id, [{ operation: 'upsert', request: { key: name, value } }]))
        },
        remove: () => use(() => sidecar().changeState(type, id, [{ operation: 'delete', request: { key: name } }])),
      }
    },
  }
}

/**
 * Reminders as Dapr reminders that carry our record. Dapr's own times serve as an alarm clock only: 1.14 cuts them to whole seconds,
 * makes up for every missed period, and forgets a reminder whose turn crashed.
 */
export function daprReminders(sidecar: () => DaprSidecar): ReminderStorage {
  return {
    keyOf: (ref, name) => `${actorPath(ref)}/${encodeSegment(name)}`,
    write(_key, record, afterMs) {
      const { type, id, name, everyMs = 0 } = record
      return sidecar().putReminder(encodeSegment(type), encodeSegment(id), encodeSegment(name), {
        dueTime: `${Math.ceil(afterMs)}ms`,
        period: `${Math.ceil(Math.max(everyMs, WAKE_MS))}ms`,
        data: record,
      })
    },
    // Dapr wakes it by its period anyway, and the record says when the first one was due.
    advance: () => Promise.resolve(),
    remove: (_key, ref, name) => sidecar().deleteReminder(encodeSegment(ref.type), encodeSegment(ref.id), encodeSegment(name)),
    async *list() {}, // Dapr wakes them
  }
}

/** The record that a tick of Dapr brings back. @throws `store.damaged` */
export function parseTick(ref: ActorRef, name: string, body: string): ReminderRecord {
  let record: ReminderRecord | undefined
  try {
    record = (JSON.parse(body) as { data?: ReminderRecord }).data
  } catch (cause) {
    throw new SwarmError('store.damaged', { what: `a reminder of ${describeRef(ref)} is no JSON`, where: name, cause })
  }
  const isOurs = record?.version === REMINDER_VERSION && record.type === ref.type && record.id === ref.id && record.name === name
  if (record && isOurs && Number.isFinite(record.dueAtMs) && typeof record.method === 'string') return record
  throw new SwarmError('store.damaged', {
    what: 'reminder of another version or actor',
    where: `${describeRef(ref)}, ${JSON.stringify(name)}`,
    expected: REMINDER_VERSION,
    got: String(record?.version),
  })
}
