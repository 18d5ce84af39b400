/** What `swarmgrad doctor` finds: one thing that was looked at, and what to do about it. */
import { toSwarmError } from '../../runtime/errors.js'

export interface Check {
  readonly name: string
  readonly state: 'ok' | 'warn' | 'fail'
  /** What was found. */
  readonly found: string
  /** What to do: an imperative sentence. */
  readonly fix?: string
}

export const ok = (name: string, found: string): Check => ({ name, state: 'ok', found })
export const warn = (name: string, found: string, fix?: string): Check => ({ name, state: 'warn', found, fix })
export const fail = (name: string, found: string, fix?: string): Check => ({ name, state: 'fail', found, fix })

/** An error as a finding; its message says what to do. */
export function failure(name: string, error: unknown): Check {
  return fail(name, toSwarmError(error, 'internal').message)
}
