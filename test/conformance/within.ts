/** What the suites share: a deadline that says what did not happen, and errors by code. */
import assert from 'node:assert/strict'
import type { ErrorCode, SwarmError } from '../../runtime/errors.js'

/** The outcome of `promise`; rejects after `deadlineMs` with a message that names what was awaited. Waits for events only: a hung implementation fails instead of hanging. */
export async function within<T>(deadlineMs: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new assert.AssertionError({ message: `${what}: expected within ${deadlineMs} ms, but it did not happen` })),
      deadlineMs,
    )
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Asserts that `error` has `code`, and `retryable` if given. By shape: an implementation may carry its own copy of the class. */
export function assertCode(error: unknown, code: ErrorCode, retryable?: boolean): void {
  assert.ok(error instanceof Error, `expected an error with code ${code}, got ${String(error)}`)
  const { code: got, retryable: gotRetryable, message } = error as SwarmError
  assert.equal(got, code, `expected code ${code}, got ${got} (${message})`)
  if (retryable !== undefined) assert.equal(gotRetryable, retryable, `${code} must ${retryable ? '' : 'not '}be retryable`)
}

/** The error that `work` rejects with; fails if it resolves, or hangs. */
export async function rejectionOf(deadlineMs: number, what: string, work: Promise<unknown>): Promise<unknown> {
  const outcome = await within(
    deadlineMs,
    what,
    work.then(
      () => undefined,
      (error: unknown) => ({ error }),
    ),
  )
  assert.ok(outcome, `${what}: expected it to reject, but it resolved`)
  return outcome.error
}

/** A promise to settle from outside. */
export function gate<T = void>(): { readonly opened: Promise<T>; open(value: T): void } {
  let open: (value: T) => void = () => {}
  const opened = new Promise<T>((resolve) => {
    open = resolve
  })
  return { opened, open: (value) => open(value) }
}

/** Lets everything run that is ready to run. */
export function yieldTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
