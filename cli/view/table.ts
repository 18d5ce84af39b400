/** Columns without lines between them. The one file that imports cli-table3. */
import Table from 'cli-table3'
import type { ChalkInstance } from 'chalk'

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
}

const NO_LINES = Object.fromEntries(
  [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left',
    'left-mid',
    'mid',
    'mid-mid',
    'right',
    'right-mid',
  ].map((name) => [name, '']),
)

/** Rows under titles, as text without a final line break. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], style: ChalkInstance): string {
  const made = new Table({
    head: columns.map(({ title }) => style.dim(title)),
    colAligns: columns.map(({ align }) => align ?? 'left'),
    chars: { ...NO_LINES, middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  })
  made.push(...rows.map((row) => [...row]))
  return made
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}
