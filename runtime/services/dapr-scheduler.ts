/** Dapr's scheduler: it keeps reminders (from 1.15 on) in an etcd of its own. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { DaprLogLevel } from './dapr-placement.js'
import { findProgram } from './find.js'
import { flags } from './flags.js'
import { answersOk, type Ports, type ServerProcess, startServer } from './server-process.js'

export interface SchedulerOptions {
  /** Of this server alone: its log and its etcd. */
  readonly folder: string
  /** Default: any free one. */
  readonly port?: number
  /** Where daprds reach it. Default 127.0.0.1. */
  readonly host?: string
  readonly logLevel?: DaprLogLevel
  readonly signal?: AbortSignal
}

/** A scheduler that daprds may connect to. */
export interface SchedulerServer extends ServerProcess<SchedulerPort> {
  /** `host:port`, as daprd wants it. */
  readonly address: string
  readonly port: number
}

type SchedulerPort = 'api' | 'health' | 'etcdPeer' | 'etcdClient'

/** On SIGTERM it waits until every daprd has hung up, which none does. Its etcd is whole after a SIGKILL, too. */
const STOP_GRACE_MS = 2_000
const ID = 'dapr-scheduler-server-0'

/** @throws `service.missing`, `service.failed`, `port.taken`, `aborted` */
export async function startScheduler(options: SchedulerOptions): Promise<SchedulerServer> {
  const { folder, port, host = '127.0.0.1', logLevel = 'info', signal } = options
  const { path: program } = await findProgram('scheduler')
  const usage = await usageOf(program)
  const server = await startServer<SchedulerPort>({
    name: 'scheduler',
    program,
    folder,
    host,
    ports: { api: port, health: undefined, etcdPeer: undefined, etcdClient: undefined },
    command: (ports) => ({
      args: flags({
        id: ID,
        'listen-address': host,
        port: ports.api,
        'healthz-listen-address': '127.0.0.1',
        'healthz-port': ports.health,
        'etcd-data-dir': join(folder, 'etcd'),
        ...etcdFlags(usage, ports),
        // Since 1.15 daprds are told where the scheduler is by itself, and it would say its host's name.
        'override-broadcast-host-port': usage.includes('--override-broadcast-host-port') ? `${host}:${ports.api}` : undefined,
        'enable-metrics': false,
        'log-level': logLevel,
      }),
    }),
    isReady: ({ health }, signal) => answersOk(`http://127.0.0.1:${health}/healthz`, signal),
    stopGraceMs: STOP_GRACE_MS,
    signal,
  })
  return Object.assign(server, { address: `${host}:${server.ports.api}`, port: server.ports.api })
}

/** 1.15 renamed these. */
function etcdFlags(usage: string, { etcdPeer, etcdClient }: Ports<SchedulerPort>): { [name: string]: string | number | undefined } {
  const peer = `${ID}=http://127.0.0.1:${etcdPeer}`
  if (usage.includes('--etcd-client-ports')) return { 'initial-cluster': peer, 'etcd-client-ports': `${ID}=${etcdClient}` }
  const listen = usage.includes('--etcd-client-listen-address') ? '127.0.0.1' : undefined
  return { 'etcd-initial-cluster': peer, 'etcd-client-port': etcdClient, 'etcd-client-listen-address': listen }
}

/** What `--help` says, wherever it says it and with whatever status. */
async function usageOf(program: string): Promise<string> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, ['--help'])
    return stdout + stderr
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    return stdout + stderr
  }
}
