/** What watches a run for somebody: a terminal, a log, a program, or nobody. */
import type { RunEvent } from '../../actors/events.js'
import type { RunDefinition } from '../../actors/run-definition.js'
import type { Output } from '../output.js'
import { LineView } from './lines.js'
import { LiveView } from './live.js'

export interface RunView {
  /** The run exists. */
  begin(run: string, definition: RunDefinition, options: { readonly pnodes: number }): void
  show(event: RunEvent): void
  /** Data is being fetched or made. */
  fetch(done: number, total: number): void
  /** Something that is no event. */
  say(text: string): void
  /** Gives the terminal back. May be called twice. */
  end(): void
}

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
