/** A report with what has to be known to read it: when, on what, with which versions; as JSON in one line. */
import { cpus, loadavg, totalmem } from 'node:os'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { SwarmError } from '../runtime/errors.js'
import { type Curves, type Report, rounded } from './measure.js'

const VERSION = 2

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGB: number
  /** Operating system and processor, as Node calls them. */
  readonly platform: string
  /** Processes that wanted a core in the minute before it began: what the machine did besides. */
  readonly load: number
}

/** One benchmark, measured once. */
export interface Measured extends Report {
  readonly v: typeof VERSION
  readonly type: 'benchmark'
  readonly name: string
  /** What was typed behind `npm run bench --`. */
  readonly command: string
  /** ISO 8601, UTC, when it began. */
  readonly date: string
  readonly machine: Machine
  readonly versions: { readonly node: string; readonly swarmgrad: string; readonly tfjs: string }
}

const packageFile = fileURLToPath(new URL('../../package.json', import.meta.url))

/** Runs a benchmark. Figures have four digits, curves all that they came with. */
export async function measured(name: string, command: string, run: () => Promise<Report>): Promise<Measured> {
  const { version, dependencies } = JSON.parse(readFileSync(packageFile, 'utf8')) as {
    version: string
    dependencies: { [name: string]: string }
  }
  const date = new Date().toISOString()
  const machine = {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    load: loadavg()[0],
  }
  const { figures, bars, curves } = await run()
  const versions = { node: process.version, swarmgrad: version, tfjs: dependencies['@tensorflow/tfjs-core'] }
  const report: { figures: Report['figures']; bars: Report['bars']; curves?: Curves } = rounded({ figures, bars })
  if (curves) report.curves = curves
  return { v: VERSION, type: 'benchmark', name, command, date, machine: rounded(machine), versions, ...report }
}

/** What `--json` has written: a line for each benchmark. @throws `usage` if it is something else */
export function parseMeasured(text: string, where: string): Measured[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      let parsed: Partial<Measured> | undefined
      try {
        parsed = JSON.parse(line) as Partial<Measured>
      } catch {
        // Told below: it is no report either.
      }
      if (parsed?.type === 'benchmark' && parsed.v === VERSION) return parsed as Measured
      const expected = `lines of npm run bench -- NAME --json, version ${VERSION}`
      throw new SwarmError('usage', { what: 'no report of a benchmark', where, expected, got: line.slice(0, 60) })
    })
}
