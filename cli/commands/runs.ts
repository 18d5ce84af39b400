/** `swarmgrad runs`. */
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import type { Output } from '../output.js'
import { type RunState, summarise } from '../read-run.js'
import { listRuns, storeAt } from '../run-list.js'
import { count, dateAndTime, percent, shortHash } from '../view/format.js'
import { table } from '../view/table.js'

export async function runs({ output, store: folder }: CommandContext): Promise<ExitStatus> {
  const store = storeAt(folder)
  const rows: string[][] = []
  for (const { run, startedMs, sizeBytes } of await listRuns(store, folder)) {
    try {
      const { status, step, totalSteps, accuracy, hash } = await summarise(store, folder, run)
      output.record({ type: 'run', run, status, step, totalSteps, accuracy: accuracy ?? null, hash: hash ?? null, startedMs, sizeBytes })
      rows.push([
        run,
        paint(output, status),
        `${count(step)}/${count(totalSteps)}`,
        percent(accuracy),
        shortHash(hash),
        dateAndTime(startedMs),
      ])
    } catch (error) {
      // One damaged run must not hide the others.
      output.error(error)
      rows.push([run, output.style.red('damaged'), '', '', '', dateAndTime(startedMs)])
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
  else output.note(`no runs in ${folder}; start one with: swarmgrad train`)
  return EXIT.done
}

/** A status in its colour. */
export function paint({ style }: Output, status: RunState): string {
  const colours = { running: style.cyan, done: style.green, paused: style.yellow, interrupted: style.yellow, failed: style.red }
  return colours[status](status)
}
