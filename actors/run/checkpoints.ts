/** Manifests, step digests and blobs of a run in the object store. */
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import { decodeManifest, encodeRecord, type Head, keys, MANIFEST_VERSION, type Manifest, type ManifestRef } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { Commit } from '../reports.js'

export const TRACE_VERSION = 1

/** CRC-32 of what every VNode put out, step by step, between two checkpoints: how a difference is dated. */
export interface Trace {
  readonly v: typeof TRACE_VERSION
  readonly generation: number
  /** Steps firstStep … lastStep of each VNode, base64 of little-endian u32. */
  readonly lastStep: number
  readonly vnodes: readonly { readonly vnode: string; readonly firstStep: number; readonly digests: string }[]
}

const traceKey = (run: string, generation: number, step: number): string =>
  `runs/${run}/trace/${String(step).padStart(10, '0')}-${String(generation).padStart(6, '0')}`

/** Writes the manifest of a complete cut (commits in graph order). It counts only once the head points to it. */
export async function writeManifest(
  store: ObjectStore,
  run: string,
  generation: number,
  commits: readonly Commit[],
): Promise<{ manifest: Manifest; ref: ManifestRef }> {
  const { step, position, computeClass } = commits[0]
  const trace: Trace = {
    v: TRACE_VERSION,
    generation,
    lastStep: step,
    vnodes: commits.map(({ vnode, firstStep, digests }) => ({ vnode, firstStep, digests })),
  }
  const key = keys.manifest(run, generation, step)
  const vnodes = commits.map(({ vnode, hash, sizeBytes, roots }) => ({ vnode, hash, sizeBytes, ...(roots && { roots }) }))
  const manifest: Manifest = {
    v: MANIFEST_VERSION,
    run,
    generation,
    step,
    position,
    computeClass,
    vnodes,
    trace: traceKey(run, generation, step),
  }
  await Promise.all([store.put(manifest.trace!, new TextEncoder().encode(JSON.stringify(trace))), store.put(key, encodeRecord(manifest))])
  return { manifest, ref: { key, generation, step, position } }
}

/** Those whose states are not in the store, or of another size there. Whether the bytes are right is found out by whoever restores from them. */
export async function notStored(store: ObjectStore, run: string, generation: number, commits: readonly Commit[]): Promise<Commit[]> {
  const isThere = async ({ hash, sizeBytes }: Commit) => {
    const blob = keys.blob(run, generation, hash)
    for await (const { key, sizeBytes: stored } of store.list(blob)) if (key === blob) return stored === sizeBytes
    return false
  }
  const areThere = await Promise.all(commits.map(isThere))
  return commits.filter((_, i) => !areThere[i])
}

/**
 * The manifest that the head names, checked against what the head says of it.
 * @param vnodes those of the run, in graph order, where they are known
 * @throws `store.damaged`, `store.not-found`, `manifest.version`
 */
export async function readManifest(store: ObjectStore, ref: ManifestRef, vnodes?: readonly string[]): Promise<Manifest> {
  const manifest = decodeManifest((await store.get(ref.key)).bytes, ref.key)
  const check = (what: string, expected: string | number, got: unknown) => {
    if (got !== expected)
      throw new SwarmError('store.damaged', { what: `manifest of another ${what}`, where: ref.key, expected, got: String(got) })
  }
  check('run', ref.key.split('/')[1], manifest.run)
  check('step', ref.step, manifest.step)
  check('position', ref.position, manifest.position)
  check('generation', ref.generation, manifest.generation)
  const names = Array.isArray(manifest.vnodes) ? manifest.vnodes.map(({ vnode }) => vnode).join(', ') : 'no VNodes'
  if (vnodes) check('network', vnodes.join(', '), names)
  return manifest
}

/**
 * The newest manifest that can be read, and the head without those before it that cannot.
 * @throws `manifest.version`: a newer format is refused, not passed over
 */
export async function newestUsable(
  store: ObjectStore,
  head: Head,
  vnodes: readonly string[],
): Promise<{ readonly manifest: Manifest | undefined; readonly head: Head; readonly unusable: string | undefined }> {
  let unusable: string | undefined
  for (const [i, ref] of head.manifests.entries()) {
    try {
      return { manifest: await readManifest(store, ref, vnodes), head: { ...head, manifests: head.manifests.slice(i) }, unusable }
    } catch (error) {
      if (!isSwarmError(error, 'store.damaged', 'store.not-found')) throw error
      unusable = error.message
    }
  }
  return { manifest: undefined, head: { ...head, manifests: [] }, unusable }
}

/** The step digests of a run, by VNode: element s−1 belongs to step s; undefined where they are missing. */
export async function readTrace(store: ObjectStore, run: string, upTo = Infinity): Promise<Map<string, (number | undefined)[]>> {
  const all = new Map<string, (number | undefined)[]>()
  for await (const { key } of store.list(`runs/${run}/trace/`)) {
    const trace = JSON.parse(new TextDecoder().decode((await store.get(key)).bytes)) as Trace
    if (trace.v !== TRACE_VERSION)
      throw new SwarmError('manifest.version', {
        what: 'trace of another version',
        where: key,
        expected: TRACE_VERSION,
        got: String(trace.v),
      })
    if (trace.lastStep > upTo) continue
    for (const { vnode, firstStep, digests } of trace.vnodes) {
      const steps = all.get(vnode) ?? []
      all.set(vnode, steps)
      const bytes = Buffer.from(digests, 'base64')
      for (let i = 0; i * 4 < bytes.length; i++) steps[firstStep - 1 + i] = bytes.readUInt32LE(4 * i)
    }
  }
  return all
}

/**
 * Deletes every checkpoint and blob of older generations that the head does not name: what a crash or a rollback left behind. Nothing of the
 * head's own generation is touched, nor can a later head name anything older that this one does not: so it does no harm however late it comes, even by an
 * owner that has been replaced meanwhile. Only for a head that has been written.
 */
export async function sweepAll(store: ObjectStore, head: Head): Promise<void> {
  const kept = new Set([...head.manifests.map(({ key }) => key), ...(await blobsOf(store, head.run, head.manifests))])
  for (const folder of ['checkpoints', 'blobs']) {
    const prefix = `runs/${head.run}/${folder}/`
    for await (const { key } of store.list(prefix)) {
      // `<generation>-<step>`, `<generation>/<hash>`
      if (Number.parseInt(key.slice(prefix.length), 10) < head.generation && !kept.has(key)) await store.delete(key)
    }
  }
}

/** Deletes the checkpoints that an advance of the head let go, and their blobs where no kept one shares them. */
export async function evict(store: ObjectStore, head: Head, before: Head): Promise<void> {
  const gone = before.manifests.filter((old) => !head.manifests.some(({ key }) => key === old.key))
  if (gone.length === 0) return
  const kept = await blobsOf(store, head.run, head.manifests)
  for (const key of await blobsOf(store, head.run, gone)) if (!kept.has(key)) await store.delete(key)
  for (const { key } of gone) await store.delete(key)
}

async function blobsOf(store: ObjectStore, run: string, refs: readonly ManifestRef[]): Promise<Set<string>> {
  const manifests = await Promise.all(refs.map((ref) => readManifest(store, ref).catch(ignoreDamage)))
  return new Set(manifests.flatMap((manifest) => manifest?.vnodes.map(({ hash }) => keys.blob(run, manifest.generation, hash)) ?? []))
}

/** What cannot be read cannot name anything to keep or to delete. */
function ignoreDamage(error: unknown): undefined {
  if (!isSwarmError(error, 'store.damaged', 'store.not-found', 'manifest.version')) throw error
  return undefined
}
