/** A copy of a run in memory, to be replayed there: nothing that happens to it changes the run. */
import { encodeRecord, firstHead, type Head, keys } from '../runtime/head.js'
import { memoryStore } from '../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { readManifest } from './run/checkpoints.js'
import { bundleKey, type RunDefinition, weightsKey, writeDefinition } from './run/run-definition.js'

/**
 * What a replay needs and does not change: the definition, users' modules, initial weights, and what is skipped.
 * @param beginning what it begins with: skips, and the checkpoints to begin from, if not the seed
 * @throws codes of the store, `store.damaged`
 */
export async function scratchRun(
  store: ObjectStore,
  run: string,
  definition: RunDefinition,
  { generation = 1, manifests = [], skips = [] }: Partial<Pick<Head, 'generation' | 'manifests' | 'skips'>>,
): Promise<ObjectStore> {
  const scratch = memoryStore()
  await writeDefinition(scratch, run, definition)
  const copied = [...definition.bundles.map(bundleKey), ...Object.values(definition.initial ?? {}).map(weightsKey)]
  for (const ref of manifests) {
    const { vnodes } = await readManifest(store, ref)
    copied.push(ref.key, ...vnodes.map(({ hash }) => keys.blob(run, ref.generation, hash)))
  }
  for (const key of new Set(copied)) await scratch.put(key, (await store.get(key)).bytes)
  const head = { ...firstHead(run), generation, manifests, ...(skips.length > 0 && { skips }) }
  await scratch.put(keys.head(run), encodeRecord(head))
  return scratch
}
