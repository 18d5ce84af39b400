/** A report as Markdown: what was measured, on what; its bars, its figures. */
import type { Report } from './measure.js'
import type { Measured } from './measured.js'

/** As many values are shown one by one; of more there is a line in the JSON. */
const MOST_VALUES = 12

type Members = { readonly [name: string]: unknown }
const isObject = (value: unknown): value is Members => typeof value === 'object' && value !== null && !Array.isArray(value)
const has = (value: Members, ...names: readonly string[]): boolean => names.every((name) => Object.hasOwn(value, name))

/** One report. @param plots files of plots, as they are linked */
export function markdown({ name, command, date, machine, versions, figures, bars }: Measured, plots: readonly string[] = []): string {
  const { cpu, cores, memoryGB, platform, load } = machine
  const lines = [
    `## ${name}`,
    '',
    `    npm run bench -- ${command}`,
    '',
    `${date.slice(0, 16).replace('T', ' ')} UTC; ${cpu}, ${cores} cores, ${memoryGB} GB, ${platform}, load ${load} when it began; ` +
      `Node ${versions.node}, swarmgrad ${versions.swarmgrad}, tfjs ${versions.tfjs}.`,
  ]
  if (bars.length > 0) lines.push('', ...table(['', 'bar', 'measured'], bars.map(barRow)))
  const plain = Object.entries(figures).flatMap(([figure, value]) => rowsOf(figure, value))
  if (plain.length > 0) lines.push('', ...table(['figure', ''], plain))
  for (const [figure, value] of Object.entries(figures)) if (isTable(value)) lines.push('', `### ${figure}`, '', ...tableOf(value))
  for (const plot of plots) lines.push('', `![${plot.replace(/^.*\//, '').replace(/\.svg$/, '')}](${plot})`)
  return `${lines.join('\n')}\n`
}

/** Whether a value keeps to its bar. */
export function isMet({ value, atLeast, atMost }: Report['bars'][number]): boolean {
  return (atLeast === undefined || value >= atLeast) && (atMost === undefined || value <= atMost)
}

function barRow(bar: Report['bars'][number]): string[] {
  const { name, value, atLeast, atMost } = bar
  return [name, atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`, isMet(bar) ? String(value) : `**${value}: missed**`]
}

/** A cell: numbers, ratios, spreads and short lists in words. */
function cell(value: unknown): string | undefined {
  if (Array.isArray(value)) {
    if (value.some((member) => typeof member === 'object')) return undefined
    return value.length <= MOST_VALUES ? value.join(', ') : `${value.length} values`
  }
  if (!isObject(value)) return String(value)
  if (has(value, 'median', 'smallest', 'largest')) return `${String(value.median)} (${String(value.smallest)} to ${String(value.largest)})`
  if (has(value, 'mean', 'deviation', 'each')) return `${String(value.mean)} ± ${String(value.deviation)} (${cell(value.each)})`
}

/** Objects with the same members: a row for each. */
function isTable(value: unknown): value is { readonly [row: string]: Members } {
  if (!isObject(value) || cell(value) !== undefined) return false
  const rows = Object.values(value)
  const names = (row: unknown) => (isObject(row) && cell(row) === undefined ? Object.keys(row).join('\n') : undefined)
  return rows.length > 0 && rows.every((row) => names(row) !== undefined && names(row) === names(rows[0]))
}

function tableOf(rows: { readonly [row: string]: Members }): string[] {
  const columns = Object.keys(Object.values(rows)[0])
  return table(
    ['', ...columns],
    Object.entries(rows).map(([name, row]) => [name, ...columns.map((column) => cell(row[column]) ?? nested(row[column]))]),
  )
}

/** What is no table: a row for each value, under all of its names. */
function rowsOf(name: string, value: unknown): string[][] {
  if (isTable(value)) return []
  const own = cell(value)
  if (own !== undefined) return [[name, own]]
  if (!isObject(value)) return [[name, nested(value)]]
  return Object.entries(value).flatMap(([member, inner]) => {
    const text = cell(inner) ?? (isTable(inner) ? nested(inner) : undefined)
    return text === undefined ? rowsOf(`${name}, ${member}`, inner) : [[`${name}, ${member}`, text]]
  })
}

const nested = (value: unknown): string => `\`${JSON.stringify(value)}\``

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)]
}
