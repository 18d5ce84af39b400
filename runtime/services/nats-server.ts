/** The NATS server. */
import { writeFile, mkdir } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { findProgram } from './find.js'
import { type ServerProcess, startServer } from './server-process.js'

export interface NatsOptions {
  /** Of this server alone: its log and its configuration. */
  readonly folder: string
  /** Default: any free one. */
  readonly port?: number
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Text of a nats.conf; its listening address is overruled. Default: open to everybody who can reach it. */
  readonly config?: string
  /** The longest message. Default 8 MiB, the most that NATS recommends. A `max_payload` in `config` comes first. */
  readonly maxPayloadBytes?: number
  readonly signal?: AbortSignal
}

/** A NATS server that accepts connections. */
export interface NatsServer extends ServerProcess<'client'> {
  /** `nats://host:port`. */
  readonly url: string
  readonly port: number
  /** Path of its nats.conf. */
  readonly configFile: string
  /** Replaces the configuration and lets the server read it again: what it may change while it runs, accounts included, changes. */
  reload(config: string): Promise<void>
}

const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024

/** @throws `service.missing`, `service.failed`, `port.taken`, `aborted` */
export async function startNats(options: NatsOptions): Promise<NatsServer> {
  const { folder, port, host = '127.0.0.1', config = '', maxPayloadBytes = MAX_PAYLOAD_BYTES, signal } = options
  const { path: program } = await findProgram('nats-server')
  const configFile = join(folder, 'nats.conf')
  const write = (text: string) => writeFile(configFile, `max_payload: ${maxPayloadBytes}\n${text}\n`, { mode: 0o600 })
  await mkdir(folder, { recursive: true })
  await write(config)
  const server = await startServer({
    name: 'nats-server',
    program,
    folder,
    host,
    ports: { client: port },
    command: (ports) => ({ args: ['--config', configFile, '--addr', host, '--port', String(ports.client)] }),
    isReady: (ports, signal) => greets(host, ports.client, signal),
    signal,
  })
  const own = {
    url: `nats://${host.includes(':') ? `[${host}]` : host}:${server.ports.client}`,
    port: server.ports.client,
    configFile,
    async reload(text: string) {
      await write(text)
      await server.kill('SIGHUP')
    },
  }
  return Object.assign(server, own)
}

/** A server says `INFO {…}` first, before any encryption. */
function greets(host: string, port: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, signal })
    socket.once('data', (bytes) => {
      resolve(bytes.toString('latin1').startsWith('INFO '))
      socket.destroy()
    })
    socket.once('error', reject)
    socket.once('close', () => resolve(false))
  })
}
