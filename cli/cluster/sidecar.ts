/** The sidecar of a process: the one that `dapr run` gave it, or one of its own, which is kept running. */
import { type SidecarOptions, startSidecar } from '../../actors/control/cluster-servers.js'
import type { SidecarAddress } from '../../runtime/actor-system/dapr-sidecar.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { keepRunning } from './keep-running.js'
import type { Reporter } from './reporter.js'

/** What `dapr run` says in the environment. */
export interface GivenSidecar extends SidecarAddress {
  readonly appPort: number
}

/** Undefined: nobody gave one. @throws `usage` for one that cannot reach its application */
export function givenSidecar(environment: { readonly [name: string]: string | undefined }): GivenSidecar | undefined {
  const { APP_PORT, DAPR_HTTP_PORT, DAPR_API_TOKEN } = environment
  if (!DAPR_HTTP_PORT) return undefined
  if (!APP_PORT || APP_PORT === '0')
    throw new SwarmError('usage', { what: 'this sidecar knows no port of its application', fix: 'Give dapr run an --app-port' })
  return { httpPort: Number(DAPR_HTTP_PORT), appPort: Number(APP_PORT), ...(DAPR_API_TOKEN && { apiToken: DAPR_API_TOKEN }) }
}

/** A sidecar of this process alone. */
export class OwnSidecar {
  readonly #reporter: Reporter
  #end: (() => Promise<void>) | undefined
  #kill: (() => void) | undefined

  constructor(reporter: Reporter) {
    this.#reporter = reporter
  }

  /** Starts it, and again whenever it dies. @throws `service.missing`, `service.failed` */
  async start(appPort: number, options: SidecarOptions): Promise<SidecarAddress> {
    const server = await startSidecar(appPort, options)
    this.#reporter.event('sidecar', `daprd is process ${server.pid}, port ${server.httpPort}`, {
      pid: server.pid,
      httpPort: server.httpPort,
    })
    const stop = keepRunning(server, {
      clock: systemClock,
      onDown: ({ code, signal }) => this.#reporter.event('sidecar-down', `daprd ended (${signal ?? code}): it is started again`),
      onUp: (ms) => this.#reporter.event('sidecar', `daprd is process ${server.pid} again after ${Math.round(ms)} ms`, { pid: server.pid }),
      onError: (error) => this.#reporter.warn(error),
    })
    this.#kill = () => void server.kill()
    this.#end = async () => {
      await stop()
      await server.stop()
    }
    return { httpPort: server.httpPort }
  }

  /** Ends it: nothing of it is left. */
  async stop(): Promise<void> {
    await this.#end?.()
  }

  /** The same at once, for a process that is just about to end. */
  kill(): void {
    this.#kill?.()
  }
}
