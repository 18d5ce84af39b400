import assert from 'node:assert/strict'
import { isSwarmError, type ErrorCode } from '../../runtime/errors.js'
import type { ListedObject, ObjectStore } from '../../runtime/object-store/object-store.js'

/** A store to check, empty at first, with the ways to lose the process around it. Each works again on the store that it returned. */
export interface StoreUnderTest {
  readonly store: ObjectStore
  /** Closes the store and opens the same objects again, as another process would. */
  reopen(): Promise<ObjectStore>
  /** Cuts the power: what was not made durable may be lost, calls under way fail. Opens what is left. Where it is absent `reopen` stands in. */
  crash?(): Promise<ObjectStore>
  /** Ends the test and removes what it made. */
  close(): Promise<void>
}

/** A promise of the contract: a sentence, and the check of it on an empty store. */
export type StoreCheck = readonly [title: string, check: (store: ObjectStore, subject: StoreUnderTest) => Promise<void>]

/** How many writers compete in the cases about conditions. */
export const CAS_WRITERS = 16

/** The index of the one of `CAS_WRITERS` concurrent puts that succeeded; all others must have got a conflict. */
export async function onlyWinner(put: (i: number) => Promise<unknown>): Promise<number> {
  const outcomes = await Promise.allSettled(Array.from({ length: CAS_WRITERS }, (_, i) => put(i)))
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') assert.ok(isSwarmError(outcome.reason, 'store.conflict'), String(outcome.reason))
  }
  const winners = outcomes.flatMap((outcome, i) => (outcome.status === 'fulfilled' ? [i] : []))
  assert.equal(winners.length, 1, `${winners.length} of ${CAS_WRITERS} writers succeeded`)
  return winners[0]
}

/** Asserts that `promise` rejects with a one-line SwarmError of this code. */
export async function rejects(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(promise, (error: unknown) => {
    assert.ok(isSwarmError(error, code), `expected a SwarmError with the code ${code}, got ${String(error)}`)
    assert.ok(!error.message.includes('\n'), 'the message is one line')
    return true
  })
}

/** The whole listing. */
export async function all(list: AsyncIterable<ListedObject>): Promise<ListedObject[]> {
  const found: ListedObject[] = []
  for await (const { key, sizeBytes } of list) found.push({ key, sizeBytes })
  return found
}

/** An object as text. */
export async function readText(store: ObjectStore, key: string): Promise<string> {
  return new TextDecoder().decode((await store.get(key)).bytes)
}

/** Text as bytes. */
export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value)
}

/** Bytes that are all `value`, so that a mixture of two objects shows. */
export function filled(value: number, sizeBytes: number): Uint8Array {
  return new Uint8Array(sizeBytes).fill(value)
}

/** True if all bytes are `value`. */
export function isFilled(bytes: Uint8Array, value: number): boolean {
  // Each byte is the one before it: a hundred times as fast as a loop.
  return bytes.length === 0 || (bytes[0] === value && Buffer.compare(bytes.subarray(1), bytes.subarray(0, -1)) === 0)
}

/** Lets all that can happen without waiting happen. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
