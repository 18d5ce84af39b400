/** What every bus checks of a call, and how its waits are given up. */
import { SwarmError } from '../errors.js'
import { MAX_MESSAGE_BYTES, MAX_SUBSCRIPTION_CAPACITY } from './tensor-bus.js'

/** @throws `bus.too-large` */
export function checkSize(subject: string, { byteLength }: Uint8Array): void {
  if (byteLength <= MAX_MESSAGE_BYTES) return
  const expected = `at most ${MAX_MESSAGE_BYTES} bytes`
  throw new SwarmError('bus.too-large', { what: 'message too large', where: subject, expected, got: byteLength })
}

/** @throws `usage` */
export function checkCapacity(subject: string, capacity: number): void {
  if (Number.isInteger(capacity) && capacity >= 1 && capacity <= MAX_SUBSCRIPTION_CAPACITY) return
  const expected = `1 to ${MAX_SUBSCRIPTION_CAPACITY}`
  throw new SwarmError('usage', { what: 'capacity out of range', where: subject, expected, got: capacity })
}

/** Waits for `work` or for the abort, whichever comes first. */
export async function untilAborted(work: Promise<unknown>, signal?: AbortSignal): Promise<void> {
  if (!signal) {
    await work
    return
  }
  let onAbort = () => {}
  const abort = new Promise<void>((resolve) => {
    onAbort = () => resolve()
    if (signal.aborted) resolve()
    signal.addEventListener('abort', onAbort, { once: true })
  })
  work.catch(() => {}) // after an abort nobody asks
  try {
    await Promise.race([work, abort])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

export function aborted(what: string, signal: AbortSignal): SwarmError {
  return new SwarmError('aborted', { what: `${what} aborted`, cause: signal.reason })
}
