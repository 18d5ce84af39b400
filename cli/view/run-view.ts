/** What watches a run for somebody. */
import type { RunEvent } from '../../actors/events.js'
import type { RunDefinition } from '../../actors/run/run-definition.js'

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
