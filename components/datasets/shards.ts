/**
 * A data set as content-addressed pieces, so that a run goes on without its trainer and without the original files.
 * Golden bytes are in test/components/datasets-shards.test.ts.
 *
 * A shard: a 32-byte preamble (magic `SGDS`, u16 major, u16 minor, u32 samples, u32 elements of a sample, u32 elements of a label,
 * u8 type of the samples, u8 type of the labels, zeros; types: 1 uint8, 2 float32, 3 int32), the samples, zeros up to a multiple
 * of 8, the labels; little-endian. Its name is the SHA-256 of all its bytes.
 */
import { createHash } from 'node:crypto'
import { SwarmError, invariant, isSwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { SPLIT_NAMES, bytesOf, describe, makeDataset, sampleSizeOf } from './dataset.js'
import { isOfClasses, labelSizeOf } from '../targets.js'
import type { Dataset, DatasetDescription, Split, SplitContent, SplitName } from './dataset.js'

export const SHARD_MAJOR = 1
export const SHARD_MINOR = 0
export const DATA_MANIFEST_VERSION = 1
const PREAMBLE_BYTES = 32
const MAGIC = 0x53444753 // 'SGDS', little-endian
const TYPES = ['', 'uint8', 'float32', 'int32'] as const
/** Large enough that a request costs little, small enough that a few of them fit anywhere. */
const DEFAULT_SHARD_BYTES = 4 * 2 ** 20

/** One piece of a split. */
export interface ShardEntry {
  /** Name of the piece, in hex. */
  readonly sha256: string
  readonly samples: number
  readonly sizeBytes: number
}

/** How the pieces make a data set; plain JSON. */
export interface DataManifest extends DatasetDescription {
  readonly v: typeof DATA_MANIFEST_VERSION
  /** The data set's own hash, which does not depend on how it was cut. */
  readonly sha256: string
  /** The pieces of each split, in order. */
  readonly splits: { readonly [Name in SplitName]?: readonly ShardEntry[] }
}

export interface ShardOptions {
  /** Default: as many as fit into 4 MiB, at least one. */
  readonly samplesPerShard?: number
}

/** A data set cut into pieces: the manifest, and each piece's bytes made when they are asked for. */
export interface Shards {
  readonly manifest: DataManifest
  /** Each different piece once. The bytes are a fresh copy. */
  readonly pieces: readonly { readonly sha256: string; readonly sizeBytes: number; readonly bytes: () => Uint8Array }[]
}

/** The key of a piece in the object store. */
export function shardKey(sha256: string): string {
  return `data/${sha256}`
}

/** Cuts a data set into pieces. @throws `dataset.invalid` */
export function shards(dataset: Dataset, { samplesPerShard }: ShardOptions = {}): Shards {
  const pieces = new Map<string, Shards['pieces'][number]>()
  const splits: { -readonly [Name in SplitName]?: ShardEntry[] } = {}
  for (const name of SPLIT_NAMES) {
    const split = dataset.splits[name]
    if (!split) continue
    const sampleBytes = split.sampleSize * split.samples.BYTES_PER_ELEMENT + split.labelSize * 4
    const count = samplesPerShard ?? Math.max(1, Math.floor(DEFAULT_SHARD_BYTES / sampleBytes))
    if (!Number.isSafeInteger(count) || count < 1) {
      throw new SwarmError('dataset.invalid', { what: 'samplesPerShard', expected: 'a whole number from 1', got: String(count) })
    }
    splits[name] = []
    for (let from = 0; from < split.size; from += count) {
      const to = Math.min(split.size, from + count)
      const bytes = () => encodeShard(split, from, to)
      const encoded = bytes()
      const entry = { sha256: sha256Of(encoded), samples: to - from, sizeBytes: encoded.byteLength }
      splits[name].push(entry)
      if (!pieces.has(entry.sha256)) pieces.set(entry.sha256, { sha256: entry.sha256, sizeBytes: entry.sizeBytes, bytes })
    }
  }
  const manifest = { v: DATA_MANIFEST_VERSION, ...describe(dataset), sha256: dataset.sha256, splits } as const
  return { manifest, pieces: [...pieces.values()] }
}

/**
 * Stores a data set's pieces under `data/<sha256>`, each once, and resolves to the manifest, which the caller keeps.
 * @throws what the store throws; `dataset.invalid`
 */
export async function storeDataset(
  store: ObjectStore,
  dataset: Dataset,
  {
    samplesPerShard,
    signal,
    onProgress,
  }: ShardOptions & { readonly signal?: AbortSignal; readonly onProgress?: (done: number, total: number) => void } = {},
): Promise<DataManifest> {
  const { manifest, pieces } = shards(dataset, { samplesPerShard })
  for (const [done, { sha256, bytes }] of pieces.entries()) {
    try {
      await store.put(shardKey(sha256), bytes(), { ifNoneMatch: '*', signal })
    } catch (error) {
      if (!isSwarmError(error, 'store.conflict')) throw error // a conflict: the same bytes are there already
    }
    onProgress?.(done + 1, pieces.length)
  }
  return manifest
}

/**
 * Puts a data set together again. Every piece must have its hash, and the whole must have the manifest's.
 * @param get the bytes of a piece: `async (sha256) => (await store.get(shardKey(sha256))).bytes`
 * @throws `dataset.damaged` naming the piece; `manifest.version`; what `get` throws
 */
export async function datasetFromShards(
  manifest: DataManifest,
  get: (sha256: string) => Promise<Uint8Array> | Uint8Array,
): Promise<Dataset> {
  if (manifest.v !== DATA_MANIFEST_VERSION) {
    throw new SwarmError('manifest.version', {
      what: 'data manifest of an unknown version',
      where: manifest.id,
      expected: DATA_MANIFEST_VERSION,
      got: String(manifest.v),
    })
  }
  const contents: { [Name in SplitName]?: SplitContent } = {}
  for (const name of SPLIT_NAMES) {
    const entries = manifest.splits[name]
    if (entries) contents[name] = await assemble(manifest, name, entries, get)
  }
  const { train } = contents
  if (!train) throw new SwarmError('dataset.damaged', { what: 'a data manifest without training samples', where: manifest.id })
  const dataset = makeDataset(describe(manifest), { ...contents, train })
  if (dataset.sha256 !== manifest.sha256) {
    throw new SwarmError('dataset.damaged', {
      what: 'the pieces do not make up the data set of the manifest',
      where: manifest.id,
      expected: `SHA-256 ${manifest.sha256}`,
      got: dataset.sha256,
    })
  }
  return dataset
}

async function assemble(
  manifest: DataManifest,
  name: SplitName,
  entries: readonly ShardEntry[],
  get: (sha256: string) => Promise<Uint8Array> | Uint8Array,
): Promise<SplitContent> {
  const total = entries.reduce((sum, { samples }) => sum + samples, 0)
  const sampleSize = sampleSizeOf(manifest)
  const labelSize = labelSizeOf(manifest)
  const samples = manifest.normalisation ? new Uint8Array(total * sampleSize) : new Float32Array(total * sampleSize)
  const labels = isOfClasses(manifest.target) ? new Int32Array(total * labelSize) : new Float32Array(total * labelSize)
  let at = 0
  for (const [index, entry] of entries.entries()) {
    const bytes = await get(entry.sha256)
    const where = `${manifest.id}, ${name} shard ${index}, ${shardKey(entry.sha256)}`
    const got = sha256Of(bytes)
    if (got !== entry.sha256) throw damaged(where, 'a shard has the wrong hash', entry.sha256, got)
    const shard = decodeShard(bytes, where)
    const expected = [entry.samples, sampleSize, labelSize, typeOf(samples), typeOf(labels)].join()
    const found = [shard.count, shard.sampleSize, shard.labelSize, shard.sampleType, shard.labelType].join()
    if (found !== expected) throw damaged(where, 'a shard of other samples', expected, found)
    bytesOf(samples).set(shard.samples, at * sampleSize * samples.BYTES_PER_ELEMENT)
    bytesOf(labels).set(shard.labels, at * labelSize * 4)
    at += entry.samples
  }
  return { samples, labels }
}

function encodeShard(split: Split, from: number, to: number): Uint8Array {
  const samples = bytesOf(split.samples.subarray(from * split.sampleSize, to * split.sampleSize))
  const labels = bytesOf(split.labels.subarray(from * split.labelSize, to * split.labelSize))
  const labelsAt = PREAMBLE_BYTES + align8(samples.byteLength)
  const bytes = new Uint8Array(labelsAt + labels.byteLength)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint16(4, SHARD_MAJOR, true)
  view.setUint16(6, SHARD_MINOR, true)
  view.setUint32(8, to - from, true)
  view.setUint32(12, split.sampleSize, true)
  view.setUint32(16, split.labelSize, true)
  view.setUint8(20, typeOf(split.samples))
  view.setUint8(21, typeOf(split.labels))
  bytes.set(samples, PREAMBLE_BYTES)
  bytes.set(labels, labelsAt)
  return bytes
}

function decodeShard(bytes: Uint8Array, where: string) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteLength < PREAMBLE_BYTES || view.getUint32(0, true) !== MAGIC)
    throw damaged(where, 'not a shard', 'SGDS', `${bytes.byteLength} bytes`)
  const major = view.getUint16(4, true)
  if (major !== SHARD_MAJOR)
    throw new SwarmError('manifest.version', { what: 'a shard of an unknown version', where, expected: SHARD_MAJOR, got: major })
  const [count, sampleSize, labelSize] = [view.getUint32(8, true), view.getUint32(12, true), view.getUint32(16, true)]
  const [sampleType, labelType] = [view.getUint8(20), view.getUint8(21)]
  const samplesBytes = count * sampleSize * (TYPES[sampleType] === 'uint8' ? 1 : 4)
  const labelsAt = PREAMBLE_BYTES + align8(samplesBytes)
  const total = labelsAt + count * labelSize * 4
  if (bytes.byteLength !== total) throw damaged(where, 'a shard of the wrong size', `${total} bytes`, `${bytes.byteLength} bytes`)
  const samples = bytes.subarray(PREAMBLE_BYTES, PREAMBLE_BYTES + samplesBytes)
  return { count, sampleSize, labelSize, sampleType, labelType, samples, labels: bytes.subarray(labelsAt) }
}

function typeOf(values: Uint8Array | Float32Array | Int32Array): number {
  const type = TYPES.indexOf(values instanceof Uint8Array ? 'uint8' : values instanceof Float32Array ? 'float32' : 'int32')
  invariant(type > 0, () => 'a typed array of no known type')
  return type
}

function damaged(where: string, what: string, expected: string, got: string): SwarmError {
  return new SwarmError('dataset.damaged', { what, where, expected, got })
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function align8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}
