/** Tables in CSV files: numeric columns in, one column (or several) to be learned. */
import { createReadStream } from 'node:fs'
import { basename, resolve } from 'node:path'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parse } from 'csv-parse'
import { SwarmError, isSwarmError, toSwarmError } from '../../runtime/errors.js'
import type { Target } from '../define.js'
import { makeDataset } from './dataset.js'
import type { Dataset, Feature, SplitContent } from './dataset.js'
import { selectSamples, splitFraction } from './order.js'
import type { CsvOptions } from './references.js'

/** More different labels than this are taken for numbers that nobody declared continuous. */
const MAX_CLASSES = 1_000

/** The rows of a file as numbers; class labels as their text, with the line that each stood in. */
interface Table {
  readonly file: string
  readonly features: readonly string[]
  readonly samples: Float32Array
  /** Row-major. */
  readonly numbers: Float32Array
  readonly texts: readonly string[]
  readonly lines: readonly number[]
}

/**
 * Opens a CSV file as a data set.
 * @throws `dataset.missing` no such file; `dataset.invalid` naming file, line and column; `aborted`
 */
export async function openCsv(
  options: CsvOptions & { readonly file: string },
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<Dataset> {
  const { file, test, seed = 0, standardise = true } = options
  const table = await readTable(resolve(file), options, signal)
  const other = typeof test === 'string' ? await readTable(resolve(test), { ...options, features: table.features }, signal) : undefined
  const isContinuous = options.target === 'continuous'
  const classNames = isContinuous ? undefined : classesOf(table, options.classes)
  const labelSize = isContinuous ? labelColumns(options).length : 1
  const contentOf = (rows: Table): SplitContent => ({
    samples: rows.samples,
    labels: classNames ? numberClasses(rows, classNames) : rows.numbers,
  })
  const splits = { train: contentOf(table), ...(other && { test: contentOf(other) }) }
  if (typeof test === 'number') {
    const sizes = { sampleSize: table.features.length, labelSize }
    const { rest, part } = splitFraction(table.lines.length, test, seed, 'test', file)
    const all = { ...splits.train, ...sizes }
    Object.assign(splits, { train: selectSamples(all, rest), test: selectSamples(all, part) })
  }
  const features = measure(table.features, splits.train.samples as Float32Array, standardise)
  for (const { samples } of Object.values(splits)) applyFeatures(samples as Float32Array, features)
  const target: Target = classNames ? { kind: 'categorical', classes: classNames.length } : { kind: 'continuous', size: labelSize }
  return makeDataset({ id: basename(file), input: [features.length], target, features, ...(classNames && { classNames }) }, splits)
}

/** Mean and deviation (of the population) of each column, in row order and float64; 0 and 1 if nothing is to change. */
function measure(names: readonly string[], samples: Float32Array, standardise: boolean): Feature[] {
  const width = names.length
  const size = samples.length / width
  return names.map((name, column) => {
    if (!standardise) return { name, mean: 0, deviation: 1 }
    let sum = 0
    for (let at = column; at < samples.length; at += width) sum += samples[at]
    const mean = sum / size
    let squares = 0
    for (let at = column; at < samples.length; at += width) squares += (samples[at] - mean) * (samples[at] - mean)
    const deviation = Math.sqrt(squares / size)
    return { name, mean, deviation: deviation > 0 ? deviation : 1 } // a constant column becomes 0
  })
}

function applyFeatures(samples: Float32Array, features: readonly Feature[]): void {
  for (let at = 0; at < samples.length; at += features.length) {
    for (let k = 0; k < features.length; k++) samples[at + k] = (samples[at + k] - features[k].mean) / features[k].deviation
  }
}

/** The classes in order: as given, or as found: numbers by size, anything else by UTF-16 code unit. */
function classesOf({ file, texts }: Table, given?: readonly string[]): readonly string[] {
  const refuse = (what: string, expected: string, got: string | number, fix?: string) => {
    throw new SwarmError('dataset.invalid', { what, where: file, expected, got, fix })
  }
  if (given) {
    if (given.length < 2 || new Set(given).size !== given.length)
      refuse('option `classes`', 'two or more different names', given.join(', '))
    return given
  }
  const found = [...new Set(texts)]
  if (found.length < 2) refuse('too few classes', '2 or more different labels', found.length)
  if (found.length > MAX_CLASSES)
    refuse('too many classes', `at most ${MAX_CLASSES}`, found.length, "Set target: 'continuous' if the labels are numbers")
  const isNumeric = found.every((text) => Number.isFinite(Number(text)))
  return found.sort((a, b) => (isNumeric && Number(a) !== Number(b) ? Number(a) - Number(b) : a < b ? -1 : 1))
}

function numberClasses({ file, texts, lines }: Table, classNames: readonly string[]): Int32Array {
  const numbers = new Map(classNames.map((name, i) => [name, i]))
  return Int32Array.from(texts, (text, row) => {
    const number = numbers.get(text)
    if (number !== undefined) return number
    throw new SwarmError('dataset.invalid', {
      what: 'unknown class',
      where: `${file}:${lines[row]}`,
      expected: `one of ${classNames.slice(0, 20).join(', ')}`,
      got: `'${text}'`,
    })
  })
}

async function readTable(file: string, options: CsvOptions, signal?: AbortSignal): Promise<Table> {
  const rows = new Rows(file, options)
  const parser = parse({
    bom: true,
    trim: true,
    delimiter: options.delimiter ?? ',',
    relax_column_count: true, // told by `Rows`, which names the line and the columns
    skip_empty_lines: true,
    on_record: (record: string[], { lines }) => {
      rows.add(record, lines)
      return null // kept as numbers; nothing is handed on
    },
  })
  const nowhere = new Writable({ objectMode: true, write: (_record, _encoding, done) => done() })
  try {
    await pipeline(createReadStream(file), parser, nowhere, { signal })
  } catch (error) {
    if (isSwarmError(error)) throw error
    if (signal?.aborted) throw new SwarmError('aborted', { what: 'reading a data set was aborted', where: file, cause: error })
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new SwarmError('dataset.missing', {
        what: 'no such file',
        where: file,
        fix: 'Give the path of a CSV file, relative to the working directory',
        cause: error,
      })
    }
    throw toSwarmError(error, 'dataset.invalid', `cannot read ${file}`)
  }
  return rows.table()
}

function labelColumns({ label }: CsvOptions): readonly string[] {
  return typeof label === 'string' ? [label] : label
}

/** Collects records: the first one names the columns, the others become numbers. */
class Rows {
  readonly #file: string
  readonly #options: CsvOptions
  readonly #texts: string[] = []
  readonly #lines: number[] = []
  #header: readonly string[] = []
  #featureColumns: readonly number[] = []
  #labelColumns: readonly number[] = []
  #samples = new Float32Array(1024)
  #numbers = new Float32Array(64)

  constructor(file: string, options: CsvOptions) {
    this.#file = file
    this.#options = options
  }

  add(record: readonly string[], line: number): void {
    if (this.#header.length === 0) return this.#readHeader(record, line)
    if (record.length !== this.#header.length)
      throw this.#invalid('a row of another length', line, undefined, `${this.#header.length} cells`, record.length)
    const row = this.#lines.push(line) - 1
    const width = this.#featureColumns.length
    this.#samples = grow(this.#samples, (row + 1) * width)
    this.#featureColumns.forEach((column, k) => (this.#samples[row * width + k] = this.#number(record, column, line)))
    if (this.#options.target === 'continuous') {
      const labels = this.#labelColumns.length
      this.#numbers = grow(this.#numbers, (row + 1) * labels)
      this.#labelColumns.forEach((column, k) => (this.#numbers[row * labels + k] = this.#number(record, column, line)))
    } else {
      const [column] = this.#labelColumns
      if (record[column] === '') throw this.#invalid('an empty label', line, column)
      this.#texts.push(record[column])
    }
  }

  table(): Table {
    const size = this.#lines.length
    if (size === 0) throw this.#invalid(this.#header.length === 0 ? 'an empty file' : 'no rows after the column names', 1)
    const features = this.#featureColumns.map((column) => this.#header[column])
    return {
      file: this.#file,
      features,
      samples: this.#samples.slice(0, size * features.length),
      numbers: this.#options.target === 'continuous' ? this.#numbers.slice(0, size * this.#labelColumns.length) : new Float32Array(0),
      texts: this.#texts,
      lines: this.#lines,
    }
  }

  #readHeader(record: readonly string[], line: number): void {
    const repeated = record.findIndex((name, i) => record.indexOf(name) !== i)
    if (repeated >= 0) throw this.#invalid('two columns of one name', line, repeated, undefined, `'${record[repeated]}'`)
    const labels = labelColumns(this.#options)
    if (labels.length === 0 || (labels.length > 1 && this.#options.target !== 'continuous')) {
      throw this.#invalid('option `label`', line, undefined, 'one column, or several for a continuous target', labels.length)
    }
    const find = (name: string) => {
      const column = record.indexOf(name)
      if (column < 0) throw this.#invalid('a missing column', line, undefined, `'${name}'`, record.join(', '))
      return column
    }
    this.#labelColumns = labels.map(find)
    this.#featureColumns =
      this.#options.features?.map(find) ?? record.map((_, column) => column).filter((column) => !this.#labelColumns.includes(column))
    if (this.#featureColumns.length === 0) throw this.#invalid('no input columns', line)
    const both = this.#featureColumns.find((column) => this.#labelColumns.includes(column))
    if (both !== undefined) throw this.#invalid('a column is both input and label', line, both)
    this.#header = record
  }

  #number(record: readonly string[], column: number, line: number): number {
    const text = record[column]
    const number = text === '' ? Number.NaN : Math.fround(Number(text))
    if (!Number.isFinite(number)) throw this.#invalid('not a number', line, column, undefined, `'${text}'`)
    return number
  }

  #invalid(what: string, line: number, column?: number, expected?: string, got?: string | number): SwarmError {
    const name = column === undefined ? '' : `, column ${column + 1}${this.#header[column] ? ` '${this.#header[column]}'` : ''}`
    return new SwarmError('dataset.invalid', { what, where: `${this.#file}:${line}${name}`, expected, got })
  }
}

function grow(values: Float32Array<ArrayBuffer>, length: number): Float32Array<ArrayBuffer> {
  if (length <= values.length) return values
  const larger = new Float32Array(Math.max(length, values.length * 2))
  larger.set(values)
  return larger
}
