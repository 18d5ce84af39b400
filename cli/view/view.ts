/** The choice of a view by where the output goes: a terminal, a log, a program, or nobody. */
import type { RunEvent } from '../../actors/events.js'
import type { Output } from '../output.js'
import { LineView } from './lines.js'
import { LiveView } from './live.js'
import type { RunView } from './run-view.js'

/** The view that suits the output. */
export function viewFor(output: Output): RunView {
  if (output.isJson) return jsonView(output)
  if (output.isQuiet) return { begin: ignore, show: ignore, fetch: ignore, say: ignore, end: ignore }
  return output.isLive ? new LiveView(output, process.stderr) : new LineView(output)
}

/** Events as they are. How the run ended is the command's last line, not an event. */
function jsonView(output: Output): RunView {
  const isEnd = ({ type }: RunEvent) => type === 'done' || type === 'paused' || type === 'failed'
  const show = (event: RunEvent) => {
    if (!output.isQuiet && !isEnd(event)) output.record({ ...event })
  }
  return { begin: ignore, show, fetch: ignore, say: ignore, end: ignore }
}

function ignore(): void {}
