/** `swarmgrad metrics`: one row per evaluation. */
import { type HistoryRow, readHistory } from '../../actors/run/history.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace } from '../place.js'
import { findRun } from '../run-list.js'
import { count, decimal, percent } from '../view/format.js'
import { type Column, table } from '../view/table.js'

export async function metrics(context: CommandContext, words: string): Promise<ExitStatus> {
  const { output, settings } = context
  const place = await openPlace(context)
  const run = await findRun(place, words)
  const rows = await readHistory(place.store, run)
  for (const row of rows) output.record({ type: 'evaluated', run, ...row })
  if (settings.csv) output.result(toCsv(rows))
  else if (rows.length === 0) output.note(`run ${run} has not been evaluated yet`)
  else output.result(toTable(rows, output.style))
  return EXIT.done
}

/** VNodes in the order of the first row that has them. */
const vnodesOf = (rows: readonly HistoryRow[]): string[] => [...new Set(rows.flatMap(({ vnodes }) => vnodes.map(({ vnode }) => vnode)))]

/** Full precision; metrics of a VNode as `<vnode>.<metric>`. */
function toCsv(rows: readonly HistoryRow[]): string {
  const names = [...new Set(rows.flatMap(({ metrics }) => Object.keys(metrics)))].sort()
  const vnodes = vnodesOf(rows)
  const header = ['step', 'epoch', 'split', ...names, ...vnodes.flatMap((vnode) => names.map((name) => `${vnode}.${name}`))]
  const lines = rows.map((row) => {
    const own = vnodes.map((vnode) => row.vnodes.find((each) => each.vnode === vnode)?.metrics)
    const cells = [row.metrics, ...own].flatMap((metrics) => names.map((name) => metrics?.[name] ?? ''))
    return [row.step, row.epoch, row.split, ...cells].join(',')
  })
  return [header.join(','), ...lines].join('\n')
}

function toTable(rows: readonly HistoryRow[], style: CommandContext['output']['style']): string {
  const isCategorical = rows.some(({ metrics }) => metrics.accuracy !== undefined)
  const answer = (metrics: HistoryRow['metrics'] | undefined) => (isCategorical ? percent(metrics?.accuracy) : decimal(metrics?.loss))
  const vnodes = vnodesOf(rows)
  const right = (title: string): Column => ({ title, align: 'right' })
  const columns = [
    right('step'),
    right('epoch'),
    { title: 'split' },
    right('loss'),
    ...(isCategorical ? [right('accuracy')] : []),
    ...vnodes.map(right),
  ]
  const cells = rows.map(({ step, epoch, split, metrics, vnodes: own }) => [
    count(step),
    String(epoch),
    split,
    decimal(metrics.loss),
    ...(isCategorical ? [percent(metrics.accuracy)] : []),
    ...vnodes.map((vnode) => answer(own.find((each) => each.vnode === vnode)?.metrics)),
  ])
  return table(columns, cells, style)
}
