/** The process of a control host: control actors over Dapr, the broker, the object store, and the API for trainers and newcomers. */
import { asker } from '../../runtime/ask.js'
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import { daprActors } from '../../runtime/actor-system/dapr-actors.js'
import type { SidecarAddress } from '../../runtime/actor-system/dapr-sidecar.js'
import { relayedActors } from '../../runtime/actor-system/relayed-actors.js'
import type { Clock } from '../../runtime/clock.js'
import { type SwarmError, toSwarmError } from '../../runtime/errors.js'
import { type HttpServer, listen } from '../../runtime/http-server.js'
import { s3Store, type S3StoreOptions } from '../../runtime/object-store/s3-store.js'
import { controlUser, swarmAccount, systemUser } from '../../runtime/tensor-bus/nats-authority.js'
import { natsBus } from '../../runtime/tensor-bus/nats-bus.js'
import { RIGHTS_EXPIRED, watchPresence } from '../../runtime/tensor-bus/nats-presence.js'
import type { BalanceOptions } from '../run/balance.js'
import { CONTROL } from './channels.js'
import { adminToken, clusterKeys, controlSecretOf } from './cluster-keys.js'
import { controlApi } from './control-api.js'
import { ControlHost } from './control-host.js'
import { LiveKey } from './live-key.js'
import { TrustBook } from './trust-book.js'
import { DEFAULT_MEMBERSHIP, type MembershipOptions } from '../placement/placement.js'

export interface ControlProcessOptions {
  /** Where the API listens. */
  readonly listen: { readonly host: string; readonly port: number }
  readonly store: Omit<S3StoreOptions, 'clock'>
  /** Of the broker, as this process reaches it, and as hosts do (default: the same). */
  readonly broker: { readonly servers: readonly string[]; readonly publicServers?: readonly string[] }
  /** `host:port`, as hosts reach them. */
  readonly placement: string
  readonly scheduler?: string
  /** Our daprd, or starts it. */
  readonly sidecar: SidecarAddress | ((appPort: number) => Promise<SidecarAddress>)
  /** Where daprd reaches us. Default: any free port. */
  readonly appPort?: number
  readonly membership?: Partial<Omit<MembershipOptions, 'onMember' | 'isHearing'>>
  readonly balance?: Partial<BalanceOptions>
  /** Of swarmgrad. */
  readonly version: string
  readonly clock: Clock
  readonly onError: (error: SwarmError) => void
}

export interface ControlProcess {
  /** Of the API. */
  readonly url: string
  readonly host: ControlHost
  readonly trainerToken: string
  readonly joinToken: string
  readonly adminToken: string
  close(): Promise<void>
}

/** @throws codes of the store, the broker, the sidecar; `port.taken` */
export async function startControl(options: ControlProcessOptions): Promise<ControlProcess> {
  const { clock, onError, broker, placement, scheduler, sidecar, appPort, version } = options
  const store = s3Store({ ...options.store, clock })
  const opened: (() => Promise<void> | void)[] = [() => store.close()]
  const close = async () => {
    for (const one of opened.toReversed()) await one()
  }
  try {
    const keys = await clusterKeys(store)
    const controlKey = new LiveKey(store, clock, keys)
    const closing = new AbortController()
    opened.push(() => closing.abort())
    void controlKey.watch(closing.signal, (error) => onError(toSwarmError(error, 'internal', 'keys of control')))
    const account = swarmAccount(keys.broker)
    const servers = [...broker.servers]
    const bus = await natsBus({ servers, name: CONTROL, part: 'control', credentials: await controlUser(keys.broker), onError })
    opened.push(() => bus.close())
    const asking = asker(bus, CONTROL, clock)
    opened.push(() => asking.close())
    const connections = new Connections()
    const watch = await watchPresence({
      servers,
      systemCredentials: await systemUser(keys.broker),
      account,
      onConnect: ({ host: name, part, connection }) => connections.opened(name, part, connection),
      onDisconnect: ({ host: name, part, connection }, reason) => {
        // One that has not renewed its rights falls silent, which tells as well.
        if (name !== CONTROL && reason !== RIGHTS_EXPIRED && connections.isCurrent(name, part, connection))
          host.connectionLost(name, `its connection was lost: ${reason}`)
      },
    })
    opened.push(() => watch.close())
    const dapr: ActorSystem = daprActors({
      clock,
      app: { port: appPort },
      sidecar,
      isLost: (pnode) => host.isLost(pnode),
      onError: (error) => onError(error),
    })
    const trust = new TrustBook({
      store,
      clock,
      controlKey,
      onRefused: (code) => host.refuse(`trust: ${code}`),
      onChange: () => host.trustChanged(),
    })
    const host: ControlHost = new ControlHost({
      system: relayedActors(dapr, { asker: asking, clock, isRelayed: ({ type }) => host.relayOf(type) }),
      // Past the relay: whether a PNode can be reached is just the question.
      direct: dapr,
      store,
      bus,
      asker: asking,
      clock,
      controlKey,
      controlSecret: controlSecretOf(keys),
      trust,
      membership: { ...options.membership, isHearing: () => bus.isUp },
      balance: options.balance,
      onError,
    })
    opened.push(() => host.close())
    await host.start()
    const { heartbeatMs } = { ...DEFAULT_MEMBERSHIP, ...options.membership }
    const reached = { broker: broker.publicServers ?? broker.servers, placement, scheduler }
    const api: HttpServer = await listen(
      controlApi({ host, store, keys, controlKey, clock, version, servers: reached, heartbeatMs }),
      options.listen,
    )
    opened.push(() => api.close())
    return { url: api.url, host, trainerToken: keys.trainerToken, joinToken: keys.joinToken, adminToken: adminToken(keys), close }
  } catch (error) {
    await close()
    throw error
  }
}

/** The newest connection of each host: news of an older one, which a frozen process left behind, concern nobody. */
class Connections {
  readonly #newest = new Map<string, number>()

  opened(host: string, part: string, connection: number): void {
    this.#newest.set(`${host}/${part}`, connection)
  }

  /** The broker counts anew, and what happened meanwhile was not told. */
  forget(): void {
    this.#newest.clear()
  }

  isCurrent(host: string, part: string, connection: number): boolean {
    return (this.#newest.get(`${host}/${part}`) ?? connection) === connection
  }
}
