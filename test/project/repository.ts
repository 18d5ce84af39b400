/** The repository as the tests of the project see it, and programs run in it. */
import { execFile } from 'node:child_process'
import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'

/** The folder of package.json; this file is in dist/test/project. */
export const repository = fileURLToPath(new URL('../../../', import.meta.url))

export interface Ended {
  /** Exit status; null: killed by the deadline. */
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Ending {
  readonly cwd: string
  readonly env?: NodeJS.ProcessEnv
  /** The program is killed after this long. */
  readonly deadlineMs: number
}

/** Runs a program to its end, without stdin; never rejects for its exit status. */
export function run(program: string, args: readonly string[], { cwd, env, deadlineMs }: Ending): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { cwd, env: { ...process.env, ...env }, timeout: deadlineMs, maxBuffer: 64e6 }
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null
      resolve({ status, stdout, stderr: error && status === null ? `${stderr}\n${error.message}` : stderr })
    })
    child.stdin?.end()
  })
}

/** The same with this Node. */
export function runNode(args: readonly string[], ending: Ending): Promise<Ended> {
  return run(process.execPath, args, ending)
}

/** What a program said, for the message of a failed assertion. */
export function said({ status, stdout, stderr }: Ended): string {
  return `exit status ${status}\n${stdout}\n${stderr}`
}

/** A new folder that is gone after the test. */
export async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'swarmgrad-project-')))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}
