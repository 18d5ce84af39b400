/** The state that a grant names, from the store. */
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import type { Grant } from '../../runtime/grant.js'
import { keys } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { decodeState } from '../../runtime/state.js'
import { weightsKey } from '../run/run-definition.js'

/**
 * The blob of the checkpoint, else the weights to start from; undefined: from the seed.
 * @param initial hash of the weights to start from when there is no checkpoint
 * @throws `checkpoint.damaged`, `run.failed` (the weights cannot be used), codes of the store
 */
export async function restoredState(
  store: ObjectStore,
  { run, vnode, checkpoint }: Grant,
  initial: string | undefined,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  if (!checkpoint && initial === undefined) return undefined
  const [key, hash] = checkpoint
    ? [keys.blob(run, checkpoint.generation, checkpoint.blob), checkpoint.blob]
    : [weightsKey(initial!), initial!]
  try {
    const { bytes } = await store.get(key, { signal })
    decodeState(bytes, hash)
    return bytes
  } catch (error) {
    if (!isSwarmError(error, 'store.not-found', 'checkpoint.damaged')) throw error
    // Weights to start from have nothing before them to go back to.
    const code = checkpoint ? 'checkpoint.damaged' : 'run.failed'
    throw new SwarmError(code, {
      what: `state of ${vnode} after step ${checkpoint?.step ?? 0} cannot be used: ${error.message}`,
      where: key,
      cause: error,
    })
  }
}

/** Stores the state of a VNode under the name that its hash gives it. @throws codes of the store */
export async function storeState(store: ObjectStore, key: string, blob: Uint8Array, signal: AbortSignal): Promise<void> {
  try {
    await store.put(key, blob, { ifNoneMatch: '*', signal })
  } catch (error) {
    // The same state has been stored before; its name is its hash. It is written again, since the old bytes may be damaged.
    if (!isSwarmError(error, 'store.conflict')) throw error
    await store.put(key, blob, { signal }).catch((refusal: unknown) => {
      // Control has looked: they are as they should be.
      if (!isSwarmError(refusal, 'store.denied')) throw refusal
    })
  }
}
