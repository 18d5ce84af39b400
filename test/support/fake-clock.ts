/** Time that moves only when a test says so. */
import type { Clock } from '../../runtime/clock.js'

/** A clock for tests. */
export interface FakeClock extends Clock {
  /**
   * Moves time by `ms`: runs what falls due on the way, in the order of its time (then of its setting), at exactly its time, and lets
   * everything that is ready run before, between and after.
   */
  advance(ms: number): Promise<void>
  /** Callbacks that wait. */
  readonly pending: number
}

interface Alarm {
  readonly dueMs: number
  readonly callback: () => void
}

/** A clock that stands still at `startMs`. */
export function fakeClock(startMs = 1_700_000_000_000): FakeClock {
  let nowMs = startMs
  const alarms = new Set<Alarm>()

  const after = (delayMs: number, callback: () => void) => {
    const alarm: Alarm = { dueMs: nowMs + Math.max(0, delayMs), callback }
    alarms.add(alarm)
    return () => void alarms.delete(alarm)
  }
  /** A Set keeps the order of insertion: the first of equals wins. */
  const firstDueBy = (limitMs: number) => {
    let first: Alarm | undefined
    for (const alarm of alarms) if (alarm.dueMs <= limitMs && (!first || alarm.dueMs < first.dueMs)) first = alarm
    return first
  }

  return {
    get pending() {
      return alarms.size
    },
    now: () => nowMs,
    after,
    sleep(delayMs, signal) {
      return new Promise((resolve, reject) => {
        signal?.throwIfAborted()
        const onAbort = () => {
          cancel()
          reject(signal!.reason)
        }
        const cancel = after(delayMs, () => {
          signal?.removeEventListener('abort', onAbort)
          resolve()
        })
        signal?.addEventListener('abort', onAbort, { once: true })
      })
    },
    async advance(ms) {
      const untilMs = nowMs + ms
      await settle()
      for (let alarm = firstDueBy(untilMs); alarm; alarm = firstDueBy(untilMs)) {
        alarms.delete(alarm)
        nowMs = Math.max(nowMs, alarm.dueMs)
        alarm.callback()
        await settle()
      }
      nowMs = untilMs
    },
  }
}

/** One turn of the event loop: every microtask that is ready, and those they start, has run. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
