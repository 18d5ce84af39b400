/** Measuring as ratios: the things compared run in turn, each in a process of its own, and the ratio is taken pair by pair. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** One number per name, as a child prints it. */
export type Figures = { readonly [name: string]: number }

/** Runs a compiled child script and returns the JSON object that it prints last. @throws if it fails */
export function measure(script: string, ...args: readonly string[]): Promise<Figures> {
  return measureWith([], script, ...args)
}

/** The same, with flags of Node. */
export async function measureWith(flags: readonly string[], script: string, ...args: readonly string[]): Promise<Figures> {
  const { status, lastLine } = await printedBy(process.execPath, [...flags, childPath(script), ...args])
  if (status === 0) return JSON.parse(lastLine) as Figures
  throw new Error(`${script} ${args.join(' ')} ended with ${status}: ${lastLine}`)
}

/** Where the compiled script of a child is. */
export const childPath = (script: string): string => fileURLToPath(new URL(`./children/${script}.js`, import.meta.url))

/** How a program ended, and what it printed last. */
export interface Printed {
  /** Null: a signal ended it. */
  readonly status: number | null
  readonly lastLine: string
}

/** Runs a program to its end. @throws if it cannot be started */
export function printedBy(program: string, args: readonly string[]): Promise<Printed> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, lastLine: output.trimEnd().split('\n').at(-1) ?? '' }))
  })
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** The smallest value that at least the share `q` of all values does not exceed. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))]
}

/** A ratio over several pairs. */
export interface Ratio {
  readonly median: number
  readonly smallest: number
  readonly largest: number
}

export function ratio(over: readonly number[], under: readonly number[]): Ratio {
  const each = over.map((value, i) => value / under[i])
  return { median: median(each), smallest: Math.min(...each), largest: Math.max(...each) }
}

/** What a straight line through the points says at `x`, by least squares. */
export function lineAt(x: number, xs: readonly number[], ys: readonly number[]): number {
  const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length
  const [meanX, meanY] = [mean(xs), mean(ys)]
  const spread = mean(xs.map((each) => (each - meanX) ** 2))
  const slope = spread > 0 ? mean(xs.map((each, i) => (each - meanX) * (ys[i] - meanY))) / spread : 0
  return meanY + slope * (x - meanX)
}

/** Rounded for people and for JSON: four significant digits. */
export function rounded<T>(value: T): T {
  if (typeof value === 'number') return Number(value.toPrecision(4)) as T
  if (Array.isArray(value)) return value.map(rounded) as T
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, rounded(member)])) as T
}

/** One evaluation of a run that learns. */
export interface CurvePoint {
  readonly epoch: number
  /** After this step. */
  readonly step: number
  readonly split: 'validation' | 'test'
  /** 0 to 1, of the split. */
  readonly accuracy?: number
  /** Nats, of the split. */
  readonly loss: number
  /** The mean over the epoch's batches, of the head that answers. */
  readonly trainingLoss?: number
}

/** By task and rule: of each seed all evaluations. */
export type Curves = { readonly [task: string]: { readonly [rule: string]: readonly (readonly CurvePoint[])[] } }

/** What a benchmark gives: figures by name, and the bars that they are held against. */
export interface Report {
  readonly curves?: Curves
  readonly figures: { readonly [name: string]: unknown }
  /** Figure by figure: at least (or at most) this much. */
  readonly bars: readonly { readonly name: string; readonly value: number; readonly atLeast?: number; readonly atMost?: number }[]
}
