/** Real servers for a test: started in a folder of its own, gone when it ends. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import type { ExecutionContext } from 'ava'
import {
  findPrograms,
  type DaprdOptions,
  type DaprdServer,
  type MinioOptions,
  type MinioServer,
  type NatsOptions,
  type NatsServer,
  type PlacementOptions,
  type PlacementServer,
  type SchedulerOptions,
  type SchedulerServer,
  type ServerProcess,
  startDaprd,
  startMinio,
  startNats,
  startPlacement,
  startScheduler,
} from '../../runtime/services/index.js'

/** What ends with a test: the `t` of a test, or for servers of a whole file something that keeps them for `test.after.always`. */
export type Teardown = Pick<ExecutionContext, 'teardown'>

/** A folder that is needed by nobody but this test. */
export async function serverFolder(t: Teardown, name: string): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), `swarmgrad-${name}-`))
  // A server that was killed may still be leaving.
  t.teardown(() => rm(path, { recursive: true, force: true, maxRetries: 5 }))
  return path
}

/** Teardowns for a whole file: `const servers = forFile(); test.after.always(servers.end)`. The last begun ends first. */
export function forFile(): Teardown & { end(): Promise<void> } {
  const ends: (() => unknown)[] = []
  return {
    teardown: (end) => void ends.push(end),
    async end() {
      while (ends.length > 0) await ends.pop()!()
    },
  }
}

/** For a command that has a home of its own, in which no programs are: it finds them by PATH. */
export async function pathToPrograms(): Promise<{ readonly [name: string]: string }> {
  const places = new Set((await findPrograms()).map(({ path }) => dirname(path)))
  return { PATH: [...places, process.env.PATH ?? ''].join(delimiter), XDG_DATA_HOME: '' }
}

type Own<Options> = Partial<Options>

async function begun<Server extends ServerProcess>(t: Teardown, start: Promise<Server>): Promise<Server> {
  const server = await start
  // Nothing that it would do on SIGTERM matters to a test that is over.
  t.teardown(() => server.kill())
  return server
}

export async function natsFor(t: Teardown, options: Own<NatsOptions> = {}): Promise<NatsServer> {
  return begun(t, startNats({ folder: options.folder ?? (await serverFolder(t, 'nats')), ...options }))
}

/** Of every MinIO of a test. */
export const MINIO_ROOT = { rootUser: 'test-root', rootPassword: 'test-root-password' } as const

export async function minioFor(t: Teardown, options: Own<MinioOptions> = {}): Promise<MinioServer> {
  return begun(t, startMinio({ folder: options.folder ?? (await serverFolder(t, 'minio')), ...MINIO_ROOT, ...options }))
}

export async function placementFor(t: Teardown, options: Own<PlacementOptions> = {}): Promise<PlacementServer> {
  return begun(t, startPlacement({ folder: options.folder ?? (await serverFolder(t, 'placement')), ...options }))
}

export async function schedulerFor(t: Teardown, options: Own<SchedulerOptions> = {}): Promise<SchedulerServer> {
  return begun(t, startScheduler({ folder: options.folder ?? (await serverFolder(t, 'scheduler')), ...options }))
}

export async function daprdFor(t: Teardown, options: Omit<DaprdOptions, 'folder'> & Own<DaprdOptions>): Promise<DaprdServer> {
  return begun(t, startDaprd({ folder: options.folder ?? (await serverFolder(t, 'daprd')), ...options }))
}

/** The log of a server, for a test that fails. */
export async function logOf(server: ServerProcess): Promise<string> {
  return readFile(server.logFile, 'utf8')
}
