/** What becomes of a report: lines for people, JSON, Markdown, files. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { SwarmError } from '../runtime/errors.js'
import { plotsOf } from './curves.js'
import { isMet, markdown } from './markdown.js'
import { rounded } from './measure.js'
import { type Measured, parseMeasured } from './measured.js'

export interface OutputOptions {
  /** A line of JSON instead of lines for people. */
  readonly json: boolean
  /** Markdown instead. */
  readonly markdown: boolean
  /** A folder for NAME.json and NAME.md. */
  readonly out?: string
  /** A document in which it takes the place of what the same command gave before. */
  readonly into?: string
  /** A folder for TASK.svg of each task that was learnt. */
  readonly plots?: string
}

export async function write(measured: Measured, options: OutputOptions): Promise<void> {
  const plots = options.plots === undefined ? [] : await writePlots(measured, options.plots)
  const line = `${JSON.stringify(measured)}\n`
  if (options.out !== undefined) {
    await mkdir(options.out, { recursive: true })
    await writeFile(join(options.out, `${measured.name}.json`), line)
    await writeFile(join(options.out, `${measured.name}.md`), markdown(measured, linksTo(plots, options.out)))
  }
  process.stdout.write(options.json ? line : options.markdown ? markdown(measured, linksTo(plots, '.')) : lines(measured))
  if (options.into === undefined) return
  const text = markdown(measured, linksTo(plots, dirname(options.into)))
  await writeFile(options.into, replaced(await readFile(options.into, 'utf8'), measured.command, text, options.into))
}

/** Whether there is a place for the report: to be asked before hours are spent. @throws `usage` */
export async function checkPlace(command: string, { into }: OutputOptions): Promise<void> {
  if (into !== undefined) replaced(await readFile(into, 'utf8'), command, '', into)
}

/** The same for what has been measured before. @throws `usage` if a file is none of `--json` */
export async function rewrite(files: readonly string[], options: OutputOptions): Promise<void> {
  for (const file of files) for (const measured of parseMeasured(await readFile(file, 'utf8'), file)) await write(measured, options)
}

/** A document with `text` between the two comments that name the command. @throws `usage` if they are not there */
export function replaced(document: string, command: string, text: string, where: string): string {
  const [begin, end] = [`<!-- bench: ${command} -->`, `<!-- end of bench: ${command} -->`]
  const [from, to] = [document.indexOf(begin), document.indexOf(end)]
  if (from < 0 || to < from) throw new SwarmError('usage', { what: 'no place for the report', where, expected: `${begin} … ${end}` })
  return `${document.slice(0, from + begin.length)}\n\n${text}\n${document.slice(to)}`
}

async function writePlots({ curves }: Measured, folder: string): Promise<string[]> {
  if (curves === undefined) return []
  await mkdir(folder, { recursive: true })
  const files: string[] = []
  for (const [task, svg] of Object.entries(plotsOf(curves))) {
    files.push(join(folder, `${task}.svg`))
    await writeFile(files.at(-1)!, svg)
  }
  return files
}

const linksTo = (files: readonly string[], folder: string): string[] => files.map((file) => relative(folder, file).split(sep).join('/'))

function lines({ name, versions, machine, figures, bars }: Measured): string {
  return [
    `${name} (Node ${versions.node}, ${machine.cores} cores)`,
    ...Object.entries(figures).map(([figure, value]) => `  ${figure.padEnd(28)} ${JSON.stringify(rounded(value))}`),
    ...bars.map((bar) => {
      const { name: what, value, atLeast, atMost } = bar
      return `  ${isMet(bar) ? '✔' : '✘'} ${what} ${value} ${atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`}`
    }),
    '',
  ].join('\n')
}
