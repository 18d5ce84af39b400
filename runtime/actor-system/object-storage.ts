/** State and reminders of actors as objects of an object store. */
import { SwarmError, isSwarmError, toSwarmError } from '../errors.js'
import type { ObjectStore } from '../object-store/object-store.js'
import { actorKey, describeRef } from './actor-keys.js'
import { REMINDER_VERSION } from './actor-reminders.js'
import type { ReminderRecord } from './actor-reminders.js'
import { STATE_VERSION, unwrapState } from './actor-state.js'
import type { ReminderStorage, StateStorage } from './actor-storage.js'
import type { ActorRef } from './actor-system.js'

/** One object per value: `<prefix>actors/<type>/<id>/<key>`. */
export function objectState(store: ObjectStore, prefix: string): StateStorage {
  return {
    slot(ref, key) {
      const at = actorKey(prefix, 'actors', ref, key)
      return {
        read: () => readState(store, at, ref),
        async write(text) {
          await store.put(at, new TextEncoder().encode(`{"version":${STATE_VERSION},"value":${text}}`))
        },
        remove: () => store.delete(at),
      }
    },
  }
}

/** One object per reminder: `<prefix>reminders/<type>/<id>/<name>`. */
export function objectReminders(store: ObjectStore, prefix: string): ReminderStorage {
  const write = async (key: string, record: ReminderRecord) => {
    await store.put(key, new TextEncoder().encode(JSON.stringify(record)))
  }
  return {
    keyOf: (ref, name) => actorKey(prefix, 'reminders', ref, name),
    write,
    advance: write,
    remove: (key) => store.delete(key),
    async *list() {
      const folder = `${prefix}reminders/`
      for await (const { key } of store.list(folder)) {
        const [type = '', id = ''] = key.slice(folder.length).split('/')
        yield { key, ref: { type, id }, read: () => readReminder(store, prefix, key) }
      }
    },
  }
}

async function readState(store: ObjectStore, at: string, ref: ActorRef): Promise<string | undefined> {
  const bytes = await readObject(store, at)
  if (bytes === undefined) return undefined
  return unwrapState(parseState(bytes, at, ref), at, ref)
}

function parseState(bytes: Uint8Array, at: string, ref: ActorRef): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw new SwarmError('store.damaged', { what: `state of ${describeRef(ref)} is no JSON`, where: at, cause: error })
  }
}

async function readReminder(store: ObjectStore, prefix: string, key: string): Promise<ReminderRecord | undefined> {
  const bytes = await readObject(store, key)
  if (bytes === undefined) return undefined
  try {
    const record = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as ReminderRecord
    if (record.version === REMINDER_VERSION && actorKey(prefix, 'reminders', record, record.name) === key) return record
    throw new SwarmError('store.damaged', {
      what: 'reminder of another version or actor',
      expected: REMINDER_VERSION,
      got: String(record.version),
    })
  } catch (error) {
    throw toSwarmError(error, 'store.damaged', `damaged reminder (${key})`)
  }
}

async function readObject(store: ObjectStore, key: string): Promise<Uint8Array | undefined> {
  try {
    return (await store.get(key)).bytes
  } catch (error) {
    if (isSwarmError(error, 'store.not-found')) return undefined
    throw error
  }
}
