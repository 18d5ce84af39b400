/** daprd, the sidecar of one host. */
import { systemClock } from '../clock.js'
import { SwarmError } from '../errors.js'
import type { DaprLogLevel } from './dapr-placement.js'
import { findProgram } from './find.js'
import { flags } from './flags.js'
import { answersOk, type ServerProcess, startServer } from './server-process.js'

export interface DaprdOptions {
  /** Of this server alone: its log, and its working folder, from which relative paths in resources are read. */
  readonly folder: string
  /** Name of the application, without dots. Hosts of one application share their actors' state. */
  readonly appId: string
  /** Where the application listens, or will. */
  readonly appPort: number
  /** Default of all ports: any free one. */
  readonly httpPort?: number
  readonly grpcPort?: number
  /** Where other daprds reach this one. Without it another one after each restart. */
  readonly internalGrpcPort?: number
  /** Without it no metrics are served. */
  readonly metricsPort?: number
  /** `host:port` of the placement. */
  readonly placement: string
  /** `host:port` of the scheduler. Without it there are no reminders from 1.15 on. */
  readonly scheduler?: string
  /** Folder of components. */
  readonly resources: string
  /** Path of a Configuration. */
  readonly config?: string
  /** Address at which other daprds reach this one. Default 127.0.0.1: only on this machine. */
  readonly hostIp?: string
  /** Hosts of different namespaces do not see each other's actors. Default: Dapr's own. */
  readonly namespace?: string
  /** For `envRef` of components. */
  readonly environment?: { readonly [name: string]: string }
  /** Default 4 MiB, which is Dapr's own and that of the JS SDK. */
  readonly maxBodyBytes?: number
  readonly logLevel?: DaprLogLevel
  readonly signal?: AbortSignal
}

/** A daprd that answers. Whether its application does, too, is asked by `ready`. */
export interface DaprdServer extends ServerProcess<'http' | 'grpc' | 'internalGrpc' | 'metrics'> {
  /** `http://127.0.0.1:port`: Dapr's API, for the application alone. */
  readonly url: string
  readonly appId: string
  readonly httpPort: number
  readonly grpcPort: number
  /**
   * Resolves when daprd has found its application, has read which actors it has, and takes calls. The first call to an actor then
   * waits until the placement has told all hosts of this one: about two seconds on 1.14, after every join or leave.
   * @throws `service.failed` if daprd ends or does not get there within `timeoutMs` (default 30,000); `aborted`
   */
  ready(options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<void>
}

const READY_TIMEOUT_MS = 30_000
const READY_POLL_MS = 25
const READY_LOOK_MS = 2_000
/** Dapr's own is 5: so long it waits for calls under way, of which ours have deadlines of 2 s. */
const GRACEFUL_SHUTDOWN_S = 2

/**
 * Starts daprd as `dapr run` does, with flags that 1.14 to 1.18 know. Its API listens on 127.0.0.1 alone.
 * Resolves before the application is there: daprd reads the types of actors only when the application's port is open.
 * @throws `service.missing`, `service.failed`, `port.taken`, `aborted`
 */
export async function startDaprd(options: DaprdOptions): Promise<DaprdServer> {
  const { folder, appId, httpPort, grpcPort, internalGrpcPort, metricsPort, hostIp = '127.0.0.1', signal } = options
  const { path: program } = await findProgram('daprd')
  const server = await startServer({
    name: 'daprd',
    program,
    folder,
    ports: { http: httpPort, grpc: grpcPort, internalGrpc: internalGrpcPort, metrics: metricsPort },
    // A call that finds a daprd 1.14 that listens, but has not read its application's actors yet, ends it by a nil pointer (CallActor in
    // pkg/api/grpc/daprinternal.go). Others learn of a new port only when it is ready.
    passingPorts: ['internalGrpc'],
    command: (ports) => ({
      args: argumentsOf(options, ports),
      environment: {
        ...options.environment,
        // Else daprd tells the others the address of the interface that leads out.
        DAPR_HOST_IP: hostIp,
        ...(options.namespace === undefined ? {} : { NAMESPACE: options.namespace }),
      },
    }),
    // 'outbound' does not wait for the application.
    isReady: ({ http }, signal) => answersOk(`http://127.0.0.1:${http}/v1.0/healthz/outbound`, signal),
    signal,
  })
  const { http, grpc } = server.ports
  return Object.assign(server, {
    url: `http://127.0.0.1:${http}`,
    appId,
    httpPort: http,
    grpcPort: grpc,
    ready: (until: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {}) => untilReady(server, until),
  })
}

function argumentsOf(options: DaprdOptions, ports: DaprdServer['ports']): string[] {
  const hasMetrics = options.metricsPort !== undefined
  return flags({
    'app-id': options.appId,
    'app-port': options.appPort,
    'app-protocol': 'http',
    'app-channel-address': '127.0.0.1',
    'dapr-listen-addresses': '127.0.0.1',
    'dapr-http-port': ports.http,
    'dapr-grpc-port': ports.grpc,
    'dapr-internal-grpc-port': ports.internalGrpc,
    'dapr-internal-grpc-listen-address': options.hostIp ?? '127.0.0.1',
    'placement-host-address': options.placement,
    'scheduler-host-address': options.scheduler,
    'resources-path': options.resources,
    config: options.config,
    'max-body-size': options.maxBodyBytes,
    'enable-metrics': hasMetrics,
    'metrics-listen-address': hasMetrics ? '127.0.0.1' : undefined,
    'metrics-port': hasMetrics ? ports.metrics : undefined,
    'dapr-graceful-shutdown-seconds': GRACEFUL_SHUTDOWN_S,
    'log-level': options.logLevel ?? 'info',
  })
}

async function untilReady(
  { ports, logFile, exited, name }: ServerProcess<'http'>,
  { timeoutMs = READY_TIMEOUT_MS, signal }: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
): Promise<void> {
  const deadline = systemClock.now() + timeoutMs
  let hasEnded = false
  void exited.then(() => (hasEnded = true))
  const aborted = () => new SwarmError('aborted', { what: `waiting for ${name} was aborted`, cause: signal?.reason })
  const failed = (what: string) => new SwarmError('service.failed', { what: `${name} ${what}`, where: logFile, retryable: true })
  while (systemClock.now() < deadline) {
    if (signal?.aborted) throw aborted()
    if (hasEnded) throw failed('ended before its application was ready')
    try {
      if (await answersOk(`http://127.0.0.1:${ports.http}/v1.0/healthz`, AbortSignal.timeout(READY_LOOK_MS))) return
    } catch {
      // Not there yet, or just being started again.
    }
    await systemClock.sleep(READY_POLL_MS)
  }
  throw failed(`did not get ready with its application within ${timeoutMs} ms`)
}
