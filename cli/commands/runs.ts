/** `swarmgrad runs`. */
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import type { Output } from '../output.js'
import { openPlace } from '../place.js'
import { type RunState, summarise } from '../read-run.js'
import { listRuns } from '../run-list.js'
import { count, dateAndTime, percent, shortHash } from '../view/format.js'
import { table } from '../view/table.js'

export async function runs(context: CommandContext): Promise<ExitStatus> {
  const { output } = context
  const place = await openPlace(context)
  const rows: string[][] = []
  for (const { run, startedMs, sizeBytes } of await listRuns(place)) {
    try {
      const { status, step, totalSteps, accuracy, hash } = await summarise(place, run)
      output.record({ type: 'run', run, status, step, totalSteps, accuracy: accuracy ?? null, hash: hash ?? null, startedMs, sizeBytes })
      rows.push([
        run,
        paint(output, status),
        `${count(step)}/${count(totalSteps)}`,
        percent(accuracy),
        shortHash(hash),
        startedAt(startedMs),
      ])
    } catch (error) {
      // One damaged run must not hide the others.
      output.error(error)
      rows.push([run, output.style.red('damaged'), '', '', '', startedAt(startedMs)])
    }
  }
  const columns = [
    { title: 'run' },
    { title: 'status' },
    { title: 'step', align: 'right' },
    { title: 'accuracy', align: 'right' },
    { title: 'hash' },
    { title: 'started' },
  ] as const
  if (rows.length > 0) output.result(table(columns, rows, output.style))
  else output.note(`no runs in ${place.name}; start one with: swarmgrad train${place.flags}`)
  return EXIT.done
}

const startedAt = (startedMs: number): string => (startedMs === 0 ? '–' : dateAndTime(startedMs))

/** A status in its colour. */
export function paint({ style }: Output, status: RunState): string {
  const colours = { running: style.cyan, done: style.green, paused: style.yellow, interrupted: style.yellow, failed: style.red }
  return colours[status](status)
}
