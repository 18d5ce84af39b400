/** A simulated cluster: the product's control host and PNodes, each in a process of its own, on simulated seams. */
import { controlLine, CONTROL } from '../../actors/control/channels.js'
import { ControlHost } from '../../actors/control/control-host.js'
import { PNodeHost } from '../../actors/pnode/pnode.js'
import type { AdversaryName } from '../../adversaries/adversaries.js'
import type { ActorRef, Json } from '../../runtime/actor-system/actor-system.js'
import { answer, asker } from '../../runtime/ask.js'
import type { ApplyRequest } from '../../runtime/compute/compute.js'
import { isSwarmError, type SwarmError } from '../../runtime/errors.js'
import { TrustedKeys } from '../../runtime/control-keys.js'
import { type MemoryObjects, memoryObjects } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { patientStore } from '../../runtime/object-store/patient-store.js'
import type { Observation } from '../../actors/reports.js'
import { cutsOf, type Fault, UNNOTICED } from './faults.js'
import { Network, type Sizes } from './network.js'
import { ActorDirectory, SimulatedActors } from './simulated-actors.js'
import { SimulatedBroker } from './simulated-bus.js'
import { type ComputeTimes, SimulatedCompute } from './simulated-compute.js'
import { disguised, identityOf, prove } from './strangers.js'
import { isPoison, type SimulatedRun } from './simulated-run.js'
import { StoreServer } from './simulated-store.js'
import { publicKeyOf, seededIdentity } from '../support/identities.js'
import type { Process, World } from './world.js'

/** What a machine is like. */
export interface HostPlan {
  readonly name: string
  /** Milliseconds for one multiply-add of a VNode's cost. */
  readonly msPerCost: number
  readonly gflops: number
  readonly memoryBytes: number
  readonly computeClass: string
  /** What it does instead of what it should. Absent: it is honest. */
  readonly adversary?: AdversaryName
  /** Whether it does so this time. Default: always. */
  readonly isCheating?: (request: ApplyRequest) => boolean
  /** Whose it is. Default: its own. */
  readonly owner?: string
}

/** Who watches. */
export interface Watch {
  onApply(host: string, vnode: string, request: ApplyRequest): void
  onObservation(host: string, observation: Observation): void
  onMessage(message: { readonly from: string; readonly to: string; readonly subject: string; readonly bytes: Uint8Array }): void
  onCall(to: string, target: ActorRef, method: string, argument: Json): void
  onPut(key: string, bytes: Uint8Array, writer: string): void
  /** Keys of the states that the newest checkpoint names. */
  newestBlobs(): readonly string[]
  onRot(key: string): void
  /** A run waits for somebody who goes on with it. */
  isPaused(run: string): boolean
  /** A bug: something that nobody can be told of and that will not pass. */
  onError(process: string, error: SwarmError): void
}

export interface ClusterPlan {
  readonly run: SimulatedRun
  /** Runs that share the hosts with it, and when each is asked for, in ms. */
  readonly others?: readonly { readonly run: SimulatedRun; readonly atMs: number }[]
  readonly hosts: readonly HostPlan[]
  readonly latency: { readonly leastMs: number; readonly mostMs: number; readonly jitterMs: number }
  /** Default: nothing takes longer for being large. */
  readonly sizes?: Sizes
  readonly times?: ComputeTimes
  /** Hosts whose word settles disputes. */
  readonly arbiters?: readonly string[]
  /** Hosts of which so much was found to be right before that they are on probation no more. */
  readonly proven?: readonly string[]
  /** How long a run stands still before it is asked why. Default: the product's. */
  readonly standstillMs?: number
}

/** A host as it runs now. */
interface Running {
  readonly process: Process
  readonly pnode: PNodeHost
  readonly compute: SimulatedCompute
}

/** A broker tells of a broken connection within so long, in ms. */
const NOTICE_MS = 20
/** A broker that gets no answer gives a connection up after so long, in ms. */
const PING_MS = 15_000
const HEARTBEAT_MS = 1_000
/** A trainer looks this often whether the run is under way, in ms. */
const TRAINER_MS = 500

/** The same in all simulations. */
const controlKey = seededIdentity('control')
const controlSecret = new Uint8Array(32)

export class SimulatedCluster {
  readonly world: World
  readonly network: Network
  readonly store: StoreServer
  readonly #plan: ClusterPlan
  readonly #watch: Watch
  readonly #broker: SimulatedBroker
  readonly #actors: ActorDirectory
  readonly #running = new Map<string, Running>()
  readonly #plans: Map<string, HostPlan>
  #control: { readonly process: Process; readonly host: ControlHost } | undefined
  #controlDisk: MemoryObjects = memoryObjects()
  readonly #trainer: Process
  #pausedUntil = 0
  #incarnations = 0

  constructor(world: World, plan: ClusterPlan, watch: Watch) {
    this.world = world
    this.#plan = plan
    this.#watch = watch
    this.#plans = new Map(plan.hosts.map((host) => [host.name, host]))
    this.network = new Network(world, plan.latency, plan.sizes)
    this.#broker = new SimulatedBroker(world, this.network, (message) => watch.onMessage(message))
    this.#actors = new ActorDirectory(world, this.network, (to, target, method, argument) =>
      watch.onCall(to.name, target, method, argument),
    )
    this.#trainer = world.spawn('trainer')
    this.store = new StoreServer(world, this.network, (key, bytes, writer) => watch.onPut(key, bytes, writer))
  }

  /** Starts everything, and the run as soon as control takes it. */
  begin(): void {
    const { hosts, proven = [] } = this.#plan
    const start = () => {
      this.startControl()
      for (const { name } of hosts) this.startHost(name)
      for (const { run, atMs } of this.#runs) this.#keepRunning(run, atMs)
    }
    if (proven.length === 0) start()
    else void prove(patientStore(this.store.client(this.#trainer), this.#trainer), proven).then(start)
  }

  get #runs(): readonly { readonly run: SimulatedRun; readonly atMs: number }[] {
    const { run, others = [] } = this.#plan
    return [{ run, atMs: 1 }, ...others]
  }

  /** Names of the hosts that live. */
  get hosts(): string[] {
    return [...this.#running].filter(([, { process }]) => process.isAlive).map(([name]) => name)
  }

  pnodes(): PNodeHost[] {
    return [...this.#running.values()].filter(({ process }) => process.isAlive).map(({ pnode }) => pnode)
  }

  get control(): ControlHost | undefined {
    return this.#control?.process.isAlive ? this.#control.host : undefined
  }

  /** A trainer stores the definition, and asks until the run is under way; one that was paused it goes on with. */
  #keepRunning({ id, definition, settings }: SimulatedRun, atMs: number): void {
    const { clock } = this.#trainer
    const store = patientStore(this.store.client(this.#trainer), { clock })
    const text = (value: object) => new TextEncoder().encode(JSON.stringify(value))
    const keep = async () => {
      await Promise.all([store.put(`runs/${id}/definition`, text(definition)), store.put(`runs/${id}/settings`, text(settings))])
      for (let isBegun = false; ; await clock.sleep(TRAINER_MS)) {
        const { control } = this
        if (!control || (isBegun && !this.#watch.isPaused(id)) || this.world.now < this.#pausedUntil) continue
        const asked = this.#controlled(() => control.startRun(id))
        isBegun = (await Promise.race([asked, clock.sleep(20_000)])) === true || isBegun
      }
    }
    this.world.after(atMs, this.#trainer, () => void keep())
  }

  /** Asks control for something; whether it was done. */
  async #controlled(ask: () => Promise<void>): Promise<boolean> {
    try {
      await ask()
      return true
    } catch {
      return false
    }
  }

  startControl(): void {
    const process = this.world.spawn(CONTROL)
    const { clock } = process
    const bus = this.#broker.connect(process)
    const onError = (error: SwarmError) => this.#watch.onError(process.name, error)
    const system = new SimulatedActors(process, this.#actors, this.#controlDisk, onError)
    const host = new ControlHost({
      system,
      store: this.store.client(process),
      bus,
      asker: asker(bus, CONTROL, clock),
      clock,
      controlKey,
      controlSecret,
      hostKeys: async (name) => identityOf(name).text,
      membership: {
        heartbeatMs: HEARTBEAT_MS,
        isTrusted: (pnode) => this.#plan.arbiters?.includes(pnode) === true,
        ...(this.#plan.standstillMs && { standstillMs: this.#plan.standstillMs }),
        isHearing: () => !this.network.isCut('*', CONTROL, 'bus'),
      },
      onError,
    })
    this.#control = { process, host }
    this.world.after(1, process, () => void host.start())
  }

  startHost(name: string): void {
    if (this.#running.get(name)?.process.isAlive) return
    const plan = this.#plans.get(name) ?? { ...this.#plan.hosts[0], name, adversary: undefined, owner: undefined }
    const process = this.world.spawn(name)
    const { clock } = process
    const bus = this.#broker.connect(process)
    const onError = (error: SwarmError) => this.#watch.onError(name, error)
    const system = new SimulatedActors(process, this.#actors, memoryObjects(), onError)
    const line = controlLine(bus, clock)
    const runs = new Map(this.#runs.map(({ run }) => [run.id, run]))
    const compute = new SimulatedCompute({
      process,
      now: () => this.world.now,
      computeClass: plan.computeClass,
      gflops: plan.gflops,
      stepMs: (cost) => cost * plan.msPerCost,
      times: this.#plan.times,
      isPoison: (id, vnode, position) => isPoison(runs.get(id), vnode, position),
      onApply: (vnode, request) => this.#watch.onApply(name, vnode, request),
    })
    const store: ObjectStore = patientStore(this.store.client(process), { clock })
    const dataset = (id: string) => runs.get(id)?.dataset
    const pnode = new PNodeHost({
      pnode: name,
      identity: identityOf(name).own,
      ...disguised({ system, bus, compute, store, clock, dataset }, plan),
      // Without audits the source is believed (docs/trust.md).
      ...(!this.#plan.run.settings.audits && { dataset }),
      ...(plan.owner !== undefined && { terms: { owner: plan.owner } }),
      controlKeys: new TrustedKeys([{ key: publicKeyOf('control') }], clock),
      memoryBytes: plan.memoryBytes,
      heartbeatMs: HEARTBEAT_MS,
      incarnation: `start-${++this.#incarnations}`,
      heartbeat: (beat) => line.heartbeat(beat),
      cacheFolder: '/nowhere',
      observe: (observation) => {
        line.observe(observation)
        this.#watch.onObservation(name, observation)
      },
      onError,
      start: async () => {
        answer(bus, name, { rejoin: () => pnode.joinAgain() }, { onError })
        await system.start()
        return {}
      },
    })
    this.#running.set(name, { process, pnode, compute })
    const join = async () => {
      try {
        await pnode.join()
      } catch (error) {
        // It was told to leave before it had joined.
        if (!isSwarmError(error, 'aborted', 'compute.closed')) throw error
      }
    }
    this.world.after(1, process, () => void join())
  }

  /** Makes a fault happen. */
  strike(fault: Fault): void {
    const { world } = this
    const host = 'host' in fault ? this.#running.get(fault.host) : undefined
    world.note(5, fault.kind.length, fault.atMs)
    const later = (ms: number, action: () => void) => world.after(ms, undefined, action)
    switch (fault.kind) {
      case 'join':
        return this.startHost(fault.host)
      case 'crash':
        return this.#crash(fault.host, fault.returnsMs, fault.isSilent)
      case 'crash-all':
        for (const name of this.hosts) this.#crash(name, fault.returnsMs, false)
        break
      case 'worker':
        if (host?.process.isAlive) world.after(0, host.process, () => host.compute.kill('chaos'))
        break
      case 'stuck':
        if (!host?.process.isAlive) break
        host.compute.isStuck = true
        later(fault.forMs, () => (host.compute.isStuck = false))
        break
      case 'stop':
        if (host) this.#stop(host.process, fault.forMs)
        break
      case 'slow':
        if (!host) break
        host.process.slowness = fault.factor
        later(fault.forMs, () => (host.process.slowness = 1))
        break
      case 'skew':
        if (host) host.process.skewMs = fault.byMs
        break
      case 'cut': {
        const heals = cutsOf(
          fault.host,
          fault.way,
          this.hosts.find((name) => name !== fault.host),
        ).map((cut) => this.network.cut(cut))
        if (fault.forMs > PING_MS && !UNNOTICED.includes(fault.way)) this.#notice(fault.host, PING_MS)
        later(fault.forMs, () => heals.forEach((heal) => heal()))
        break
      }
      case 'storm':
        later(fault.forMs, this.network.storm(fault.storm))
        break
      case 'broker':
        later(fault.forMs, this.network.cut({ plane: 'bus' }))
        break
      case 'flap':
        this.#notice(fault.host, NOTICE_MS)
        break
      case 'store-refuses':
        this.store.refusedShare = fault.share
        later(fault.forMs, () => (this.store.refusedShare = 0))
        break
      case 'store-slow':
        this.store.slowMs = fault.byMs
        later(fault.forMs, () => (this.store.slowMs = 0))
        break
      case 'store-crash':
        this.store.crash()
        later(fault.forMs, () => this.store.restart())
        break
      case 'control-crash':
        this.#control?.process.kill()
        if (fault.losesDisk) this.#controlDisk = memoryObjects()
        later(fault.forMs, () => {
          if (!this.#control?.process.isAlive) this.startControl()
        })
        break
      case 'control-stop':
        if (this.#control) this.#stop(this.#control.process, fault.forMs)
        break
      case 'control-split': {
        // It is taken for dead, and is not.
        const old = this.#control
        this.#controlDisk = memoryObjects()
        this.startControl()
        later(fault.forMs, () => old?.process.kill())
        break
      }
      case 'rot': {
        const blobs = this.#watch.newestBlobs()
        if (blobs.length === 0) break
        const key = blobs[fault.which % blobs.length]
        this.#watch.onRot(key)
        world.after(0, this.store.process, () => void this.store.rot(key, fault.which * 7).catch(() => undefined))
        break
      }
      case 'pause': {
        const { control } = this
        if (control) void this.#controlled(() => control.pauseRun(this.#plan.run.id))
        this.#pausedUntil = world.now + fault.forMs
        break
      }
      case 'leave': {
        if (!host?.process.isAlive) break
        const { process, pnode } = host
        const limit = new AbortController()
        process.clock.after(30_000, () => limit.abort())
        world.after(0, process, () => {
          const leave = async () => {
            await pnode.leave('its owner ended it', limit.signal)
            process.kill()
            later(fault.returnsMs, () => this.startHost(fault.host))
          }
          void leave()
        })
        break
      }
    }
  }

  #stop(process: Process, forMs: number): void {
    process.stoppedUntil = Math.max(process.stoppedUntil, this.world.now + forMs)
  }

  #crash(name: string, returnsMs: number, isSilent: boolean): void {
    const host = this.#running.get(name)
    if (!host?.process.isAlive) return
    host.process.kill()
    this.#notice(name, isSilent ? PING_MS : NOTICE_MS, host.process)
    if (returnsMs < Infinity) this.world.after(returnsMs, undefined, () => this.startHost(name))
  }

  /** The broker tells control that a connection is gone; of one that was followed by another nobody hears. */
  #notice(name: string, afterMs: number, of = this.#running.get(name)?.process): void {
    this.world.after(afterMs, undefined, () => {
      const control = this.#control
      if (!control || this.#running.get(name)?.process !== of || this.network.isCut('*', CONTROL, 'bus')) return
      this.world.after(1, control.process, () => control.host.connectionLost(name, 'its connection was lost'))
    })
  }
}
