/** What a process that runs for days says: a line for each thing that happens, and no flood of the same one. */
import type { SwarmError } from '../../runtime/errors.js'
import { systemClock } from '../../runtime/clock.js'
import type { Output } from '../output.js'
import { timeOfDay } from '../view/format.js'

export interface Reporter {
  /** For a program: a record of `type`; for a person: a line on standard error. */
  event(type: string, text: string, fields?: { readonly [name: string]: unknown }): void
  /** An error that ends nothing. */
  warn(error: SwarmError): void
}

/** The same warning is said again after so long, in ms. */
const SAME_AGAIN_MS = 10_000
const MOST_REMEMBERED = 100

export function reporter(output: Output): Reporter {
  const said = new Map<string, number>()
  const note = (text: string) => output.note(`${timeOfDay(systemClock.now())} ${text}`)
  return {
    event(type, text, fields = {}) {
      output.record({ type, ...fields })
      note(text)
    },
    warn(error) {
      const same = `${error.code} ${error.message}`
      const nowMs = systemClock.now()
      if (nowMs - (said.get(same) ?? 0) < SAME_AGAIN_MS) return
      if (said.size >= MOST_REMEMBERED) said.clear()
      said.set(same, nowMs)
      output.record({ type: 'warning', ...error.toJSON() })
      note(`${error.message} [${error.code}]`)
    },
  }
}
