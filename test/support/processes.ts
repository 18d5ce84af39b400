import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'

/** A new folder, removed when the test ends. */
export async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'swarmgrad-store-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Starts `store-process.js` with these arguments. */
export function start(...args: string[]): ChildProcess {
  return fork(new URL('./store-process.js', import.meta.url), args, { execArgv: [] })
}

/** How a process ended: its exit code or signal. */
export async function ended(child: ChildProcess): Promise<number | string | null> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
  return signal ?? code
}
