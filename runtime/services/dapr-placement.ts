/** Dapr's placement: it tells every daprd which host has which actor. */
import { findProgram } from './find.js'
import { flags } from './flags.js'
import { answersOk, type ServerProcess, startServer } from './server-process.js'

export interface PlacementOptions {
  /** Of this server alone: its log. */
  readonly folder: string
  /** Default: any free one. */
  readonly port?: number
  /** Where daprds reach it. Default 127.0.0.1. */
  readonly host?: string
  readonly logLevel?: DaprLogLevel
  readonly signal?: AbortSignal
}

export type DaprLogLevel = 'debug' | 'info' | 'warn' | 'error'

/** A placement that daprds may connect to. It keeps nothing: after a restart the daprds tell it again. */
export interface PlacementServer extends ServerProcess<'api' | 'raft' | 'health'> {
  /** `host:port`, as daprd wants it. */
  readonly address: string
  readonly port: number
}

/** On SIGTERM it waits until every daprd has hung up, which none does. It keeps nothing that could be lost. */
const STOP_GRACE_MS = 1_000
const ID = 'dapr-placement-0'

/** @throws `service.missing`, `service.failed`, `port.taken`, `aborted` */
export async function startPlacement(options: PlacementOptions): Promise<PlacementServer> {
  const { folder, port, host = '127.0.0.1', logLevel = 'info', signal } = options
  const { path: program } = await findProgram('placement')
  const server = await startServer({
    name: 'placement',
    program,
    folder,
    host,
    ports: { api: port, raft: undefined, health: undefined },
    command: ({ api, raft, health }) => ({
      args: flags({
        id: ID,
        'initial-cluster': `${ID}=127.0.0.1:${raft}`,
        'listen-address': host,
        port: api,
        // 1.14 listens for these questions on all interfaces, whatever it is told.
        'healthz-listen-address': '127.0.0.1',
        'healthz-port': health,
        'metadata-enabled': true,
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
