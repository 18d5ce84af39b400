/** A server program as a process of ours: started until it is ready, stopped, killed, started again, never left behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { close, open, readFile } from 'node:fs'
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '../clock.js'
import { isSwarmError, SwarmError } from '../errors.js'
import { freePort, isFree } from './ports.js'
import { unwatch, watch } from './watchdog.js'

/** Ports by what they are for. */
export type Ports<Name extends string> = { readonly [name in Name]: number }

/** How a server is started, and how one sees that it serves. */
export interface ServerSpec<Port extends string> {
  /** Of the log, and in messages. */
  readonly name: string
  /** Path of the program. */
  readonly program: string
  /** Of this server alone: its log, and whatever it keeps. Made if it is missing. */
  readonly folder: string
  /** Where it listens; only to see whether a port is free. */
  readonly host?: string
  /** Numbers, or undefined for any free one. */
  readonly ports: { readonly [name in Port]: number | undefined }
  /** Any free ones that are drawn anew at each start: nobody is to find them where they were. */
  readonly passingPorts?: readonly NoInfer<Port>[]
  command(ports: Ports<Port>): { readonly args: readonly string[]; readonly environment?: Environment }
  /** Asked again and again until it answers true; a rejection counts as false. */
  isReady(ports: Ports<Port>, signal: AbortSignal): Promise<boolean>
  /** Default 30 s: MinIO and etcd write their folders first, on slow disks too. */
  readonly readyTimeoutMs?: number
  /** Between SIGTERM and SIGKILL. Default 10 s. */
  readonly stopGraceMs?: number
  readonly signal?: AbortSignal
}

export type Environment = { readonly [name: string]: string }

/** How a process ended. */
export interface ServerExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A server that was ready once. Over a kill and a restart it keeps its folder and, but for passing ones, its ports. */
export interface ServerProcess<Port extends string = string> {
  readonly name: string
  readonly program: string
  readonly folder: string
  readonly logFile: string
  readonly ports: Ports<Port>
  /** Of the present process, or of the last one. */
  readonly pid: number
  readonly isRunning: boolean
  /** Resolves when the present process ends, for whatever reason. */
  readonly exited: Promise<ServerExit>
  /** Sends a signal, SIGKILL unless told otherwise. After SIGKILL it resolves when the process has ended, else at once. */
  kill(signal?: NodeJS.Signals): Promise<void>
  /** SIGTERM, and SIGKILL after `graceMs` (default: what suits the server). Resolves when the process has ended; does nothing if it has. */
  stop(graceMs?: number): Promise<void>
  /** Stops it if it runs, starts it again and waits until it is ready. @throws `port.taken`, `service.failed`, `aborted` */
  restart(): Promise<void>
}

const READY_TIMEOUT_MS = 30_000
/** Between two looks whether it is ready: short against the second that the quickest server takes. */
const READY_POLL_MS = 25
/** A single look may hang on a server that is half up. */
const READY_LOOK_MS = 2_000
const STOP_GRACE_MS = 10_000
/** Between drawing a port and listening on it another process may have taken it. */
const MOST_PORT_DRAWS = 3
/** Of the log, in an error. */
const LOG_LINES = 8

const running = new Set<ServerProcess>()

/** Stops all servers of this process that run. Those whose owner forgot them end with this process (watchdog.ts). */
export async function stopAll(graceMs?: number): Promise<void> {
  await Promise.all(Array.from(running, (server) => server.stop(graceMs)))
}

/**
 * Starts a server and waits until it is ready.
 * @throws `port.taken` if a port that was asked for is; `service.failed` with the end of the log; `service.missing`; `aborted`
 */
export async function startServer<Port extends string>(spec: ServerSpec<Port>): Promise<ServerProcess<Port>> {
  await mkdir(spec.folder, { recursive: true })
  const names = Object.keys(spec.ports) as Port[]
  const isAnyFree = names.some((name) => spec.ports[name] === undefined)
  for (let draw = 1; ; draw++) {
    const ports = {} as { [name in Port]: number }
    for (const name of names) ports[name] = spec.ports[name] ?? (await freePort(spec.host))
    try {
      return await begin(spec, ports)
    } catch (error) {
      const isDrawn = isSwarmError(error, 'port.taken') && isAnyFree && draw < MOST_PORT_DRAWS
      if (!isDrawn) throw error
      for (const name of names) {
        const asked = spec.ports[name]
        if (asked !== undefined && !(await isFree(asked, spec.host))) throw error
      }
    }
  }
}

/** Asks by HTTP: true for any 2xx. */
export async function answersOk(url: string, signal: AbortSignal): Promise<boolean> {
  const response = await fetch(url, { signal })
  await response.body?.cancel()
  return response.ok
}

async function begin<Port extends string>(spec: ServerSpec<Port>, first: Ports<Port>): Promise<ServerProcess<Port>> {
  let ports = first
  const logFile = join(spec.folder, `${spec.name}.log`)
  const { stopGraceMs = STOP_GRACE_MS } = spec
  let current = await launch(spec, ports, logFile)
  // Stops and restarts follow one another.
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = (act: () => Promise<void>) => {
    const done = turn.then(act)
    turn = done.catch(() => {})
    return done
  }
  const halt = async (graceMs: number) => {
    current.child.kill('SIGTERM')
    const cancel = systemClock.after(graceMs, () => current.child.kill('SIGKILL'))
    await current.exited
    cancel()
  }
  const server: ServerProcess<Port> = {
    name: spec.name,
    program: spec.program,
    folder: spec.folder,
    logFile,
    get ports() {
      return ports
    },
    get pid() {
      return current.child.pid!
    },
    get isRunning() {
      return isAlive(current.child)
    },
    get exited() {
      return current.exited
    },
    async kill(signal = 'SIGKILL') {
      current.child.kill(signal)
      if (signal === 'SIGKILL') await current.exited
    },
    stop: (graceMs = stopGraceMs) => inTurn(() => halt(graceMs)),
    restart: () =>
      inTurn(async () => {
        await halt(stopGraceMs)
        for (const name of spec.passingPorts ?? []) {
          if (spec.ports[name] === undefined) ports = { ...ports, [name]: await freePort(spec.host) }
        }
        current = await launch(spec, ports, logFile)
        track()
      }),
  }
  const track = () => {
    running.add(server)
    const begun = current
    void begun.exited.then(() => {
      if (current === begun) running.delete(server)
    })
  }
  track()
  return server
}

interface Launched {
  readonly child: ChildProcess
  readonly exited: Promise<ServerExit>
}

/** One process, until it is ready; if it does not get there, it is gone when this rejects. */
async function launch<Port extends string>(spec: ServerSpec<Port>, ports: Ports<Port>, logFile: string): Promise<Launched> {
  const { name, program, folder, host, signal } = spec
  if (signal?.aborted) throw aborted(name, signal)
  for (const port of Object.values<number>(ports)) {
    if (!(await isFree(port, host))) throw portTaken(name, `${host ?? '127.0.0.1'}:${port}`)
  }
  const { args, environment = {} } = spec.command(ports)
  const logStart = await sizeOf(logFile)
  const log = await promisify(open)(logFile, 'a', 0o600)
  // Detached: Ctrl-C in a terminal reaches this process alone, which then stops its servers in the order it wants.
  const child = spawn(program, args, { cwd: folder, env: { ...inherited(), ...environment }, stdio: ['ignore', log, log], detached: true })
  const exited = new Promise<ServerExit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
    child.once('error', () => child.pid === undefined && resolve({ code: null, signal: null }))
  })
  const spawned = once(child, 'spawn')
  try {
    await spawned
  } catch (cause) {
    throw new SwarmError('service.missing', { what: `cannot start ${name}`, where: program, got: (cause as Error).message, cause })
  } finally {
    await promisify(close)(log)
  }
  const { pid } = child as { pid: number }
  watch(pid)
  void exited.then(() => unwatch(pid))
  try {
    await untilReady(spec, ports, child)
  } catch (error) {
    child.kill('SIGKILL')
    await exited
    if (signal?.aborted) throw aborted(name, signal)
    const lines = await lastLines(logFile, logStart)
    if (/address already in use|only one usage of each socket/i.test(lines)) throw portTaken(name, lines.split('\n').at(-1)!)
    const { code, signal: killedBy } = await exited
    const end = error === TIMED_OUT ? 'not ready in time' : `ended with ${killedBy ?? `status ${code}`}`
    throw new SwarmError('service.failed', {
      what: `${name} did not start: ${end}`,
      where: logFile,
      got: lines || 'an empty log',
      cause: error,
    })
  }
  return { child, exited }
}

const TIMED_OUT = new Error('not ready in time')
const ENDED = new Error('ended before it was ready')

/** @throws TIMED_OUT, ENDED, or the reason of the signal */
async function untilReady<Port extends string>(spec: ServerSpec<Port>, ports: Ports<Port>, child: ChildProcess): Promise<void> {
  const deadline = systemClock.now() + (spec.readyTimeoutMs ?? READY_TIMEOUT_MS)
  while (systemClock.now() < deadline) {
    if (!isAlive(child)) throw ENDED
    try {
      // The second look at the process: it may have ended, and something else may have answered on its port.
      if ((await spec.isReady(ports, AbortSignal.timeout(READY_LOOK_MS))) && isAlive(child)) return
    } catch {
      // Nobody listens yet.
    }
    await systemClock.sleep(READY_POLL_MS, spec.signal)
  }
  throw TIMED_OUT
}

const isAlive = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null

function aborted(name: string, signal: AbortSignal): SwarmError {
  return new SwarmError('aborted', { what: `the start of ${name} was aborted`, cause: signal.reason })
}

function portTaken(name: string, where: string): SwarmError {
  return new SwarmError('port.taken', { what: `a port of ${name} is taken`, where, fix: 'Choose another port, or none for any free one' })
}

/** Only what a program needs to run: no variable of ours may change what a server does, nor be read from its environment. */
function inherited(): Environment {
  const names = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ', 'SystemRoot', 'TEMP', 'TMP', 'USERPROFILE', 'LOCALAPPDATA']
  return Object.fromEntries(names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])))
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch {
    return 0
  }
}

/** What was logged since `start`: its last lines. */
async function lastLines(file: string, start: number): Promise<string> {
  const bytes = await promisify(readFile)(file)
  return bytes.subarray(start).toString('utf8').trimEnd().split('\n').slice(-LOG_LINES).join('\n')
}
