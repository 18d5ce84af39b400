/** The MinIO server. */
import { join } from 'node:path'
import { findProgram } from './find.js'
import { answersOk, type ServerProcess, startServer } from './server-process.js'

export interface MinioOptions {
  /** Of this server alone: its log and its objects. */
  readonly folder: string
  /** Default: any free one. */
  readonly port?: number
  /** Default 127.0.0.1. */
  readonly host?: string
  /** At least 3 characters. */
  readonly rootUser: string
  /** At least 8 characters. */
  readonly rootPassword: string
  readonly signal?: AbortSignal
}

/** A MinIO server that reads and writes. */
export interface MinioServer extends ServerProcess<'api'> {
  /** `http://host:port`. */
  readonly endpoint: string
  readonly port: number
}

/** @throws `service.missing`, `service.failed`, `port.taken`, `aborted` */
export async function startMinio(options: MinioOptions): Promise<MinioServer> {
  const { folder, port, host = '127.0.0.1', rootUser, rootPassword, signal } = options
  const { path: program } = await findProgram('minio')
  const endpointOf = (api: number) => `http://${host.includes(':') ? `[${host}]` : host}:${api}`
  const server = await startServer({
    name: 'minio',
    program,
    folder,
    host,
    ports: { api: port },
    command: ({ api }) => ({
      args: ['server', '--address', `${host}:${api}`, '--certs-dir', join(folder, 'certs'), join(folder, 'objects')],
      environment: {
        // By the environment: everybody on the machine can read the arguments of a process.
        MINIO_ROOT_USER: rootUser,
        MINIO_ROOT_PASSWORD: rootPassword,
        // No console, and no call home for updates.
        MINIO_BROWSER: 'off',
        MINIO_UPDATE: 'off',
      },
    }),
    // 'live' answers before objects can be written; 'cluster' does not.
    isReady: ({ api }, signal) => answersOk(`${endpointOf(api)}/minio/health/cluster`, signal),
    signal,
  })
  const own = { endpoint: endpointOf(server.ports.api), port: server.ports.api }
  return Object.assign(server, own)
}
