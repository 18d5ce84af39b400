/** Samples of a file as a trained network wants them: IDX images, or rows of a table with the columns that it learnt from. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import type { DatasetDescription } from '../components/datasets/index.js'
import { readIdx } from '../components/datasets/idx.js'
import { sizeOf } from '../components/shapes.js'
import { SwarmError } from '../runtime/errors.js'

export interface SampleOptions {
  readonly description: DatasetDescription
  /** Column that is no input, if the table has it. */
  readonly label: string
}

/** Raw values, row-major. @throws `dataset.missing`, `dataset.damaged`, `dataset.invalid` with file, line and column */
export async function readSamples(file: string, options: SampleOptions): Promise<ArrayLike<number>> {
  if (!existsSync(file))
    throw new SwarmError('dataset.missing', { what: 'no such file', where: file, fix: 'Give --data the path of IDX images or a .csv file' })
  if (extname(file).toLowerCase() === '.csv') return readRows(file, options)
  const { input, features } = options.description
  if (features) throw new SwarmError('dataset.invalid', { what: 'the run was trained on a table', where: file, expected: 'a .csv file' })
  // Grey images have no channel in IDX.
  const sampleShape = input.length === 3 && input[2] === 1 ? input.slice(0, 2) : input
  return (await readIdx(file, { sampleShape })).bytes
}

function readRows(file: string, { description: { input, features }, label }: SampleOptions): Promise<number[]> {
  return readFile(file, 'utf8').then((text) =>
    rowsOf(text, { file, width: sizeOf(input), names: features?.map(({ name }) => name), label }),
  )
}

interface Rows {
  readonly file: string
  /** Input columns. */
  readonly width: number
  /** Their names; undefined: all but the label's. */
  readonly names: readonly string[] | undefined
  readonly label: string
}

function rowsOf(text: string, { file, width, names, label }: Rows): number[] {
  const invalid = (what: string, line: number, expected?: string | number, got?: string | number) =>
    new SwarmError('dataset.invalid', { what, where: `${file}:${line}`, expected, got })
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  const header = cellsOf(lines[0])
  const columns = (names ?? header.filter((name) => name !== label)).map((name) => {
    const column = header.indexOf(name)
    if (column < 0) throw invalid('a missing column', 1, `'${name}'`, header.join(', '))
    return column
  })
  if (columns.length !== width) throw invalid('input columns', 1, width, columns.length)
  const values: number[] = []
  for (const [i, line] of lines.entries()) {
    if (i === 0 || line.trim() === '') continue
    const cells = cellsOf(line)
    if (cells.length !== header.length) throw invalid('a row of another length', i + 1, `${header.length} cells`, cells.length)
    for (const column of columns) {
      const number = cells[column] === '' ? Number.NaN : Number(cells[column])
      if (!Number.isFinite(number)) throw invalid(`not a number in column '${header[column]}'`, i + 1, undefined, `'${cells[column]}'`)
      values.push(number)
    }
  }
  if (values.length === 0) throw invalid('no rows after the column names', 1)
  return values
}

/** The cells of a line, which may be in quotes; a line break in quotes is refused as a row of another length. */
function cellsOf(line: string): string[] {
  return Array.from(
    `,${line}`.matchAll(/,(?:\s*"((?:[^"]|"")*)"\s*|([^,]*))/g),
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain.trim(),
  )
}
