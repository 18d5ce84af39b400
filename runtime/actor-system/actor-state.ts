/** Durable state of one actor: a write-through cache over the object store. */
import { SwarmError, isSwarmError } from '../errors.js'
import type { ObjectStore } from '../object-store/object-store.js'
import { actorKey, actorPath, describeRef } from './actor-keys.js'
import type { ActorRef, ActorState, Json } from './actor-system.js'
import { fromText, toText } from './json-copy.js'
import type { Lanes } from './lanes.js'

/** Of the stored form `{"version":1,"value":…}`. */
export const STATE_VERSION = 1

/** What the state of an actor lives on. */
export interface StateParts {
  readonly store: ObjectStore
  readonly prefix: string
  /** Shared by all activations of an actor, so that a write of the last one is over before the next one reads. */
  readonly lanes: Lanes
}

/**
 * The state of `ref` for one activation. Operations take effect in the order called, awaited or not; a value is copied when `set` is
 * called; after a failed write the cache forgets the key and asks the store again.
 */
export function openState({ store, prefix, lanes }: StateParts, ref: ActorRef): ActorState {
  /** JSON text by key; undefined: known to be absent. */
  const cache = new Map<string, string | undefined>()
  const lane = `actors/${actorPath(ref)}`
  const objectKey = (key: string) => actorKey(prefix, 'actors', ref, key)

  const write = (key: string, text: string | undefined, apply: () => Promise<unknown>) =>
    lanes.run(lane, async () => {
      cache.delete(key)
      await apply()
      cache.set(key, text)
    })

  return {
    async get<T extends Json>(key: string): Promise<T | undefined> {
      const at = objectKey(key)
      return lanes.run(lane, async () => {
        if (!cache.has(key)) cache.set(key, await read(store, at, ref))
        const text = cache.get(key)
        return text === undefined ? undefined : (fromText(text) as T)
      })
    },
    async set(key, value) {
      const at = objectKey(key)
      if (value === undefined) throw new SwarmError('usage', { what: 'state cannot be undefined', where: key, fix: 'Delete the key' })
      const text = toText(value, `the state ${JSON.stringify(key)} of ${describeRef(ref)}`, 'usage')
      await write(key, text, () => store.put(at, new TextEncoder().encode(`{"version":${STATE_VERSION},"value":${text}}`)))
    },
    async delete(key) {
      const at = objectKey(key)
      await write(key, undefined, () => store.delete(at))
    },
  }
}

async function read(store: ObjectStore, at: string, ref: ActorRef): Promise<string | undefined> {
  let bytes: Uint8Array
  try {
    bytes = (await store.get(at)).bytes
  } catch (error) {
    if (isSwarmError(error, 'store.not-found')) return undefined
    throw error
  }
  const { version, value } = parseRecord(bytes, at, ref)
  if (version !== STATE_VERSION || value === undefined) {
    throw new SwarmError('store.damaged', {
      what: `state of ${describeRef(ref)}`,
      where: at,
      expected: `version ${STATE_VERSION}`,
      got: String(version),
    })
  }
  return JSON.stringify(value)
}

function parseRecord(bytes: Uint8Array, at: string, ref: ActorRef): { version?: unknown; value?: unknown } {
  try {
    return (JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) ?? {}) as { version?: unknown; value?: unknown }
  } catch (error) {
    throw new SwarmError('store.damaged', { what: `state of ${describeRef(ref)} is no JSON`, where: at, cause: error })
  }
}
