/** Replays and comparisons: where two runs, or a run and its replay, differ first. */
import { backendOfClass } from '../components/backends.js'
import { datasetFromShards, shardKey } from '../components/datasets/index.js'
import { canonicalJson } from '../runtime/canonical-json.js'
import { SwarmError, isSwarmError } from '../runtime/errors.js'
import { decodeManifest, keys, type Manifest } from '../runtime/head.js'
import { TOMBSTONE_DIGEST } from '../runtime/frame.js'
import { readHead } from '../runtime/head-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { type StateTensor, decodeState, hashRun } from '../runtime/state.js'
import { readManifest, readTrace } from './run/checkpoints.js'
import { readDefinition, type RunDefinition } from './run/run-definition.js'
import { scratchRun } from './scratch-run.js'
import { local, resume } from './train.js'

/** The first difference of two runs. */
export interface Difference {
  /** The run in which it was found: the one that is verified, or the second of two. */
  readonly run: string
  /** The step whose output, or after which the state, differs; 0: the definitions differ. */
  readonly step: number
  readonly vnode: string
  /** Name of the tensor in the VNode's state; `output` where no checkpoint shows the state; the field where definitions differ. */
  readonly tensor: string
  /** The value in the replay, or in the first of two runs. */
  readonly expected: string
  readonly got: string
}

export interface Verification {
  readonly run: string
  /** Steps that were replayed. */
  readonly steps: number
  /** Checkpoints whose state was compared, tensor by tensor. */
  readonly checkpoints: number
  /** The hash of the finished run, as recorded. */
  readonly hash: string | undefined
  /** Undefined: every step and every checkpoint is the same. */
  readonly difference: Difference | undefined
}

export interface VerifyOptions {
  readonly pnodes?: number
  readonly threads?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (step: number, total: number) => void
}

/** A run as it can be compared: digests of every step, states after some. */
interface Recorded {
  readonly run: string
  readonly store: ObjectStore
  readonly manifests: readonly Manifest[]
  readonly trace: ReadonlyMap<string, readonly (number | undefined)[]>
}

/**
 * Trains the run again from its seed, in memory, up to its newest checkpoint, and compares every step's outputs and every kept state. It skips
 * what the run has skipped, whether it would work now or not.
 * @throws `run.not-found`, `run.changed` (no checkpoint yet), `store.damaged`, `aborted`
 */
export async function verifyRun(store: ObjectStore, run: string, options: VerifyOptions = {}): Promise<Verification> {
  const { pnodes = 2, threads = true, signal, onProgress } = options
  const [{ head }, definition, recorded] = await Promise.all([readHead(store, run), readDefinition(store, run), readRecorded(store, run)])
  const last = recorded.manifests[0]?.step
  if (!last)
    throw new SwarmError('run.changed', { what: `run ${run} has no checkpoint to verify`, fix: `Go on with it: swarmgrad resume ${run}` })
  const scratch = await scratchRun(store, run, definition, { skips: head.skips })
  const dataset = await datasetFromShards(definition.data, async (sha256) => (await store.get(shardKey(sha256))).bytes)
  const wanted = new Set(recorded.manifests.map(({ step }) => step))
  const manifests: Promise<Manifest>[] = []
  const replay = resume(
    run,
    {
      on: local({ pnodes, threads, backend: backendOfClass(recorded.manifests[0].computeClass) }),
      store: scratch,
      signal,
      checkpoint: { everySteps: 1_000_000 },
    },
    { cutSteps: wanted, dataset },
  )
  let steps = 0
  for await (const event of replay.events(signal)) {
    if (event.type === 'progress') onProgress?.((steps = event.step), last)
    if (event.type !== 'checkpoint') continue
    steps = event.step
    if (wanted.has(steps)) manifests.push(readKept(scratch, event.key))
    if (steps >= last) break
  }
  signal?.throwIfAborted()
  if (steps < last) await replay.result
  const trace = await readTrace(scratch, run, last)
  const replayed: Recorded = { run, store: scratch, manifests: await Promise.all(manifests), trace }
  const difference = (await firstDifference(definition, replayed, recorded)) ?? differentHash(replayed, recorded, head.result?.hash)
  await replay.pause().catch((error: unknown) => {
    if (!isSwarmError(error)) throw error
  })
  return { run, steps: last, checkpoints: recorded.manifests.length, hash: head.result?.hash, difference }
}

/** The first difference of two runs; undefined if there is none in what both have kept. @throws `run.not-found`, `store.damaged` */
export async function diffRuns(store: ObjectStore, first: string, second: string): Promise<Difference | undefined> {
  const [a, b] = await Promise.all([readDefinition(store, first), readDefinition(store, second)])
  const field = firstDifferentField(a, b)
  if (field) return { run: second, step: 0, vnode: '-', ...field }
  return firstDifference(a, await readRecorded(store, first), await readRecorded(store, second))
}

/** A manifest and its states, read before the replay lets them go. */
async function readKept(store: ObjectStore, key: string): Promise<Manifest> {
  const manifest = decodeManifest((await store.get(key)).bytes, key)
  for (const { hash } of manifest.vnodes)
    await store.put(`kept/${hash}`, (await store.get(keys.blob(manifest.run, manifest.generation, hash))).bytes)
  return manifest
}

async function readRecorded(store: ObjectStore, run: string): Promise<Recorded> {
  const { head } = await readHead(store, run)
  const manifests = await Promise.all(head.manifests.map((ref) => readManifest(store, ref)))
  return { run, store, manifests, trace: await readTrace(store, run) }
}

/** Bytes may be right where the hashes that the records name are not. */
function differentHash(expected: Recorded, got: Recorded, result: string | undefined): Difference | undefined {
  for (const { step, vnodes } of got.manifests.toReversed()) {
    const twin = expected.manifests.find((manifest) => manifest.step === step)
    for (const { vnode, hash } of vnodes) {
      const right = twin?.vnodes.find((entry) => entry.vnode === vnode)?.hash
      if (right !== undefined && right !== hash) return { run: got.run, step, vnode, tensor: 'hash', expected: right, got: hash }
    }
  }
  const [last] = got.manifests
  const right = hashRun(expected.manifests.find(({ step }) => step === last.step)?.vnodes.map(({ hash }) => hash) ?? [])
  if (result === undefined || result === right) return undefined
  return { run: got.run, step: last.step, vnode: '-', tensor: 'hash of the run', expected: right, got: result }
}

/** In the order of the log: the output of step s comes before the state after it; VNodes in graph order. */
async function firstDifference({ network }: RunDefinition, expected: Recorded, got: Recorded): Promise<Difference | undefined> {
  const ids = network.vnodes.map(({ id }) => id)
  const byOutput = differentOutput(ids, expected, got)
  for (const manifest of got.manifests.toReversed()) {
    const twin = expected.manifests.find(({ step }) => step === manifest.step)
    if (!twin || (byOutput && byOutput.step <= manifest.step)) continue
    for (const vnode of ids) {
      const tensor = await differentTensor(vnode, twin, expected, manifest, got)
      if (tensor) return { run: got.run, step: manifest.step, vnode, ...tensor }
    }
  }
  return byOutput
}

function differentOutput(ids: readonly string[], expected: Recorded, got: Recorded): Difference | undefined {
  const length = Math.max(...ids.map((id) => Math.min(expected.trace.get(id)?.length ?? 0, got.trace.get(id)?.length ?? 0)))
  for (let i = 0; i < length; i++) {
    for (const vnode of ids) {
      const [a, b] = [expected.trace.get(vnode)?.[i], got.trace.get(vnode)?.[i]]
      if (a === undefined || b === undefined || a === b) continue
      return { run: got.run, step: i + 1, vnode, tensor: 'output', expected: showOutput(a), got: showOutput(b) }
    }
  }
  return undefined
}

/** Hashes first; where they differ, or where a blob does not have its own hash, the tensors themselves. */
async function differentTensor(vnode: string, twin: Manifest, expected: Recorded, manifest: Manifest, got: Recorded) {
  const [a, b] = await Promise.all([readBlob(vnode, twin, expected), readBlob(vnode, manifest, got)])
  if (Buffer.compare(a, b) === 0) return undefined
  const [left, right] = [tensorsOf(a), tensorsOf(b)]
  if (!left || !right)
    return { tensor: 'blob', expected: left ? 'a readable state' : 'damaged', got: right ? 'a readable state' : 'damaged' }
  for (const name of [...new Set([...left.keys(), ...right.keys()])].toSorted()) {
    const difference = differentValue(left.get(name), right.get(name))
    if (difference) return { tensor: name, ...difference }
  }
  return { tensor: 'blob', expected: 'canonical bytes', got: 'other bytes around the same tensors' }
}

async function readBlob(vnode: string, manifest: Manifest, { store, run }: Recorded): Promise<Uint8Array> {
  const { hash } = manifest.vnodes.find((entry) => entry.vnode === vnode)!
  const kept = await store.get(`kept/${hash}`).catch((error: unknown) => {
    if (!isSwarmError(error, 'store.not-found')) throw error
    return store.get(keys.blob(run, manifest.generation, hash))
  })
  return kept.bytes
}

/** Without the hash: a damaged blob is to be compared, not refused. */
function tensorsOf(blob: Uint8Array): Map<string, StateTensor> | undefined {
  try {
    return new Map(decodeState(blob).map((tensor) => [tensor.name, tensor]))
  } catch (error) {
    if (!isSwarmError(error, 'checkpoint.damaged', 'checkpoint.version')) throw error
    return undefined
  }
}

function differentValue(a: StateTensor | undefined, b: StateTensor | undefined): { expected: string; got: string } | undefined {
  const shape = (tensor: StateTensor | undefined) => (tensor ? `${tensor.dtype} [${tensor.shape.join(', ')}]` : 'no such tensor')
  if (!a || !b || shape(a) !== shape(b)) return { expected: shape(a), got: shape(b) }
  const [left, right] = [a, b].map(({ values }) => new Uint32Array(values.buffer, values.byteOffset, values.length))
  const i = left.findIndex((word, k) => word !== right[k])
  if (i < 0) return undefined
  const show = ({ values }: StateTensor, word: number) => `${values[i]} (0x${hex(word)}) at element ${i}`
  return { expected: show(a, left[i]), got: show(b, right[i]) }
}

/** The path of the first field, in sorted order, that differs. */
function firstDifferentField(a: unknown, b: unknown, path = 'definition'): { tensor: string; expected: string; got: string } | undefined {
  if (canonicalJson(a ?? null) === canonicalJson(b ?? null)) return undefined
  const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
  if (!isRecord(a) || !isRecord(b)) return { tensor: path, expected: JSON.stringify(a) ?? 'nothing', got: JSON.stringify(b) ?? 'nothing' }
  for (const key of [...new Set([...Object.keys(a), ...Object.keys(b)])].toSorted()) {
    const found = firstDifferentField(a[key], b[key], `${path}.${key}`)
    if (found) return found
  }
  return undefined
}

const showOutput = (digest: number): string => (digest === TOMBSTONE_DIGEST ? 'skipped' : `crc32 ${hex(digest)}`)
const hex = (word: number): string => word.toString(16).padStart(8, '0')
