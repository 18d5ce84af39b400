/** Ctrl-C and its kin: the first asks, the second ends. */
import { EXIT } from './exit.js'

const STATUS = { SIGINT: EXIT.interrupted, SIGTERM: EXIT.terminated } as const

export interface SignalHandlers {
  /** May be undone by nobody: the command is to end soon. */
  readonly onFirst: (status: 130 | 143) => void
  /** Restores the terminal; the process ends when it returns. */
  readonly onSecond: () => void
}

/** Listens until `stop`. `interrupt` is Ctrl-C as a terminal in raw mode gives it. */
export function watchSignals({ onFirst, onSecond }: SignalHandlers): { stop(): void; interrupt(): void } {
  let hasHeard = false
  const handle = (signal: keyof typeof STATUS) => {
    if (hasHeard) {
      onSecond()
      process.exit(STATUS[signal])
    }
    hasHeard = true
    onFirst(STATUS[signal])
  }
  const signals = Object.keys(STATUS) as (keyof typeof STATUS)[]
  for (const signal of signals) process.on(signal, handle)
  return {
    stop: () => signals.forEach((signal) => process.off(signal, handle)),
    interrupt: () => handle('SIGINT'),
  }
}
