/** A whole cluster for a benchmark: servers and control host in one process, each PNode in one of its own, over Dapr, NATS and MinIO. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cluster, type Cluster } from '../../actors/cluster.js'
import { createHostKey, type HostKey } from '../../runtime/tensor-bus/nats-authority.js'
import type { HostOrders } from './cluster-host.js'
import type { Counted } from './cluster-proxy.js'

/** A PNode's process. */
export interface HostChild {
  readonly name: string
  readonly app: ChildProcess
  /** Process id of its daprd. */
  readonly daprd: number
}

export interface BenchClusterOptions {
  readonly pnodes: number
  /** Hosts reach the broker through a proxy that counts bytes. */
  readonly isCounted?: boolean
  /** Workers can be held by files (`holdFileOf`). */
  readonly isHeld?: boolean
}

export class BenchCluster {
  readonly folder: string
  readonly on: Cluster
  readonly hosts = new Map<string, HostChild>()
  readonly #control: ChildProcess
  readonly #pids: { readonly [server: string]: number }
  readonly #orders: Omit<HostOrders, 'name' | 'key' | 'folder'>
  readonly #keys = new Map<string, HostKey>()
  readonly #isHeld: boolean

  constructor(folder: string, control: ChildProcess, { url, trainerToken, joinToken, pids }: ControlAnswer, isHeld: boolean) {
    this.folder = folder
    this.#control = control
    this.on = cluster(url, { token: trainerToken })
    this.#orders = { url, token: joinToken }
    this.#pids = pids
    this.#isHeld = isHeld
  }

  /** Process ids by what they are. */
  get processes(): { readonly [name: string]: number } {
    const hosts = [...this.hosts.values()].flatMap(({ name, app, daprd }) => [
      [name, app.pid!],
      [`${name}/daprd`, daprd],
    ])
    return { control: this.#control.pid!, ...this.#pids, ...Object.fromEntries(hosts) }
  }

  /** While this file exists, the worker of that PNode stops before each step. */
  holdFileOf(name: string): string {
    return join(this.folder, `${name}.hold`)
  }

  /** Starts the process of a PNode; resolves when it has joined. The same name again: the same machine, come back. */
  async addHost(name: string): Promise<HostChild> {
    const key = this.#keys.get(name) ?? createHostKey()
    this.#keys.set(name, key)
    const app = fork(new URL('./cluster-host.js', import.meta.url), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    const orders: HostOrders = {
      ...this.#orders,
      name,
      key,
      folder: join(this.folder, name),
      ...(this.#isHeld && { holdFile: this.holdFileOf(name) }),
    }
    app.send(orders)
    const { daprd } = await answer<{ daprd: number }>(app, name)
    const host = { name, app, daprd }
    this.hosts.set(name, host)
    return host
  }

  /** Bytes so far between hosts and broker, by connection. */
  async counted(): Promise<{ readonly [name: string]: Counted }> {
    const told = answer<{ counted: { readonly [name: string]: Counted } }>(this.#control, 'control')
    this.#control.send('count')
    return (await told).counted
  }

  async stop(): Promise<void> {
    await Promise.all([...this.hosts.values()].map(({ app }) => ended(app)))
    await ended(this.#control)
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

interface ControlAnswer {
  readonly url: string
  readonly trainerToken: string
  readonly joinToken: string
  readonly pids: { readonly [server: string]: number }
}

export async function benchCluster({ pnodes, isCounted = false, isHeld = false }: BenchClusterOptions): Promise<BenchCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))
  const control = fork(new URL('./cluster-control.js', import.meta.url), [folder, isCounted ? 'counted' : ''], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const remove = () => rm(folder, { recursive: true, force: true, maxRetries: 5 })
  const told = await answer<ControlAnswer>(control, 'control').catch(async (error: unknown) => {
    await remove()
    throw error
  })
  const made = new BenchCluster(folder, control, told, isHeld)
  try {
    await Promise.all(Array.from({ length: pnodes }, (_, i) => made.addHost(`pnode-${i + 1}`)))
    return made
  } catch (error) {
    await made.stop()
    throw error
  }
}

/** The next message of a child. @throws if it ends before */
async function answer<T>(child: ChildProcess, name: string): Promise<T> {
  const over = new AbortController()
  const exit = once(child, 'exit', { signal: over.signal }).then(([code, signal]) => {
    throw new Error(`${name} ended with ${signal ?? code}`)
  })
  exit.catch(() => {})
  try {
    const [message] = (await Promise.race([once(child, 'message', { signal: over.signal }), exit])) as [T]
    return message
  } finally {
    over.abort()
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.send('stop')
  await exit
}
