/** The process of a PNode: joins a cluster over its API, then computes for it. Everything it opens is outbound. */
import { randomUUID } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { asker } from '../../runtime/ask.js'
import { daprActors } from '../../runtime/actor-system/dapr-actors.js'
import type { SidecarAddress } from '../../runtime/actor-system/dapr-sidecar.js'
import { answerRelayedCalls } from '../../runtime/actor-system/relayed-actors.js'
import type { Clock } from '../../runtime/clock.js'
import type { ComputePool } from '../../runtime/compute/compute.js'
import { TrustedKeys } from '../../runtime/control-keys.js'
import { SwarmError } from '../../runtime/errors.js'
import { type Identity, publicKeyText } from '../../runtime/identity.js'
import { type MachineUseSource, machineUse } from '../../runtime/machine-use.js'
import { httpStore } from '../../runtime/object-store/http-store.js'
import { FIRST_DELAY_MS, patientStore } from '../../runtime/object-store/patient-store.js'
import { limitedStore } from '../../runtime/object-store/limited-store.js'
import { RateLimit } from '../../runtime/rate-limit.js'
import { keySigner, Sender } from '../../runtime/signed-message.js'
import { loopbackBus } from '../../runtime/tensor-bus/loopback-bus.js'
import type { HostKey } from '../../runtime/tensor-bus/nats-authority.js'
import { limitedBus } from '../../runtime/tensor-bus/limited-bus.js'
import { natsBus } from '../../runtime/tensor-bus/nats-bus.js'
import { CONTROL, controlLine } from '../control/channels.js'
import { ControlClient } from '../control/control-client.js'
import type { JoinAnswer } from '../control/control-api.js'
import { PNodeHost } from './pnode.js'
import type { HostVerdict, OwnersTerms } from './host-limits.js'
import type { Seams } from './seams.js'
import { keepLimits } from './limit-keeper.js'

export interface HostProcessOptions {
  /** Of the control API. */
  readonly url: string
  readonly name: string
  readonly owner: string
  /** This machine's user key on the broker; it stays on this machine. */
  readonly key: HostKey
  /** Who this machine is: it signs what it says. */
  readonly identity: Identity
  /** A token to join with, or the one that this host was given before. */
  readonly token: string
  /** Its daprd, or starts it, now that it is known where the placement is. */
  readonly sidecar: (appPort: number, joined: JoinAnswer) => Promise<SidecarAddress>
  /** Where daprd reaches us. Default: any free port. */
  readonly appPort?: number
  /** Whether calls to our actors come over the broker. `auto`: if control cannot reach our sidecar. Default `auto`. */
  readonly relay?: 'auto' | 'always' | 'never'
  readonly pool: ComputePool
  /** What VNodes may use. */
  readonly memoryBytes: number
  readonly maxVNodes?: number
  /** When nothing is computed here. Default: whenever there is something to compute. */
  readonly pauses?: Partial<Pick<OwnersTerms, 'pauseWhenBusy' | 'onBattery'>>
  /** How the machine is used. Default: this one. */
  readonly machineUse?: MachineUseSource
  /** Told when it pauses, goes on, or lends another amount of memory. */
  readonly onVerdict?: (verdict: HostVerdict) => void
  /** SHA-256 of users' modules that may run here. */
  readonly allowsCode: readonly string[]
  /** Folder for such code. */
  readonly cacheFolder: string
  /** The most that may be in it, in bytes. Default: no limit. */
  readonly maxCacheBytes?: number
  /** The most that tensors and states may take of the way out, in bytes per second. Default: no limit. */
  readonly uploadBytesPerSecond?: number
  /** How often it measures itself again, in ms. Default `MEASURE_MS`. */
  readonly measureEveryMs?: number
  /** What it gets for its own seams: for hosts that lie (adversaries/). Default: what is there. */
  readonly disguise?: (honest: Seams) => Seams
  /** Of swarmgrad. */
  readonly version: string
  readonly clock: Clock
  /** Told of what this machine was given to join with. */
  readonly onJoined?: (answer: JoinAnswer) => void
  readonly onError: (error: SwarmError) => void
}

export interface HostProcess {
  readonly pnode: PNodeHost
  /** Resolves when the broker will not have this host any more, whose rights have run out: it has to be started again. */
  readonly denied: Promise<SwarmError>
  /** Hands over, tells the others, stops. @param signal its abort stops waiting for the handover */
  leave(reason: string, signal?: AbortSignal): Promise<void>
}

/** The right to the broker is fetched anew when so much of its life is over; if that fails, again after so much of what is left. */
const RENEW_AFTER = 0.5
/** Between two attempts, in ms: at its very end too. */
const RENEW_LEAST_MS = 1_000
/**
 * V8 lets a process's heap double before it collects all of it. Without this the buffers of frames, which lie outside, count as growth of a
 * heap of 35 MB, and set off a full collection at every tenth step (docs/benchmarks.md).
 */
const COLLECT_LESS = '--heap-growing-percent=100'

/**
 * Turns this process into a host's, its garbage collector included.
 * @throws `cluster.unreachable`, `cluster.token`, `cluster.version`, `cluster.clock`, `host.name-taken`, codes of the broker and the sidecar
 */
export async function startHost(options: HostProcessOptions): Promise<HostProcess> {
  setFlagsFromString(COLLECT_LESS)
  const { name, owner, key, identity, clock, onError, pool, version, relay = 'auto' } = options
  const request = { name, owner, publicKey: key.publicKey, identity: publicKeyText(identity.publicKey), version }
  const incarnation = randomUUID()
  const sender = new Sender({ from: name, incarnation, signer: keySigner(identity.privateKey), clock })
  const newcomer = new ControlClient({ url: options.url, token: options.token, clock })
  const joined = await newcomer.join(request, sender)
  options.onJoined?.(joined)
  const client = new ControlClient({ url: options.url, token: joined.token, clock })
  const opened: (() => Promise<void> | void)[] = []
  const close = async () => {
    for (const one of opened.toReversed()) await one()
  }
  try {
    let rights = joined.broker
    const controlKeys = new TrustedKeys(joined.controlKeys, clock)
    let cancelRenewal = () => {}
    const closing = new AbortController()
    const renewLater = () => {
      if (closing.signal.aborted) return
      cancelRenewal = clock.after(Math.max(RENEW_LEAST_MS, RENEW_AFTER * (rights.expiresAtMs - clock.now())), () => {
        const renewed = client.join({ ...request, isRenewal: true }, sender).then(({ broker, successions }) => {
          rights = broker
          controlKeys.learn(successions)
        })
        void renewed.catch(onError).then(renewLater)
      })
    }
    renewLater()
    opened.push(() => {
      closing.abort()
      cancelRenewal()
    })
    const address = { servers: [...joined.broker.servers], name, credentials: () => ({ jwt: rights.jwt, seed: key.seed }), onError }
    const control = await natsBus({ ...address, part: 'control' })
    opened.push(() => control.close())
    const data = await natsBus({ ...address, part: 'data' })
    opened.push(() => data.close())
    const types = [`VNode.${name}`, `PNode.${name}`]
    const system = daprActors({
      clock,
      app: { port: options.appPort },
      sidecar: (appPort) => options.sidecar(appPort, joined),
      ownTypes: types,
      onError: (error) => onError(error),
    })
    opened.push(() => system.close())
    const asking = asker(control, name, clock)
    opened.push(() => asking.close())
    const line = controlLine(control, clock)
    opened.push(() => line.close())
    const plain = httpStore({ url: options.url, token: joined.token, clock })
    const { uploadBytesPerSecond } = options
    const limit = uploadBytesPerSecond === undefined ? undefined : new RateLimit(uploadBytesPerSecond, clock)
    // Each attempt pays: it is what goes out.
    const limited = limit ? limitedStore(plain, limit, clock) : plain
    const store = patientStore(limited, {
      clock,
      onWait: (error, delayMs) => {
        if (error.code === 'store.full' && delayMs === FIRST_DELAY_MS) onError(error)
      },
    })
    opened.push(() => store.close())
    const link = {
      ping: (signal: AbortSignal) => asking.ask(CONTROL, 'ping', null, { signal }),
      // Not the patient one: a store that is being started says nothing of the line.
      store: limited,
    }
    const mine = new RegExp(`^sg\\.[^.]+\\.to\\.${name}\\.`)
    const seams: Seams = {
      system,
      bus: loopbackBus(limit ? limitedBus(data, limit, clock) : data, (subject) => mine.test(subject)),
      compute: pool.compute(name),
      store,
      clock,
    }
    const pnode: PNodeHost = new PNodeHost({
      pnode: name,
      identity,
      incarnation,
      ...(options.disguise?.(seams) ?? seams),
      link,
      measureEveryMs: options.measureEveryMs,
      controlKeys,
      memoryBytes: options.memoryBytes,
      terms: { owner, maxVNodes: options.maxVNodes, allowsCode: options.allowsCode },
      heartbeatMs: joined.heartbeatMs,
      heartbeat: (beat) => line.heartbeat(beat),
      cacheFolder: options.cacheFolder,
      maxCacheBytes: options.maxCacheBytes,
      observe: (observation) => line.observe(observation),
      onError,
      async start() {
        const handlers = { rejoin: () => pnode.joinAgain() }
        const answering = answerRelayedCalls(control, name, system, { control: CONTROL, handlers, onError })
        await Promise.all([answering.ready, asking.ready, system.start()])
        if (relay !== 'auto') return { isRelayed: relay === 'always' }
        // Control tries: only it knows whether it can reach our sidecar.
        return { isRelayed: (await asking.ask(CONTROL, 'isReachable', null, { deadlineMs: 20_000 })) !== true }
      },
    })
    await pnode.join()
    const { memoryBytes, pauses, onVerdict } = options
    const terms = { memoryBytes, pauseWhenBusy: false, onBattery: 'continue', ...pauses } as const
    const keeper = keepLimits({ pnode, terms, source: options.machineUse ?? machineUse(), clock, onVerdict, onError })
    return {
      pnode,
      denied: new Promise((resolve) => {
        for (const { closed } of [control, data]) void closed.then((error) => error && resolve(denialOf(name, error)))
      }),
      async leave(reason, signal) {
        keeper.stop()
        await pnode.leave(reason, signal)
        await close()
        await pool.close()
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}

function denialOf(host: string, cause: Error): SwarmError {
  const fix = 'Start it again: it is given new ones'
  return new SwarmError('bus.denied', { what: `the broker does not take the rights of ${host} any more: ${cause.message}`, fix, cause })
}
