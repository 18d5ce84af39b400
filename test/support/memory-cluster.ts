/** A cluster in this process: a control host with its API over HTTP, and PNodes, on the seams in memory. */
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { registerCompletionHandler } from 'ava'
import { CONTROL, controlLine } from '../../actors/control/channels.js'
import { type ClusterKeys, clusterKeys, controlSecretOf } from '../../actors/control/cluster-keys.js'
import { type ControlApiOptions, controlApi } from '../../actors/control/control-api.js'
import { LiveKey } from '../../actors/control/live-key.js'
import { TrustBook } from '../../actors/control/trust-book.js'
import { ControlHost } from '../../actors/control/control-host.js'
import { claimName } from '../../actors/control/host-registry.js'
import type { MembershipOptions } from '../../actors/placement/placement.js'
import { PNodeHost } from '../../actors/pnode/pnode.js'
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import { localActors } from '../../runtime/actor-system/local-actors.js'
import { asker } from '../../runtime/ask.js'
import { systemClock } from '../../runtime/clock.js'
import { inlinePool } from '../../runtime/compute/inline-compute.js'
import type { Compute } from '../../runtime/compute/compute.js'
import { TrustedKeys } from '../../runtime/control-keys.js'
import type { SwarmError } from '../../runtime/errors.js'
import { type HttpServer, listen } from '../../runtime/http-server.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { VERSION } from '../../runtime/version.js'
import { publicKeyOf, seededIdentity } from './identities.js'
import type { Teardown } from './servers.js'

const CACHE_FOLDER = join(tmpdir(), `swarmgrad-bundles-${process.pid}`)

// After a test that has failed trainers go on asking for a control host that is gone: nobody waits for that.
registerCompletionHandler(() => {
  rmSync(CACHE_FOLDER, { recursive: true, force: true })
  process.exit()
})

export interface MemoryClusterOptions {
  /** Names of PNodes. Default: three. */
  readonly pnodes?: readonly string[]
  readonly api?: Partial<Pick<ControlApiOptions, 'clock' | 'version' | 'servers'>>
  readonly store?: ObjectStore
  readonly membership?: Partial<Omit<MembershipOptions, 'onMember'>>
  /** What a PNode computes with, instead of the machine's own. */
  readonly compute?: (name: string, own: Compute) => Compute
  /** PNodes measure their memory and their line, as those with a machine of their own do. Default false. */
  readonly isMeasured?: boolean
  /** What each PNode lends. Default 4 GB. */
  readonly memoryBytes?: number
  /** How often PNodes measure themselves again, in ms. */
  readonly measureEveryMs?: number
}

export interface MemoryCluster {
  readonly url: string
  readonly store: ObjectStore
  readonly keys: ClusterKeys
  /** As control has it now. */
  readonly controlKey: LiveKey
  readonly host: ControlHost
  /** As control uses it. */
  readonly system: ActorSystem
  /** Everybody's, in which nothing is signed. */
  readonly unsigned: ActorSystem
  /** What was reported to nobody in particular. */
  readonly errors: readonly SwarmError[]
  /** Those that have joined, in this order. */
  readonly pnodes: readonly PNodeHost[]
  connect(name: string): Promise<TensorBus>
  /** Resolves when it has joined. */
  addPNode(name: string): Promise<PNodeHost>
  /** Ends the API with all its connections; the actors live on. */
  stopApi(): Promise<void>
  /** At the same address. */
  startApi(): Promise<void>
}

const HEARTBEAT_MS = 200
const MACHINES = new URL('../../components/vnode-machine.js', import.meta.url)
/** Nobody listens there. */
const NOWHERE = { broker: ['nats://127.0.0.1:1'], placement: '127.0.0.1:1' }

export async function memoryCluster(t: Teardown, options: MemoryClusterOptions = {}): Promise<MemoryCluster> {
  const { pnodes = ['ann', 'bob', 'cyd'], store = memoryStore(), membership, measureEveryMs, compute = (_name, own) => own } = options
  const clock = systemClock
  const keys = await clusterKeys(store)
  const { connect } = memoryBroker()
  const errors: SwarmError[] = []
  const onError = (error: SwarmError) => void errors.push(error)
  const system = localActors({ store: memoryStore(), clock, onError })
  const bus = await connect(CONTROL)
  const asking = asker(bus, CONTROL, clock)
  const controlKey = new LiveKey(store, clock, keys)
  const controlSecret = controlSecretOf(keys)
  const trust = new TrustBook({
    store,
    clock,
    controlKey,
    onRefused: (code) => host.refuse(`trust: ${code}`),
    onChange: () => host.trustChanged(),
  })
  const host = new ControlHost({ system, store, bus, asker: asking, clock, controlKey, controlSecret, trust, membership, onError })
  t.teardown(() => host.close())
  await host.start()
  const joined: PNodeHost[] = []
  const addPNode = async (name: string) => {
    // As the API does for those who join from afar: with the identity that belongs to the name.
    await claimName(store, { name, publicKey: '', identity: publicKeyOf(name), owner: '' })
    const own = await connect(name)
    const line = controlLine(own, clock)
    const asks = asker(own, name, clock)
    await asks.ready
    const pnode = new PNodeHost({
      pnode: name,
      identity: seededIdentity(name),
      system,
      bus: own,
      compute: compute(name, inlinePool({ machines: MACHINES, clock }).compute(name)),
      measureEveryMs,
      link: options.isMeasured ? { ping: (signal) => asks.ask(CONTROL, 'ping', null, { signal }), store } : undefined,
      store,
      clock,
      controlKeys: new TrustedKeys(controlKey.accepted, clock),
      memoryBytes: options.memoryBytes ?? 4e9,
      heartbeatMs: HEARTBEAT_MS,
      heartbeat: (beat) => line.heartbeat(beat),
      cacheFolder: CACHE_FOLDER,
      observe: (observation) => line.observe(observation),
      onError,
    })
    t.teardown(() => pnode.crash())
    await pnode.join()
    joined.push(pnode)
    return pnode
  }
  await Promise.all(pnodes.map(addPNode))
  const app = () => {
    const api = { host, store, keys, controlKey, clock, version: VERSION, servers: NOWHERE, heartbeatMs: HEARTBEAT_MS, ...options.api }
    return controlApi(api)
  }
  let server: HttpServer | undefined = await listen(app())
  const { port, url } = server
  const stopApi = async () => {
    const open = server
    server = undefined
    await open?.close(0)
  }
  t.teardown(stopApi)
  return {
    url,
    store,
    keys,
    controlKey,
    host,
    system: host.system,
    unsigned: system,
    errors,
    pnodes: joined,
    connect,
    addPNode,
    stopApi,
    async startApi() {
      server = await listen(app(), { port })
    },
  }
}
