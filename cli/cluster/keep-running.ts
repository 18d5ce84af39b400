/** What dies is started again, on the same ports, after a pause that grows while it keeps dying. */
import type { Clock } from '../../runtime/clock.js'
import { type SwarmError, toSwarmError } from '../../runtime/errors.js'
import type { ServerExit, ServerProcess } from '../../runtime/services/index.js'

export interface KeepRunningOptions {
  readonly clock: Clock
  readonly onDown?: (exit: ServerExit) => void
  readonly onUp?: (downMs: number) => void
  /** Told of a start that failed; another follows. */
  readonly onError?: (error: SwarmError) => void
}

/** The first pause, in ms: most are killed once, and their clients wait. */
const FIRST_PAUSE_MS = 100
const LAST_PAUSE_MS = 10_000
/** Who has lived for so long, in ms, begins with the first pause again. */
const SETTLED_MS = 60_000

/** Until the returned function is called. Whoever stops the server calls it first; it resolves when nothing is under way any more. */
export function keepRunning(
  server: Pick<ServerProcess, 'exited' | 'restart'>,
  { clock, onDown, onUp, onError }: KeepRunningOptions,
): () => Promise<void> {
  const stop = new AbortController()
  const { signal } = stop
  const stopped = new Promise<undefined>((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }))
  const watch = async () => {
    let pauseMs = FIRST_PAUSE_MS
    for (;;) {
      const startedMs = clock.now()
      const exit = await Promise.race([server.exited, stopped])
      if (exit === undefined) return
      if (signal.aborted) return
      const downMs = clock.now()
      if (downMs - startedMs >= SETTLED_MS) pauseMs = FIRST_PAUSE_MS
      onDown?.(exit)
      for (let isUp = false; !isUp; pauseMs = Math.min(pauseMs * 2, LAST_PAUSE_MS)) {
        await clock.sleep(pauseMs, signal).catch(() => undefined)
        if (signal.aborted) return
        try {
          await server.restart()
          isUp = true
        } catch (error) {
          if (signal.aborted) return
          onError?.(toSwarmError(error, 'service.failed'))
        }
      }
      onUp?.(clock.now() - downMs)
    }
  }
  const watching = watch()
  return async () => {
    stop.abort()
    await watching
  }
}
