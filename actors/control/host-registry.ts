/** Which machines have joined under which names, and what each of them may do with the object store. Records under `control/hosts/`. */
import { SOURCE } from '../../components/definition.js'
import { shardKey } from '../../components/datasets/index.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { fingerprint } from '../../runtime/identity.js'
import { vnodeOf } from '../../runtime/followers.js'
import { keys } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { Access, StoreOperation } from '../../runtime/object-store/store-routes.js'
import { decodeState } from '../../runtime/state.js'
import { readManifest } from '../run/checkpoints.js'
import { probeKey } from '../pnode/profile.js'
import { bundleKey, readDefinition, weightsKey } from '../run/run-definition.js'
import { settingsKey } from '../run/run-settings.js'

const HOST_RECORD_VERSION = 2
/** One token on the broker, an app-id of Dapr, a file name. */
export const HOST_NAME = /^[a-z0-9][a-z0-9-]{0,39}$/

export interface HostRecord {
  readonly v: typeof HOST_RECORD_VERSION
  readonly name: string
  /** Its user key on the broker, as of its last join. */
  readonly publicKey: string
  /** Its public identity key: another machine has another one. Verifies what it says. */
  readonly identity: string
  readonly owner: string
}

/** Before hosts had identities: the key on the broker said who a machine is. */
type KnownRecord = HostRecord | (Omit<HostRecord, 'v' | 'identity'> & { readonly v: 1 })

const key = (name: string): string => `control/hosts/${name}`

/**
 * Gives a name to a machine; harmless when it has it already. Whoever joins has shown that the identity is his own. A record of version 1 gets
 * it now, from the machine with the same key on the broker.
 * @throws `host.name-taken`; `store.conflict`, retryable: it joins twice at the same time
 */
export async function claimName(store: ObjectStore, record: Omit<HostRecord, 'v'>): Promise<void> {
  const { name } = record
  const bytes = new TextEncoder().encode(JSON.stringify({ v: HOST_RECORD_VERSION, ...record }))
  try {
    await store.put(key(name), bytes, { ifNoneMatch: '*' })
  } catch (error) {
    if (!isSwarmError(error, 'store.conflict')) throw error
    const { bytes: before, etag } = await store.get(key(name))
    const known = decodeRecord(before, name)
    const isSame = known.v === 1 ? known.publicKey === record.publicKey : known.identity === record.identity
    if (!isSame) throw taken(known)
    if (known.v === 1 || known.publicKey !== record.publicKey) await store.put(key(name), bytes, { ifMatch: etag })
  }
}

/** Who has joined under this name; undefined: nobody, or nobody who has shown an identity. @throws `cluster.version`, `store.damaged` */
export async function hostRecord(store: ObjectStore, name: string): Promise<HostRecord | undefined> {
  if (!HOST_NAME.test(name)) return undefined
  try {
    const known = decodeRecord((await store.get(key(name))).bytes, name)
    return known.v === 1 ? undefined : known
  } catch (error) {
    if (isSwarmError(error, 'store.not-found')) return undefined
    throw error
  }
}

function decodeRecord(bytes: Uint8Array, name: string): KnownRecord {
  let known: KnownRecord
  try {
    known = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SwarmError('store.damaged', { what: `unreadable record of host ${name}`, where: key(name), cause })
  }
  if (known?.v === 1 || known?.v === HOST_RECORD_VERSION) return known
  const got = String((known as { v?: unknown } | null)?.v)
  throw new SwarmError('cluster.version', {
    what: 'record of a host of another version',
    where: key(name),
    expected: HOST_RECORD_VERSION,
    got,
  })
}

function taken(known: KnownRecord): SwarmError {
  const got = `owner ${known.owner}, ${known.v === 1 ? 'with another key on the broker' : `key ${fingerprint(known.identity)}`}`
  const fix = 'Choose another name with --name, or start it from the folder with the key that it has joined with'
  return new SwarmError('host.name-taken', { what: `another machine is called ${known.name}`, got, fix })
}

/** A machine gives its name back. */
export async function releaseName(store: ObjectStore, name: string): Promise<void> {
  await store.delete(probeKey(name))
  await store.delete(key(name))
}

/**
 * What a host may read and write: of a run in whose directory it stands, the definition, and the states of what it has; its own new states.
 * It gets URLs for exactly that, one by one.
 * @param isCreate whether a put only succeeds where there is nothing yet
 */
export function hostAccess(store: ObjectStore, host: string, { isCreate }: { readonly isCreate: boolean }): Access {
  return { via: 'redirect', allows: (operation, objectKey) => mayHost(store, host, operation, objectKey, isCreate) }
}

async function mayHost(
  store: ObjectStore,
  host: string,
  operation: StoreOperation,
  objectKey: string,
  isCreate: boolean,
): Promise<boolean> {
  // What it measures its line with.
  if (objectKey === probeKey(host)) return operation === 'get' || operation === 'put'
  const [folder, run, kind] = objectKey.split('/')
  if (folder === 'runs') {
    const mine = await placedOn(store, run, host)
    if (mine.length === 0) return false
    if (operation === 'put') return kind === 'blobs' && (isCreate || isDamaged(store, objectKey))
    if (operation !== 'get') return false
    return objectKey === keys.definition(run) || objectKey === settingsKey(run) || isOwnState(store, run, mine, objectKey)
  }
  if (operation !== 'get') return false
  // Data, code and first weights are named by their hashes and shared by runs: whoever has a part in one that uses them may read them.
  for await (const { key: marker } of store.list('control/running/')) {
    const candidate = marker.slice('control/running/'.length)
    const mine = await placedOn(store, candidate, host)
    if (mine.length > 0 && (await usedBy(store, candidate, mine)).has(objectKey)) return true
  }
  return false
}

/** A state is named by its hash: nobody has a reason to write it again, unless what is there is not what it is called. */
async function isDamaged(store: ObjectStore, objectKey: string): Promise<boolean> {
  try {
    decodeState((await store.get(objectKey)).bytes, objectKey.split('/').at(-1))
    return false
  } catch (error) {
    if (isSwarmError(error) && error.retryable) throw error
    return true
  }
}

async function placedOn(store: ObjectStore, run: string, host: string): Promise<string[]> {
  try {
    const { head } = await readHead(store, run)
    return Object.entries(head.directory).flatMap(([vnode, { pnode }]) => (pnode === host ? [vnodeOf(vnode)] : []))
  } catch (error) {
    if (isSwarmError(error, 'run.not-found', 'store.invalid-key')) return []
    throw error
  }
}

async function isOwnState(store: ObjectStore, run: string, mine: readonly string[], objectKey: string): Promise<boolean> {
  const { head } = await readHead(store, run)
  for (const ref of head.manifests) {
    const manifest = await readManifest(store, ref)
    if (manifest.vnodes.some(({ vnode, hash }) => mine.includes(vnode) && keys.blob(run, ref.generation, hash) === objectKey)) return true
  }
  return false
}

async function usedBy(store: ObjectStore, run: string, mine: readonly string[]): Promise<Set<string>> {
  const { bundles, data, initial = {} } = await readDefinition(store, run)
  const shards = mine.includes(SOURCE) ? Object.values(data.splits).flatMap((entries) => entries ?? []) : []
  const weights = mine.flatMap((vnode) => initial[vnode] ?? [])
  return new Set([...bundles.map(bundleKey), ...shards.map(({ sha256 }) => shardKey(sha256)), ...weights.map(weightsKey)])
}
