/** A whole cluster on this machine: servers, a control host, PNodes, each a process of its own that is started again when it dies. */
import { totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ClusterServers, startClusterServers } from '../../actors/control/cluster-servers.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { freePort, type ServerProcess } from '../../runtime/services/index.js'
import { isFree } from '../../runtime/services/ports.js'
import { startServer } from '../../runtime/services/server-process.js'
import { keepRunning } from './keep-running.js'
import type { Reporter } from './reporter.js'

export interface LocalClusterOptions {
  /** The same folder again: the same cluster, with its runs. */
  readonly folder: string
  readonly hostIp: string
  /** Of the control host. */
  readonly port: number
  readonly pnodes: number
  /** Words that its control host is started with, besides those that say where everything is. */
  readonly control: { readonly [flag: string]: string }
  readonly report: Reporter
  readonly signal: AbortSignal
}

/** One process of the cluster. */
export interface Part {
  readonly name: string
  /** Where it answers. */
  readonly address: string
  readonly server: ServerProcess
}

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))
/** Of all PNodes together: the rest is for the servers and for other programs. */
const MEMORY_SHARE = 0.5
/** Node, Dapr and the measurement of the compute, on a machine that starts all of them at once. */
const READY_MS = 90_000
/** When everything ends there is nobody to hand over to. */
const LEAVE_WITHIN_S = 1
/** For leaving, and for daprd to end. */
const HOST_GRACE_MS = 12_000

export class LocalCluster {
  readonly url: string
  readonly #options: LocalClusterOptions
  readonly #parts: Part[] = []
  readonly #keepers: (() => Promise<void>)[] = []

  constructor(options: LocalClusterOptions) {
    this.#options = options
    this.url = `http://${hostPort(options.hostIp, options.port)}`
  }

  /** In the order of their start. */
  get parts(): readonly Part[] {
    return this.#parts
  }

  /** Starts everything; if that fails, what has been started is to be stopped. @throws `port.taken`, `service.missing`, `service.failed`, `aborted` */
  async start(): Promise<void> {
    const { folder, hostIp, port, signal, pnodes } = this.#options
    if (!(await isFree(port, hostIp))) {
      const fix = 'Choose another with --port; if it is a cluster of yours: swarmgrad down'
      throw new SwarmError('port.taken', { what: 'another process listens where control would', where: hostPort(hostIp, port), fix })
    }
    const servers = await startClusterServers({ folder, hostIp, clock: systemClock, signal })
    for (const [name, server] of Object.entries(servers.servers)) {
      this.#keep({ name, address: hostPort(hostIp, server.ports[NAMED_PORT[name as keyof typeof NAMED_PORT]]), server })
    }
    this.#keep(await this.#startControl(servers))
    const names = Array.from({ length: pnodes }, (_, i) => `pnode-${i + 1}`)
    const started = await Promise.allSettled(names.map(async (name) => this.#keep(await this.#startHost(name))))
    for (const each of started) if (each.status === 'rejected') throw each.reason
    this.#parts.sort((a, b) => orderOf(a.name) - orderOf(b.name) || a.name.localeCompare(b.name, 'en', { numeric: true }))
  }

  /** PNodes leave, then control, then the servers. Runs that are under way go on when the cluster is back. */
  async stop(): Promise<void> {
    // First, so that nothing is started again.
    await Promise.all(this.#keepers.map((end) => end()))
    const stop = (fits: (order: number) => boolean, graceMs?: number) =>
      Promise.all(this.#parts.filter(({ name }) => fits(orderOf(name))).map(({ server }) => server.stop(graceMs)))
    await stop((order) => order === PNODE, HOST_GRACE_MS)
    await stop((order) => order === CONTROL, HOST_GRACE_MS)
    await stop((order) => order < CONTROL)
  }

  /** Everything at once. Sidecars end with the processes that started them. */
  kill(): void {
    for (const { server } of this.#parts) void server.kill()
  }

  #keep(part: Part): void {
    const { report, signal } = this.#options
    const { name, server } = part
    this.#parts.push(part)
    report.event('started', `${name} is process ${server.pid}, at ${part.address}`, { name, pid: server.pid, address: part.address })
    if (signal.aborted) return
    const end = keepRunning(server, {
      clock: systemClock,
      onDown: ({ code, signal: killer }) =>
        report.event('down', `${name} ended (${killer ?? `status ${code}`}): it is started again`, { name, code, signal: killer }),
      onUp: (downMs) => report.event('up', `${name} is process ${server.pid} again`, { name, pid: server.pid, downMs: Math.round(downMs) }),
      onError: (error) => report.warn(error),
    })
    this.#keepers.push(end)
  }

  async #startControl({ store, broker, placement, scheduler }: ClusterServers): Promise<Part> {
    const { folder, hostIp, port, signal } = this.#options
    const words = {
      ...this.#options.control,
      listen: hostPort(hostIp, port),
      'host-ip': hostIp,
      'store-endpoint': store.endpoint,
      'store-bucket': store.bucket,
      broker,
      placement,
      scheduler,
      folder: join(folder, 'control'),
    }
    const environment = { SWARMGRAD_STORE_ACCESS_KEY: store.accessKey, SWARMGRAD_STORE_SECRET_KEY: store.secretKey }
    const server = await startServer({
      name: 'control',
      program: process.execPath,
      folder: join(folder, 'control'),
      host: hostIp,
      ports: { api: port },
      command: () => ({ args: commandOf(['control'], words), environment: { ...ownEnvironment(), ...environment } }),
      isReady: async (_ports, until) => (await fetch(`${this.url}/health`, { signal: until })).ok,
      readyTimeoutMs: READY_MS,
      stopGraceMs: HOST_GRACE_MS,
      signal,
    })
    return { name: 'control', address: this.url, server }
  }

  async #startHost(name: string): Promise<Part> {
    const { folder, hostIp, pnodes, signal } = this.#options
    const own = join(folder, 'pnodes', name)
    const memoryBytes = Math.floor((totalmem() * MEMORY_SHARE) / pnodes)
    // Drawn here, since it is asked for by a word of the command.
    const local = await freePort()
    const words = {
      name,
      folder: own,
      'host-ip': hostIp,
      'max-memory': String(memoryBytes),
      'leave-within': String(LEAVE_WITHIN_S),
      'local-port': String(local),
    }
    const server = await startServer({
      name,
      program: process.execPath,
      folder: own,
      ports: { local },
      command: () => ({ args: commandOf(['host', this.url, '--yes'], words), environment: ownEnvironment() }),
      isReady: async (_ports, until) => (await fetch(`http://127.0.0.1:${local}/health`, { signal: until })).ok,
      readyTimeoutMs: READY_MS,
      stopGraceMs: HOST_GRACE_MS,
      signal,
    })
    return { name, address: `http://127.0.0.1:${local}`, server }
  }
}

const NAMED_PORT = { minio: 'api', nats: 'client', placement: 'api', scheduler: 'api' } as const
const CONTROL = Object.keys(NAMED_PORT).length
const PNODE = CONTROL + 1

function orderOf(name: string): number {
  const server = Object.keys(NAMED_PORT).indexOf(name)
  return server >= 0 ? server : name === 'control' ? CONTROL : PNODE
}

function commandOf(words: readonly string[], flags: { readonly [name: string]: string }): string[] {
  const named = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])
  return [...process.execArgv, MAIN, ...words, '--json', ...named]
}

/** Without what was meant for this process alone: its settings, its token, its sidecar. */
function ownEnvironment(): { readonly [name: string]: string } {
  const kept = /^SWARMGRAD_(SERVICES|CONFIG)$/
  const isMeantForUs = (name: string) => (name.startsWith('SWARMGRAD_') && !kept.test(name)) || /^(DAPR_|APP_)/.test(name)
  const entries = Object.entries(process.env).filter(([name, value]) => value !== undefined && !isMeantForUs(name))
  return Object.fromEntries(entries) as { readonly [name: string]: string }
}

const hostPort = (host: string, port: number): string => `${host.includes(':') ? `[${host}]` : host}:${port}`
