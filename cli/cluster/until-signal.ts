/** A process that runs until it is told to end: the first signal ends it in order, the second at once. */
import { watchSignals } from '../signals.js'

export interface UntilSignal {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal
  /** Resolves with it. */
  readonly asked: Promise<void>
  stop(): void
}

/** @param onSecond called just before the process ends: what must not be left behind is ended here */
export function untilSignal(onFirst: () => void, onSecond: () => void): UntilSignal {
  const ending = new AbortController()
  const asked = new Promise<void>((resolve) => ending.signal.addEventListener('abort', () => resolve(), { once: true }))
  const watch = watchSignals({
    onFirst() {
      onFirst()
      ending.abort()
    },
    onSecond,
  })
  return { signal: ending.signal, asked, stop: () => watch.stop() }
}
