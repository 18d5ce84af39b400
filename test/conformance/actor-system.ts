/** What every ActorSystem must do, as cases that need no test runner. */
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import { callCases } from './actor-calls.js'
import { failureCases } from './actor-failures.js'
import { lifeCases } from './actor-life.js'
import { stateCases } from './actor-state.js'
import { scheduleCases } from './actor-schedules.js'
import type { ConformanceCase } from './case.js'
import { rejectionOf, within } from './within.js'

/** One system on a storage of its own, for one case. */
export interface ActorsUnderTest {
  /** Not started, nothing registered. */
  readonly system: ActorSystem
  /** Closes (or crashes) the newest system and gives a fresh one on the same storage, not started, nothing registered. */
  restart(): Promise<ActorSystem>
  /** Lets so much time pass: moves a fake clock, or waits. */
  advance(ms: number): Promise<void>
  /** Closes the newest system and forgets the storage; called after every case. */
  close(): Promise<void>
}

export interface ActorSuiteOptions {
  /** How long a case waits for anything before it fails, on the real clock. Default 20,000 ms: a real system may have to place the actor first. */
  readonly deadlineMs?: number
}

/** What a case works with. */
export interface ActorCaseContext {
  readonly system: ActorSystem
  readonly restart: () => Promise<ActorSystem>
  readonly advance: (ms: number) => Promise<void>
  /** Rejects with `what` in its message if `promise` takes longer than the suite's deadline. */
  readonly within: <T>(what: string, promise: Promise<T>) => Promise<T>
  /** The error that `promise` rejects with; fails if it resolves or takes longer than the suite's deadline. */
  readonly rejection: (what: string, promise: Promise<unknown>) => Promise<unknown>
  /** Lets time pass in steps of 50 ms until `isSo()`, at most `limitMs`. Says whether it came true. */
  readonly advanceUntil: (isSo: () => boolean, limitMs?: number) => Promise<boolean>
}

/** The cases of one chapter, by title. */
export type ActorCases = { readonly [title: string]: (context: ActorCaseContext) => Promise<void> }

/** A step of waiting, in milliseconds: small beside every delay of the cases. */
const STEP_MS = 50

/**
 * The conformance cases of the ActorSystem contract; `make` gives each one a system with an empty storage. Run them one at a time: each
 * watches the process for errors that nobody caught.
 */
export function actorSystemSuite(make: () => Promise<ActorsUnderTest>, options: ActorSuiteOptions = {}): ConformanceCase[] {
  const { deadlineMs = 20_000 } = options
  return Object.entries({ ...callCases, ...failureCases, ...lifeCases, ...stateCases, ...scheduleCases }).map(([title, check]) => ({
    title,
    async run() {
      const under = await make()
      const thrown: unknown[] = []
      const onThrown = (error: unknown) => void thrown.push(error)
      process.on('uncaughtExceptionMonitor', onThrown)
      process.on('unhandledRejection', onThrown)
      try {
        const close = () => within(deadlineMs, `close after "${title}"`, under.close())
        await check({
          system: under.system,
          restart: () => under.restart(),
          advance: (ms) => under.advance(ms),
          within: (what, promise) => within(deadlineMs, what, promise),
          rejection: (what, promise) => rejectionOf(deadlineMs, what, promise),
          async advanceUntil(isSo, limitMs = 10_000) {
            for (let passedMs = 0; !isSo() && passedMs < limitMs; passedMs += STEP_MS) await under.advance(STEP_MS)
            return isSo()
          },
        }).catch(async (error: unknown) => {
          // A broken promise often leaves a turn under way, for which close waits: what was broken is the news, not that.
          await close().catch(() => {})
          throw error
        })
        await close()
      } finally {
        process.off('uncaughtExceptionMonitor', onThrown)
        process.off('unhandledRejection', onThrown)
      }
      if (thrown.length > 0) throw thrown[0]
    },
  }))
}
