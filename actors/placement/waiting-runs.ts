/** Runs that wait for room. Whoever fits begins, but nobody is overtaken for ever. */
import { SwarmError } from '../../runtime/errors.js'
import type { Calls } from '../calls.js'

type Request = Calls['Placement']['place'][0]

interface Waiting {
  readonly request: Request
  readonly sinceMs: number
  heardMs: number
}

/** So long others may begin before a run that waits, in ms: long enough for the small ones to use what is left, short enough for a person. */
export const OVERTAKEN_MS = 60_000
/** A run that waits asks every two seconds; one that has not for so long, in ms, waits no more. */
const FORGET_MS = 10_000

/** Forgotten with the actor: then everybody waits anew. */
export class WaitingRuns {
  readonly #waiting = new Map<string, Waiting>()

  /**
   * A run asks to begin.
   * @param fits whether another could begin if there were nothing but it: one that could not keeps nobody waiting
   * @throws `placement.no-pnode` (retryable) if another has waited too long
   */
  assertTurn(request: Request, nowMs: number, fits: (other: Request) => boolean): void {
    const { run } = request
    for (const [other, { heardMs }] of this.#waiting) if (nowMs - heardMs > FORGET_MS) this.#waiting.delete(other)
    const sinceMs = this.#waiting.get(run)?.sinceMs ?? nowMs
    for (const [other, waiting] of this.#waiting) {
      const isAhead = other !== run && waiting.sinceMs < sinceMs && nowMs - waiting.sinceMs >= OVERTAKEN_MS
      if (!isAhead || !fits(waiting.request)) continue
      this.refused(request, nowMs)
      const seconds = Math.floor((nowMs - waiting.sinceMs) / 10_000) * 10
      throw new SwarmError('placement.no-pnode', {
        what: `no turn for run ${run}`,
        got: `run ${other} has waited for room for more than ${seconds} s, and is next`,
        retryable: true,
      })
    }
  }

  /** It was its turn, and there is no room. */
  refused(request: Request, nowMs: number): void {
    const before = this.#waiting.get(request.run)
    this.#waiting.set(request.run, { request, sinceMs: before?.sinceMs ?? nowMs, heardMs: nowMs })
  }

  /** It waits no more. */
  begun(run: string): void {
    this.#waiting.delete(run)
  }
}
