/**
 * What a batch is known by: 64 hex digits, half of a SHA-256 of its inputs, then half of that of its labels; so whoever has the labels alone can check
 * them. 128 bits each: nobody finds other bytes for them. Golden bytes are in test/runtime/commitment.test.ts.
 *
 * Of samples of 1 KiB or more each is hashed, and then their hashes one after another: whoever has had a sample before needs not even gather it.
 */
import { hash } from 'node:crypto'
import type { TensorBytes } from './frame.js'

/** To hash less than this by itself costs more than it saves. */
const HASHED_ALONE_BYTES = 1_024
const HASH_BYTES = 32
/** Hex digits. */
const HALF = 32

/** The inputs of a batch: [samples, …]. */
type Inputs = Pick<TensorBytes, 'shape' | 'bytes'>

/** The digest of a batch, from what is in it. */
export function batchDigest(inputs: Inputs, labels: Uint8Array): string {
  return digestOfSamples(sampleHashes(inputs) ?? inputs.bytes, labels)
}

/** As `batchDigest`. @param hashes of its samples, as `sampleHashes` has given them */
export function digestOfSamples(hashes: Uint8Array, labels: Uint8Array): string {
  return halfOf(hashes) + halfOf(labels)
}

/** SHA-256 of each sample, [samples × 32]; undefined: they are not hashed one by one. */
export function sampleHashes({ shape, bytes }: Inputs): Buffer | undefined {
  const [samples = 0] = shape
  const sampleBytes = bytes.byteLength / samples
  if (!isHashedAlone(sampleBytes)) return undefined
  // As text: buffers of 32 bytes cost more than their hashes.
  let hashes = ''
  for (let at = 0; at < bytes.byteLength; at += sampleBytes) hashes += hash('sha256', bytes.subarray(at, at + sampleBytes))
  return Buffer.from(hashes, 'hex')
}

/** Whether samples of this size are hashed one by one. */
export function isHashedAlone(sampleBytes: number): boolean {
  return Number.isSafeInteger(sampleBytes) && sampleBytes >= HASHED_ALONE_BYTES
}

/** Whether labels are those that the source has named in the digest of their batch. */
export function areLabelsOf(batch: string, labels: Uint8Array): boolean {
  return batch.length === 2 * HALF && batch.endsWith(halfOf(labels))
}

/** Hashes of the samples of a data set that have been in a batch: [size × 32], and which of them there are. */
export class KnownSamples {
  readonly #hashes: Buffer
  readonly #isKnown: Uint8Array

  constructor(size: number) {
    this.#hashes = Buffer.alloc(size * HASH_BYTES)
    this.#isKnown = new Uint8Array(size)
  }

  /** Their hashes, one after another; undefined: one of them has not been seen yet. */
  at(indices: Uint32Array): Uint8Array | undefined {
    const hashes = Buffer.allocUnsafe(indices.length * HASH_BYTES)
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]
      if (this.#isKnown[index] === 0) return undefined
      this.#hashes.copy(hashes, i * HASH_BYTES, index * HASH_BYTES, (index + 1) * HASH_BYTES)
    }
    return hashes
  }

  /** @param hashes of the samples at `indices`, in their order */
  learn(indices: Uint32Array, hashes: Uint8Array): void {
    for (let i = 0; i < indices.length; i++) {
      this.#hashes.set(hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES), indices[i] * HASH_BYTES)
      this.#isKnown[indices[i]] = 1
    }
  }
}

const halfOf = (bytes: Uint8Array): string => hash('sha256', bytes).slice(0, HALF)
