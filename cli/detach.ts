/** The same command again, in the background: with JSON lines in a file of the store, which say when the run exists. */
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { systemClock } from '../runtime/clock.js'
import { SwarmError } from '../runtime/errors.js'
import type { CommandContext } from './command.js'
import { EXIT, type ExitStatus } from './exit.js'

/** How often the file is read, in ms. */
const POLL_MS = 100

/** Starts this command without `--detach`; resolves when its run exists. @throws what the other process reported */
export async function detach({ store, output }: CommandContext): Promise<ExitStatus> {
  const folder = join(resolve(store), '@log')
  mkdirSync(folder, { recursive: true })
  const log = join(folder, `${new Date().toISOString().replaceAll(/[:.]/g, '-')}-${process.pid}.jsonl`)
  const words = process.argv.slice(2).filter((word) => word !== '--detach' && word !== '--quiet' && word !== '--json')
  const file = openSync(log, 'a')
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1], ...words, '--json'], {
    detached: true,
    stdio: ['ignore', file, file],
    env: { ...process.env, SWARMGRAD_QUIET: '' },
  })
  closeSync(file)
  let ended = false
  child.once('exit', () => (ended = true))
  child.once('error', () => (ended = true))
  for (;;) {
    // What was written before the end is read after it is known.
    const isLast = ended
    for (const record of readRecords(log)) {
      if (record.type === 'error') {
        rmSync(log, { force: true })
        throw new SwarmError(record.code, { what: record.message, retryable: record.retryable })
      }
      if (record.run === undefined) continue
      child.unref()
      output.record({ type: 'detached', run: record.run, pid: child.pid, log })
      output.result(record.run)
      output.note(`goes on as process ${child.pid}; watch it with: swarmgrad events ${record.run} --follow`)
      return EXIT.done
    }
    if (isLast) throw new SwarmError('run.failed', { what: 'the process in the background ended before its run began', where: log })
    await systemClock.sleep(POLL_MS)
  }
}

interface LogRecord {
  readonly type: string
  readonly run?: string
  readonly code: SwarmError['code']
  readonly message: string
  readonly retryable: boolean
}

/** Whole lines only; what is no JSON (a warning of Node) is not ours. */
function readRecords(log: string): LogRecord[] {
  const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1)
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as LogRecord)
}
