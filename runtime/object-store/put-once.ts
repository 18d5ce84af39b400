import { isSwarmError } from '../errors.js'
import type { ObjectStore } from './object-store.js'

/** Stores what is named by its hash, once; whoever loads it checks its hash. */
export async function putOnce(store: ObjectStore, key: string, bytes: Uint8Array): Promise<void> {
  await store.put(key, bytes, { ifNoneMatch: '*' }).catch((error: unknown) => {
    if (!isSwarmError(error, 'store.conflict')) throw error
  })
}
