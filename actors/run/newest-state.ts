/** The states in a run's newest checkpoint, and what they are states of. */
import { SwarmError } from '../../runtime/errors.js'
import { keys } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { decodeState } from '../../runtime/state.js'
import { readManifest } from './checkpoints.js'
import { readDefinition, type RunDefinition } from './run-definition.js'

export interface NewestState {
  readonly definition: RunDefinition
  readonly step: number
  /** In graph order. */
  readonly vnodes: readonly string[]
  /** The state of a VNode, checked against its hash. @throws `checkpoint.damaged`, codes of the store */
  readonly state: (vnode: string) => Promise<Uint8Array>
}

/**
 * Finds the newest checkpoint of a run; states are read when they are asked for.
 * @param fix what to do when there is none yet
 * @throws `run.not-found`, `run.changed` (no checkpoint yet), `store.damaged`
 */
export async function newestState(store: ObjectStore, run: string, fix = `Go on with it: swarmgrad resume ${run}`): Promise<NewestState> {
  const [{ head }, definition] = await Promise.all([readHead(store, run), readDefinition(store, run)])
  const [newest] = head.manifests
  if (!newest) throw new SwarmError('run.changed', { what: `run ${run} has no checkpoint yet`, fix })
  const manifest = await readManifest(store, newest)
  const hashes = new Map(manifest.vnodes.map(({ vnode, hash }) => [vnode, hash]))
  return {
    definition,
    step: manifest.step,
    vnodes: [...hashes.keys()],
    async state(vnode) {
      const hash = hashes.get(vnode)!
      const { bytes } = await store.get(keys.blob(run, manifest.generation, hash))
      decodeState(bytes, hash)
      return bytes
    },
  }
}
