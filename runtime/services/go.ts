/** The Go toolchain, which builds servers that nobody ships for download. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { SwarmError } from '../errors.js'
import { unwatch, watch } from './watchdog.js'

/** The oldest Go that builds all of them. */
export const GO_VERSION = [1, 26] as const

/** Of what Go said, in an error. */
const ERROR_LINES = 6

export interface GoOptions {
  /** Working folder. */
  readonly folder: string
  readonly environment?: { readonly [name: string]: string }
  readonly signal?: AbortSignal
}

/** Resolves if Go is there and new enough. @throws `service.missing` */
export async function requireGo(what: string): Promise<void> {
  const [major, minor] = GO_VERSION
  let got = 'no go command'
  try {
    const { stdout } = await promisify(execFile)('go', ['version'])
    got = /go(\d+\.\d+\S*)/.exec(stdout)?.[1] ?? stdout.trim()
    const [hasMajor = 0, hasMinor = 0] = got.split('.').map((part) => Number.parseInt(part, 10))
    if (hasMajor > major || (hasMajor === major && hasMinor >= minor)) return
  } catch {
    // Not there: said below.
  }
  throw new SwarmError('service.missing', {
    what: `${what} must be built`,
    expected: `Go ${major}.${minor} or newer`,
    got,
    fix: `Install Go from https://go.dev/dl, or run 'dapr init --slim' for Dapr and put nats-server and minio into PATH`,
  })
}

/** Runs `go` with these arguments; resolves to its standard output. @throws `service.failed` with the end of what it said; `aborted` */
export async function runGo(args: readonly string[], { folder, environment = {}, signal }: GoOptions): Promise<string> {
  if (signal?.aborted) throw aborted(signal)
  // A workspace around us must not mix in.
  const env = { ...process.env, GOWORK: 'off', ...environment }
  const child = spawn('go', args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'], detached: process.platform !== 'win32' })
  const said = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text))
  const closed = once(child, 'close')
  const { pid } = child
  const end = () => endGroup(pid)
  if (pid !== undefined) watch(pid)
  signal?.addEventListener('abort', end, { once: true })
  try {
    const [code] = (await closed) as [number | null]
    if (code === 0) return said.stdout
  } catch (cause) {
    throw new SwarmError('service.missing', { what: 'cannot run go', got: (cause as Error).message, cause })
  } finally {
    signal?.removeEventListener('abort', end)
    if (pid !== undefined) unwatch(pid)
  }
  if (signal?.aborted) throw aborted(signal)
  const lines = (said.stderr.trim() || said.stdout.trim()).split('\n').slice(-ERROR_LINES)
  throw new SwarmError('service.failed', { what: `go ${args[0]} failed`, got: lines.join('; ') || 'nothing', retryable: true })
}

function aborted({ reason }: AbortSignal): SwarmError {
  return new SwarmError('aborted', { what: 'the build was aborted', cause: reason })
}

/** Go and the compilers that it started. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, 'SIGKILL')
  } catch {
    // Ended by itself.
  }
}
