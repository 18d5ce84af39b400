/** A cluster of real processes on this machine: servers, a control host, PNodes. Each can be killed, and started again where it was. */
import { mkdir, readdir, readlink, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { bundleModule } from '../../components/bundle.js'
import { clusterStore, cluster as onCluster, type Cluster } from '../../actors/cluster.js'
import { ControlClient } from '../../actors/control/control-client.js'
import { startClusterServers, type ClusterServers } from '../../actors/control/cluster-servers.js'
import type { MembershipOptions } from '../../actors/placement/placement.js'
import type { RunEvent } from '../../actors/events.js'
import { type Run, train } from '../../actors/train.js'
import type { CheckpointOptions } from '../../actors/run/run-settings.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import type { Network } from '../../components/network.js'
import { systemClock } from '../../runtime/clock.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { freePort } from '../../runtime/services/index.js'
import { createHostKey, type HostKey } from '../../runtime/tensor-bus/nats-authority.js'
import type { ControlProcessArguments } from './cluster-control-process.js'
import type { HostProcessArguments } from './cluster-host-process.js'
import { Peer } from './cluster-peer.js'
import { pemOf, seededIdentity } from './identities.js'
import { type HostLine, hostLine } from './host-line.js'
import { serverFolder, type Teardown } from './servers.js'

export interface TestClusterOptions {
  /** Called with the folder of the cluster before anything is in it. */
  readonly prepare?: (folder: string) => Promise<void>
  /** Names of PNodes to begin with. */
  readonly hosts?: readonly string[]
  readonly membership?: Partial<Omit<MembershipOptions, 'onMember' | 'isHearing'>>
  /** Where servers, control and the sidecars of PNodes listen. Default 127.0.0.1. */
  readonly hostIp?: string
}

/** A PNode, and who it is. */
export interface TestHost {
  readonly peer: Peer
  readonly key: HostKey
  /** If it was given one that can be cut. */
  readonly line?: HostLine
}

export type TestHostOptions = Partial<
  Pick<
    HostProcessArguments,
    'url' | 'owner' | 'relay' | 'maxVNodes' | 'allowsCode' | 'token' | 'key' | 'version' | 'memoryBytes' | 'pretence'
  >
> & {
  /** Its way to the others can be cut. */
  readonly isCuttable?: boolean
}

/** What the VNodes of small-runs.ts need. */
const CHAINED = new URL('./chained-block.js', import.meta.url).href

export class TestCluster {
  readonly folder: string
  readonly servers: ClusterServers
  readonly control: Peer
  readonly hosts = new Map<string, TestHost>()
  /** SHA-256 of the code that its runs need. */
  readonly code: string
  readonly #hostIp: string | undefined
  readonly #t: Teardown

  private constructor(t: Teardown, folder: string, servers: ClusterServers, control: Peer, code: string, hostIp: string | undefined) {
    this.#t = t
    this.folder = folder
    this.servers = servers
    this.control = control
    this.code = code
    this.#hostIp = hostIp
  }

  /** Everything from nothing, gone when the test ends. */
  static async start(t: Teardown, { hosts = ['a', 'b', 'c'], membership, hostIp, prepare }: TestClusterOptions = {}): Promise<TestCluster> {
    const folder = await serverFolder(t, 'cluster')
    await prepare?.(folder)
    const servers = await startClusterServers({ folder, hostIp, clock: systemClock })
    t.teardown(() => Promise.all(Object.values(servers.servers).map((server) => server.kill())))
    const listen = { host: hostIp ?? '127.0.0.1', port: await freePort(hostIp) }
    const { store, broker, placement, scheduler } = servers
    const control = await Peer.start({
      program: 'cluster-control-process.js',
      sidecar: { folder: join(folder, 'control'), appId: 'control', placement, scheduler, role: 'control', hostIp },
      argumentsOf: (ports): ControlProcessArguments => ({
        ...ports,
        listen,
        store,
        broker: { servers: [broker] },
        placement,
        scheduler,
        membership,
      }),
    })
    t.teardown(() => control.kill())
    const made = new TestCluster(t, folder, servers, control, (await bundleModule(CHAINED)).sha256, hostIp)
    t.teardown(() => Promise.all([...made.hosts.values()].map(({ peer }) => peer.kill())))
    await Promise.all(hosts.map((name) => made.join(name)))
    return made
  }

  get url(): string {
    return this.control.ready.url!
  }

  get token(): string {
    return this.control.ready.trainerToken!
  }

  get joinToken(): string {
    return this.control.ready.joinToken!
  }

  get adminToken(): string {
    return this.control.ready.adminToken!
  }

  get store(): ObjectStore {
    return clusterStore(this)
  }

  get client(): ControlClient {
    return new ControlClient({ url: this.url, token: this.token, clock: systemClock })
  }

  /** A PNode more. @throws what it says when it cannot join */
  async join(name: string, { key = createHostKey(), isCuttable = false, ...options }: TestHostOptions = {}): Promise<Peer> {
    const { placement, scheduler, broker } = this.servers
    const line = isCuttable ? await hostLine(this.#t, this.url, broker) : undefined
    const peer = await Peer.start({
      program: 'cluster-host-process.js',
      sidecar: { folder: join(this.folder, name), appId: name, placement, scheduler, role: 'pnode', hostIp: this.#hostIp },
      argumentsOf: (ports): HostProcessArguments => ({
        ...ports,
        url: line?.url ?? this.url,
        name,
        owner: 'tester',
        key,
        identityPem: pemOf(seededIdentity(key.seed)),
        // One that was here before shows what it was given then: it may come back before anybody has missed it.
        token: this.hosts.get(name)?.peer.joined?.token ?? this.joinToken,
        relay: 'never',
        memoryBytes: 2e9,
        allowsCode: [this.code],
        cacheFolder: join(this.folder, name, 'code'),
        ...options,
      }),
    })
    this.hosts.set(name, { peer, key, line })
    return peer
  }

  host(name: string): Peer {
    return this.hosts.get(name)!.peer
  }

  on(window = 4): Cluster {
    return onCluster(this.url, { token: this.token, window })
  }

  train(
    network: Network,
    training: TrainingOptions,
    { id, window, replicas, ...checkpoint }: { id: string; window?: number; replicas?: number } & CheckpointOptions,
  ): Run {
    // Nobody here could audit anybody: all machines are of one owner.
    return train(network, training, { on: this.on(window), audits: 0, checkpoint, replicas }, { id })
  }

  /** The control host comes back without anything that it had on its disk. */
  async loseControlDisk(): Promise<void> {
    await this.control.kill()
    await rm(this.control.daprd.folder, { recursive: true })
    await mkdir(this.control.daprd.folder)
    await this.control.daprd.restart()
    await this.control.startApp()
  }

  /** Waits until all PNodes are there, and nothing of the test before is left on them. */
  async untilWhole(limitMs = 40_000): Promise<void> {
    const endMs = performance.now() + limitMs
    for (;;) {
      const pnodes = await this.client.pnodes().catch(() => [])
      const ready = pnodes.filter(({ state }) => state === 'ready').map(({ pnode }) => pnode)
      if ([...this.hosts.keys()].every((name) => ready.includes(name))) return
      if (performance.now() > endMs) throw new Error(`not whole after ${limitMs} ms: ${JSON.stringify(pnodes)}`)
      await systemClock.sleep(100)
    }
  }

  /** Processes whose folder is that of this cluster: what would be left of it. */
  async processes(): Promise<readonly string[]> {
    const found: string[] = []
    for (const pid of await readdir('/proc').catch(() => [])) {
      const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
      if (cwd.startsWith(this.folder)) found.push(`${pid} in ${cwd}`)
    }
    return found
  }
}

/** The first event that `isIt`, from now on; undefined if the run ends before. */
export async function eventOf(run: Run, isIt: (event: RunEvent) => boolean): Promise<RunEvent | undefined> {
  for await (const event of run.events()) if (isIt(event)) return event
  return undefined
}

/** Resolves when every VNode of the run has applied so many steps, or the run has ended. */
export async function untilStep(run: Run, step: number): Promise<void> {
  await eventOf(run, (event) => (event.type === 'progress' || event.type === 'snapshot') && event.step >= step)
}
