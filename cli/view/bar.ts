/** One line of progress, for work that needs no more. */
import { createLogUpdate } from 'log-update'
import type { Output } from '../output.js'
import { fit } from './format.js'

/** Between two lines of a log, in ms. */
const LOG_MS = 3_000
const WIDTH = 24

/** A bar on a terminal, else a line now and then. `end` leaves nothing behind on a terminal. */
export function progressBar(output: Output, label: string): { show(share: number, text: string): void; end(): void } {
  if (!output.isLive) {
    let toldAtMs = 0
    return {
      show(share, text) {
        if (performance.now() - toldAtMs < LOG_MS) return
        toldAtMs = performance.now()
        output.note(`${label} ${Math.floor(share * 100)} % ${text}`)
      },
      end() {},
    }
  }
  const draw = createLogUpdate(process.stderr)
  const { cyan, dim } = output.errorStyle
  return {
    show(share, text) {
      const full = Math.round(Math.min(1, Math.max(0, share)) * WIDTH)
      const room = (process.stderr.columns ?? 80) - label.length - WIDTH - 3
      draw(`${label} ${cyan('█'.repeat(full))}${dim('░'.repeat(WIDTH - full))} ${fit(text, room)}`)
    },
    end() {
      draw.clear()
      draw.done()
    },
  }
}
