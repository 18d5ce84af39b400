/** The command as people start it: a process of its own, in a folder of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'

const MAIN = fileURLToPath(new URL('../../cli/main.js', import.meta.url))

/** Small enough to be trained in a second; an epoch has eight steps. */
export const TINY = `
input: [28, 28, 1]
target: { categorical: 10 }
layers:
  - flatten
  - block: [{ dense: 16 }, leakyRelu]
  - block: [{ dense: 12 }, leakyRelu]
rule: pred
data: { glyphs: { train: 1000, test: 200 } }
epochs: 3
`

/** A JSON line. */
export interface JsonLine {
  readonly v: number
  readonly type: string
  readonly [field: string]: unknown
}

export interface Ended {
  /** Exit status, or the signal that ended it. */
  readonly status: number | string | null
  readonly stdout: string
  readonly stderr: string
  /** Standard output as JSON lines. */
  readonly lines: readonly JsonLine[]
}

export interface Started {
  readonly child: ChildProcess
  /** Resolves when a line of the wanted kind was printed. */
  readonly until: (wanted: (line: JsonLine) => boolean) => Promise<JsonLine>
  readonly ended: Promise<Ended>
}

export interface StartOptions {
  readonly env?: { readonly [name: string]: string }
  readonly node?: readonly string[]
  /** Words before the command: a program that starts it. */
  readonly within?: readonly string[]
}

/** A folder with `tiny.yaml`, removed when the test ends. */
export async function folderOf(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-cli-'))
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  await writeFile(join(folder, 'tiny.yaml'), TINY)
  return folder
}

export function start(
  t: ExecutionContext,
  folder: string,
  words: readonly string[],
  { env = {}, node = [], within = [] }: StartOptions = {},
): Started {
  const own = Object.entries(process.env).filter(([name]) => !/^(SWARMGRAD_|NO_COLOR|FORCE_COLOR|NODE_)/.test(name))
  const [program, ...rest] = [...within, process.execPath, ...node, MAIN, ...words]
  const child = spawn(program, rest, {
    cwd: folder,
    // Neither the user's configuration nor that of whoever runs the tests.
    env: { ...Object.fromEntries(own), XDG_CONFIG_HOME: join(folder, 'config'), HOME: folder, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  const waiting = new Set<() => void>()
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    for (const look of waiting) look()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const ended = once(child, 'close').then(([code, signal]): Ended => {
    for (const look of waiting) look()
    return { status: (signal as string | null) ?? (code as number), stdout, stderr, lines: linesOf(stdout) }
  })
  const until = (wanted: (line: JsonLine) => boolean) =>
    new Promise<JsonLine>((resolve, reject) => {
      const look = () => {
        const line = linesOf(stdout).find(wanted)
        if (line) resolve(line)
        else if (child.exitCode !== null || child.signalCode !== null)
          reject(new Error(`${words.join(' ')} ended first: ${stdout}${stderr}`))
        else return
        waiting.delete(look)
      }
      waiting.add(look)
      look()
    })
  return { child, until, ended }
}

/** Runs a command to its end. */
export async function swarmgrad(t: ExecutionContext, folder: string, words: readonly string[], options?: StartOptions): Promise<Ended> {
  return start(t, folder, words, options).ended
}

function linesOf(stdout: string): JsonLine[] {
  const whole = stdout.slice(0, stdout.lastIndexOf('\n') + 1).split('\n')
  return whole.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as JsonLine)
}
