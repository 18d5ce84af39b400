/** Durable state of one actor: a write-through cache over its storage. */
import { SwarmError } from '../errors.js'
import { actorPath, describeRef } from './actor-keys.js'
import type { StateStorage } from './actor-storage.js'
import type { ActorRef, ActorState, Json } from './actor-system.js'
import { fromText, toText } from './json-copy.js'
import type { Lanes } from './lanes.js'

/** Of the stored form `{"version":1,"value":…}`. */
export const STATE_VERSION = 1

/** What the state of an actor lives on. */
export interface StateParts {
  readonly storage: StateStorage
  /** Shared by all activations of an actor, so that a write of the last one is over before the next one reads. */
  readonly lanes: Lanes
}

/**
 * The state of `ref` for one activation. Operations take effect in the order called, awaited or not; a value is copied when `set` is
 * called; after a failed write the cache forgets the key and asks the storage again.
 */
export function openState({ storage, lanes }: StateParts, ref: ActorRef): ActorState {
  /** JSON text by key; undefined: known to be absent. */
  const cache = new Map<string, string | undefined>()
  const lane = `actors/${actorPath(ref)}`

  const write = (key: string, text: string | undefined, apply: () => Promise<void>) =>
    lanes.run(lane, async () => {
      cache.delete(key)
      await apply()
      cache.set(key, text)
    })

  return {
    async get<T extends Json>(key: string): Promise<T | undefined> {
      const slot = storage.slot(ref, key)
      return lanes.run(lane, async () => {
        if (!cache.has(key)) cache.set(key, await slot.read())
        const text = cache.get(key)
        return text === undefined ? undefined : (fromText(text) as T)
      })
    },
    async set(key, value) {
      const slot = storage.slot(ref, key)
      if (value === undefined) throw new SwarmError('usage', { what: 'state cannot be undefined', where: key, fix: 'Delete the key' })
      const text = toText(value, `the state ${JSON.stringify(key)} of ${describeRef(ref)}`, 'usage')
      await write(key, text, () => slot.write(text))
    },
    async delete(key) {
      const slot = storage.slot(ref, key)
      await write(key, undefined, () => slot.remove())
    },
  }
}

/** The JSON text of a value out of its stored form. @throws `store.damaged` */
export function unwrapState(stored: unknown, at: string, ref: ActorRef): string {
  const { version, value } = (stored ?? {}) as { version?: unknown; value?: unknown }
  if (version === STATE_VERSION && value !== undefined) return JSON.stringify(value)
  throw new SwarmError('store.damaged', {
    what: `state of ${describeRef(ref)}`,
    where: at,
    expected: `version ${STATE_VERSION}`,
    got: String(version),
  })
}
