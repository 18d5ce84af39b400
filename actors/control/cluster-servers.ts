/** The servers of a cluster on one machine: object store, broker, placement, scheduler, each as a process of its own. */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type DaprdServer,
  type ServerProcess,
  startDaprd,
  startMinio,
  startNats,
  startPlacement,
  startScheduler,
} from '../../runtime/services/index.js'
import { s3Store, type S3StoreOptions } from '../../runtime/object-store/s3-store.js'
import { serverConfig } from '../../runtime/tensor-bus/nats-authority.js'
import type { Clock } from '../../runtime/clock.js'
import { clusterKeys } from './cluster-keys.js'

export interface ClusterServersOptions {
  /** What the servers keep, and their logs. The same folder again: the same cluster. */
  readonly folder: string
  /** Where they listen, and how hosts reach them. Default 127.0.0.1: nobody from outside. */
  readonly hostIp?: string
  readonly clock: Clock
  readonly signal?: AbortSignal
}

export interface ClusterServers {
  readonly store: Omit<S3StoreOptions, 'clock'>
  readonly broker: string
  readonly placement: string
  readonly scheduler: string
  /** By name, in the order of their start. */
  readonly servers: { readonly [name in 'minio' | 'nats' | 'placement' | 'scheduler']: ServerProcess }
}

const BUCKET = 'swarmgrad'
const RESOURCES = fileURLToPath(new URL('../../../dapr/', import.meta.url))

/** Starts them; ports are chosen free. @throws `service.missing`, `service.failed`, `port.taken`, codes of the store */
export async function startClusterServers({ folder, hostIp = '127.0.0.1', clock, signal }: ClusterServersOptions): Promise<ClusterServers> {
  const sub = async (name: string) => {
    const path = join(folder, name)
    await mkdir(path, { recursive: true })
    return path
  }
  const root = await rootCredentials(folder)
  const started: ServerProcess[] = []
  try {
    const own = { host: hostIp, signal }
    const [minio, placement, scheduler] = await Promise.all([
      startMinio({ folder: await sub('minio'), ...own, rootUser: root.accessKey, rootPassword: root.secretKey }),
      startPlacement({ folder: await sub('placement'), ...own }),
      startScheduler({ folder: await sub('scheduler'), ...own }),
    ])
    started.push(minio, placement, scheduler)
    const store = { endpoint: minio.endpoint, bucket: BUCKET, ...root }
    const objects = s3Store({ ...store, clock })
    const { broker } = await clusterKeys(objects)
    await objects.close()
    const nats = await startNats({ folder: await sub('nats'), ...own, config: await serverConfig(broker, { host: hostIp }) })
    started.push(nats)
    return {
      store,
      broker: nats.url,
      placement: placement.address,
      scheduler: scheduler.address,
      servers: { minio, nats, placement, scheduler },
    }
  } catch (error) {
    await Promise.allSettled(started.map((server) => server.stop()))
    throw error
  }
}

export interface SidecarOptions {
  readonly folder: string
  readonly appId: string
  readonly placement: string
  readonly scheduler?: string
  /** Whose components it uses. */
  readonly role: 'control' | 'pnode'
  /** Address at which other sidecars reach it. */
  readonly hostIp?: string
}

/** A daprd of one's own, with the resources that the package brings. */
export async function startSidecar(appPort: number, { folder, role, ...options }: SidecarOptions): Promise<DaprdServer> {
  const own = join(folder, 'daprd')
  await mkdir(own, { recursive: true })
  const config = join(RESOURCES, 'config.yaml')
  return startDaprd({ folder: own, appPort, resources: join(RESOURCES, 'resources', role), config, ...options })
}

/** The root key of the object store: made once, kept beside its data, readable for its owner alone. */
async function rootCredentials(folder: string): Promise<{ accessKey: string; secretKey: string }> {
  const path = join(folder, 'store-key.json')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const fresh = { accessKey: `swarm${randomBytes(6).toString('hex')}`, secretKey: randomBytes(24).toString('base64url') }
  await writeFile(path, JSON.stringify(fresh), { mode: 0o600, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  return JSON.parse(await readFile(path, 'utf8')) as typeof fresh
}
