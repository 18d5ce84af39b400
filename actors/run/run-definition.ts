/** The record of what decides a run's hash: `runs/<run>/definition`, written once before the run starts. */
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DataManifest, Dataset, Split } from '../../components/datasets/index.js'
import {
  DEFINITION_VERSION,
  type NetworkDefinition,
  type TrainingDefinition,
  type VNodeMachineDefinition,
} from '../../components/definition.js'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { assertRoom } from '../../runtime/disk-room.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { keys } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { TimetableOptions } from '../../runtime/timetable.js'

export const RUN_DEFINITION_VERSION = 1

/** Everything that decides the hash. */
export interface RunDefinition {
  readonly v: typeof RUN_DEFINITION_VERSION
  readonly network: NetworkDefinition
  readonly training: TrainingDefinition
  readonly data: DataManifest
  readonly timetable: TimetableOptions
  /** Part of the training samples held out for the evaluation after each epoch; 0: the test set is used. */
  readonly validation: number
  /** Hashes of the weights that the run starts from, kept under `weightsKey`, if not from its seed. */
  readonly initial?: { readonly [vnode: string]: string }
  /** SHA-256 of users' modules, which are kept under `bundleKey`. */
  readonly bundles: readonly string[]
}

/** Key of a user's module in the object store. */
export const bundleKey = (sha256: string): string => `bundles/${sha256}.mjs`

/** Key of weights that a run starts from: a blob of state.ts, named by its hash. */
export const weightsKey = (hash: string): string => `weights/${hash}`

export async function writeDefinition(store: ObjectStore, run: string, definition: RunDefinition): Promise<void> {
  await store.put(keys.definition(run), new TextEncoder().encode(canonicalJson(definition)), { ifNoneMatch: '*' })
}

/** @throws `run.not-found`, `definition.version`, `store.damaged` */
export async function readDefinition(store: ObjectStore, run: string): Promise<RunDefinition> {
  const key = keys.definition(run)
  const { bytes } = await store.get(key).catch((error: unknown) => {
    if (!isSwarmError(error, 'store.not-found')) throw error
    throw new SwarmError('run.not-found', { what: `no run '${run}'`, fix: 'List the runs with: swarmgrad runs', cause: error })
  })
  let definition: RunDefinition
  try {
    definition = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SwarmError('store.damaged', { what: 'unreadable definition', where: key, cause })
  }
  if (definition.v !== RUN_DEFINITION_VERSION || definition.network.v !== DEFINITION_VERSION) {
    throw new SwarmError('definition.version', {
      what: 'definition of another version',
      where: key,
      expected: RUN_DEFINITION_VERSION,
      got: String(definition.v),
    })
  }
  return definition
}

/** What a worker needs for one VNode; users' modules are brought from the store into the host's cache folder. */
export async function machineDefinition(
  { store, cacheFolder, maxCacheBytes }: { readonly store: ObjectStore; readonly cacheFolder: string; readonly maxCacheBytes?: number },
  { network, training, bundles }: RunDefinition,
  vnodeId: string,
): Promise<VNodeMachineDefinition> {
  const vnode = network.vnodes.find(({ id }) => id === vnodeId)
  if (!vnode) throw new SwarmError('internal', `no VNode '${vnodeId}' in the definition`)
  const paths = await Promise.all(
    bundles.map(async (sha256) => [sha256, await fetchBundle(store, cacheFolder, sha256, maxCacheBytes)] as const),
  )
  return { v: DEFINITION_VERSION, vnode, target: network.target, training, bundles: Object.fromEntries(paths) }
}

/** Where this machine keeps users' modules while they are in use. */
export function bundleFolder(): string {
  return join(tmpdir(), `swarmgrad-bundles-${process.getuid?.() ?? 'user'}`)
}

/** Whoever loads the file checks its hash: a damaged one in the cache is as good as a damaged one in the store. */
async function fetchBundle(store: ObjectStore, folder: string, sha256: string, maxBytes = Infinity): Promise<string> {
  const { bytes } = await store.get(bundleKey(sha256))
  const path = join(folder, `${sha256}.mjs`)
  await mkdir(folder, { recursive: true })
  if (maxBytes !== Infinity) await assertRoom(folder, { addedBytes: bytes.byteLength, maxBytes, except: path })
  const temporary = `${path}.${process.pid}.${crypto.randomUUID()}`
  await writeFile(temporary, bytes)
  await rename(temporary, path)
  return path
}

/** Consumers of each producer, in graph order; SOURCE included. Then those that get its feedback. */
export function consumersOf(network: NetworkDefinition, producer: string): string[] {
  const readers = network.vnodes.filter(({ inputs }) => inputs.includes(producer)).map(({ id }) => id)
  return [...readers, ...(network.vnodes.find(({ id }) => id === producer)?.feedback?.to ?? [])]
}

/** Distinct producers of a VNode, in the order of its inputs; then those that give it feedback. */
export function producersOf(network: NetworkDefinition, vnode: string): string[] {
  const { inputs = [], feedback } = network.vnodes.find(({ id }) => id === vnode) ?? {}
  return [...new Set([...inputs, ...(feedback?.from ?? [])])]
}

/** A VNode, and all that it reads from, however far away. */
export function lineageOf(network: NetworkDefinition, vnode: string): string[] {
  const found = new Set([vnode])
  for (const each of found) for (const producer of network.vnodes.find(({ id }) => id === each)?.inputs ?? []) found.add(producer)
  return [...found]
}

/** Samples of the steps from `firstStep` to `lastStep`, both counted: the last batch of an epoch may be smaller. */
export function samplesOf({ data, training, timetable }: RunDefinition, firstStep: number, lastStep: number): number {
  const { batchSize } = training
  const { stepsPerEpoch } = timetable
  const size = (data.splits.train ?? []).reduce((sum, { samples }) => sum + samples, 0)
  const epochsEnded = Math.floor(lastStep / stepsPerEpoch) - Math.floor((firstStep - 1) / stepsPerEpoch)
  return (lastStep - firstStep + 1) * batchSize - epochsEnded * (stepsPerEpoch * batchSize - size)
}

/** Which samples the evaluation after an epoch uses: the validation split if there is one, the test set after the last epoch. */
export function evaluationSplit({ splits }: Pick<Dataset, 'splits'>, isFinal: boolean): Split {
  const { test, validation, train } = splits
  return (isFinal ? (test ?? validation) : (validation ?? test)) ?? train
}
