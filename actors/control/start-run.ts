/** Runs that somebody has to own: begun, and marked as such, so that a control host that is started again takes them up. */
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import type { Clock } from '../../runtime/clock.js'
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { actor, untilHeard } from '../calls.js'

/** What the head of a run says decides. */
export const marker = (run: string): string => `${MARKERS}${run}`
export const MARKERS = 'control/running/'
/** A generation begins with the slowest things: listing and sweeping the store. */
const START_DEADLINE_MS = 60_000

export interface StartRunOptions {
  readonly store: ObjectStore
  readonly clock: Clock
  readonly system: ActorSystem
  /** Ends with the control host. */
  readonly signal: AbortSignal
}

/** As `ControlHost.startRun`. */
export async function startRun({ store, clock, system, signal: closing }: StartRunOptions, run: string): Promise<void> {
  await store.put(marker(run), new Uint8Array())
  const start = () =>
    system.call(actor.run(run), 'start', null, { deadlineMs: START_DEADLINE_MS }).catch((error: unknown) => {
      if (!isSwarmError(error, 'placement.no-pnode')) throw error
    })
  const limit = new AbortController()
  const late = new SwarmError('actor.timeout', { what: `run ${run} did not begin within ${START_DEADLINE_MS} ms`, retryable: true })
  const cancel = clock.after(START_DEADLINE_MS, () => limit.abort(late))
  try {
    const signal = AbortSignal.any([closing, limit.signal])
    await untilHeard(clock, signal, start)
    // Whoever saw the end of the stretch before may have deleted it meanwhile. The run goes on by now: without it nobody would take it up.
    await untilHeard(clock, signal, () => store.put(marker(run), new Uint8Array()))
  } finally {
    cancel()
  }
}
