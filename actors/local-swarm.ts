/** A swarm in this process: the actors on this thread, each PNode with a compute worker of its own (DESIGN.md §6). */
import { randomBytes } from 'node:crypto'
import { SOURCE } from '../components/definition.js'
import type { Dataset } from '../components/datasets/index.js'
import { localActors } from '../runtime/actor-system/local-actors.js'
import type { ActorSystem } from '../runtime/actor-system/actor-system.js'
import type { Clock } from '../runtime/clock.js'
import type { ComputePool } from '../runtime/compute/compute.js'
import { type SwarmError, toSwarmError } from '../runtime/errors.js'
import { type ControlKey, createControlKey } from '../runtime/grant.js'
import { TrustedKeys } from '../runtime/control-keys.js'
import { createIdentity, type Identity, publicKeyText } from '../runtime/identity.js'
import { memoryStore } from '../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { memoryBroker } from '../runtime/tensor-bus/memory-bus.js'
import type { BusConnect } from '../runtime/tensor-bus/tensor-bus.js'
import type { BalanceOptions } from './run/balance.js'
import { actor, call, type Membership, untilHeard } from './calls.js'
import { TIERS_WITHOUT_FLOOR } from './placement/admission.js'
import { listMembers } from './placement/parts.js'
import { DEFAULT_MEMBERSHIP, type MembershipOptions, placementActor } from './placement/placement.js'
import { PNodeHost } from './pnode/pnode.js'
import type { Seams } from './pnode/seams.js'
import { relocationActor } from './relocation.js'
import { storedLedgerKey } from './trust/ledger-key.js'
import { quarantineActor } from './trust/quarantine.js'
import { runActor } from './run/run.js'
import { bundleFolder, type RunDefinition } from './run/run-definition.js'
import { RunMonitor } from './run/run-monitor.js'
import type { Observation } from './reports.js'
import { StepRatings } from './control/step-ratings.js'
import { controlActors } from './control/control-actors.js'
import { trustBy } from './trust/trust.js'
import { isTraining } from '../runtime/step-log.js'

export interface LocalSwarmOptions {
  readonly run: string
  readonly definition: RunDefinition
  readonly dataset: Dataset
  readonly store: ObjectStore
  readonly clock: Clock
  readonly pool: ComputePool
  /** Names of the PNodes. */
  readonly pnodes: readonly string[]
  readonly membership?: Partial<Omit<MembershipOptions, 'onMember'>>
  readonly balance?: Partial<BalanceOptions>
  /** Other than the one in memory: for tests that shuffle, double and delay. */
  readonly connect?: BusConnect
  /** What each PNode lends to VNodes, in bytes. Default: no limit worth the name. */
  readonly memoryBytes?: number
  /** A killed PNode comes back after this long, in ms, as a volunteer's machine does; Infinity: never. */
  readonly returnMs?: number
  /** What a PNode gets for its own seams: for tests in which some of them lie. Default: what is there. */
  readonly disguise?: (pnode: string, honest: Seams) => Seams
  /** The same for what it says and answers, before that is signed. */
  readonly speech?: (pnode: string, honest: ActorSystem) => ActorSystem
  readonly onError?: (error: SwarmError) => void
  /** Sees every observation, for benchmarks and tests. */
  readonly onObservation?: (observation: Observation) => void
}

/** Long enough to be seen in a terminal, short enough that chaos never runs out of PNodes. */
export const DEFAULT_RETURN_MS = 1_500
const PLENTY_BYTES = 64e9

export class LocalSwarm {
  readonly monitor: RunMonitor
  readonly #options: LocalSwarmOptions
  readonly #ratings: StepRatings
  readonly #system: ActorSystem
  /** The same, as control: its calls are signed, and so are those that its actors hear. */
  readonly #control: ActorSystem
  /** By name: a PNode that comes back is who it was. */
  readonly #identities = new Map<string, Identity>()
  readonly #connect: BusConnect
  readonly #controlKey: ControlKey = createControlKey()
  readonly #hosts = new Map<string, PNodeHost>()
  readonly #members = new Map<string, Membership>()
  readonly #returns = new Set<() => void>()
  /** PNodes that hand over before they go. */
  readonly #leaving = new Set<string>()
  readonly #closing = new AbortController()
  #isClosed = false

  constructor(options: LocalSwarmOptions) {
    const { run, definition, clock } = options
    this.#options = options
    this.#connect = options.connect ?? memoryBroker().connect
    // Everybody ends together with this process: what outlives it is in the run's records.
    this.#system = localActors({ store: memoryStore(), clock, onError: this.#onError })
    this.#control = controlActors(this.#system, {
      clock,
      controlKey: this.#controlKey,
      secret: randomBytes(32),
      hostKeys: async (pnode) => (this.#identities.has(pnode) ? publicKeyText(this.#identities.get(pnode)!.publicKey) : undefined),
      onRefused: (code) => this.monitor.observe({ type: 'dropped', run, vnode: '', reason: `call: ${code}` }),
    })
    this.monitor = new RunMonitor(run, definition, clock, () => [...this.#members.values()])
    this.#ratings = new StepRatings({
      clock,
      everyMs: options.membership?.rateMs,
      members: () => listMembers(this.#control),
      rate: (rating) => call<'Placement', 'rate'>(this.#control, actor.placement, 'rate', rating),
      onError: (error) => this.#onError(toSwarmError(error, 'internal', 'ratings')),
    })
    this.#ratings.watch(run, definition)
  }

  /** Starts the control actors and the PNodes, and begins or continues the run. */
  async start(): Promise<void> {
    const { run, store, membership, balance, pnodes } = this.#options
    this.#control.register(
      placementActor({
        ...DEFAULT_MEMBERSHIP,
        tiers: TIERS_WITHOUT_FLOOR,
        ...membership,
        onMember: (member, reason) => this.#onMember(member, reason),
      }),
    )
    this.#control.register(relocationActor())
    this.#control.register(
      quarantineActor({ store, ledgerKey: () => storedLedgerKey(store), isTrusted: membership?.isTrusted, onError: this.#onError }),
    )
    this.#control.register(
      runActor({
        store,
        controlKey: this.#controlKey,
        monitor: () => this.monitor,
        rollCallMs: membership?.lostMs,
        standstillMs: membership?.standstillMs,
        trust: trustBy(membership?.isTrusted),
        balance,
        onError: this.#onError,
        // Two processes, one run: the later one has it.
        onReplaced: (_run, error) => this.monitor.emit({ type: 'failed', error: error.toJSON() }),
      }),
    )
    await this.#control.start()
    // Who was found out in this store before gets nothing of what comes next.
    await call<'Quarantine', 'look'>(this.#control, actor.quarantine, 'look', { pnodes: [] }).catch(this.#onError)
    await Promise.all(pnodes.map((pnode) => this.#join(pnode)))
    await this.#control.call(actor.run(run), 'start', null, { deadlineMs: 60_000 })
  }

  /** At the next step boundary. */
  async pause(): Promise<void> {
    const { clock, run } = this.#options
    await untilHeard(clock, this.#closing.signal, () => call<'Run', 'pause'>(this.#control, actor.run(run), 'pause', null))
  }

  /** PNodes that are up, in the order of their names. */
  get pnodes(): string[] {
    return [...this.#hosts.keys()].toSorted()
  }

  /** PNodes that host a VNode now, or the source. */
  get busyPNodes(): string[] {
    return this.pnodes.filter((pnode) => this.#hosts.get(pnode)!.vnodes.length > 0)
  }

  /** PNodes whose worker computes. */
  get computingPNodes(): string[] {
    return this.pnodes.filter((pnode) => this.#hosts.get(pnode)!.vnodes.some((id) => !id.endsWith(`/${SOURCE}`)))
  }

  /** Ends a PNode as a power cut would; its silence is told at once, as a broker tells of a broken connection. It returns later. */
  async killPNode(pnode: string, reason = 'killed'): Promise<void> {
    const host = this.#hosts.get(pnode)
    if (!host) return
    this.#hosts.delete(pnode)
    host.crash()
    const returnMs = this.#options.returnMs ?? DEFAULT_RETURN_MS
    if (returnMs !== Infinity) {
      const cancel = this.#options.clock.after(returnMs, () => {
        this.#returns.delete(cancel)
        this.#join(pnode).catch((error: unknown) => this.#onError(error as SwarmError))
      })
      this.#returns.add(cancel)
    }
    await call<'Placement', 'leave'>(this.#control, actor.placement, 'leave', { pnode, reason })
  }

  /** Takes a PNode for lost although it lives on, as after a partition of the network: its terms are over, and it does not know. */
  async giveUp(pnode: string, reason = 'not heard of'): Promise<void> {
    await call<'Placement', 'leave'>(this.#control, actor.placement, 'leave', { pnode, reason })
  }

  /** Deactivates the actor of a VNode, as an actor system does with idle ones. */
  async deactivate(vnode: string): Promise<void> {
    const pnode = this.monitor.vnodes().find((view) => view.vnode === vnode)?.pnode
    if (pnode !== undefined) await this.#system.deactivate(actor.vnode(pnode, this.#options.run, vnode))
  }

  /** The control actors forget all that is not in the store, as after the loss of their host, and go on from there. */
  async restartControl(): Promise<void> {
    const run = actor.run(this.#options.run)
    for (const ref of [run, actor.quarantine, actor.relocation, actor.placement]) await this.#system.deactivate(ref)
    await untilHeard(this.#options.clock, this.#closing.signal, () => call<'Run', 'wake'>(this.#control, run, 'wake', null))
  }

  /** Ends the compute worker of a PNode; the PNode lives on with the spare. */
  killWorker(pnode: string, reason = 'killed'): void {
    this.#hosts.get(pnode)?.killWorker(reason)
  }

  /** Another PNode joins. */
  async add(pnode: string): Promise<void> {
    if (!this.#hosts.has(pnode)) await this.#join(pnode)
  }

  /** A PNode hands over what it has, and goes for good. */
  async drain(pnode: string, reason = 'drained'): Promise<void> {
    const host = this.#hosts.get(pnode)
    if (!host) return
    this.#leaving.add(pnode)
    await host.leave(reason, this.#closing.signal)
    this.#hosts.delete(pnode)
    this.#leaving.delete(pnode)
  }

  /** Stops everything. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#closing.abort()
    for (const cancel of this.#returns) cancel()
    this.#ratings.close()
    for (const host of this.#hosts.values()) host.crash()
    // What outlives this process is in the ledger, and no actor is there to write it later.
    await call<'Quarantine', 'settle'>(this.#control, actor.quarantine, 'settle', null).catch(() => undefined)
    await this.#system.close()
    this.monitor.feed.close()
  }

  async #join(pnode: string): Promise<void> {
    if (this.#isClosed) return
    const { run, dataset, store, clock, pool, membership, memoryBytes, disguise, speech } = this.#options
    const bus = await this.#connect(pnode)
    const ownData = (id: string) => (id === run ? dataset : undefined)
    const seams: Seams = { system: this.#system, bus, compute: pool.compute(pnode), store, clock, dataset: ownData }
    const identity = this.#identities.get(pnode) ?? createIdentity()
    this.#identities.set(pnode, identity)
    const host = new PNodeHost({
      pnode,
      identity,
      ...(disguise?.(pnode, seams) ?? seams),
      speech: (honest) => speech?.(pnode, honest) ?? honest,
      controlKeys: new TrustedKeys([{ key: publicKeyText(this.#controlKey.publicKey) }], clock),
      memoryBytes: memoryBytes ?? PLENTY_BYTES,
      heartbeatMs: membership?.heartbeatMs ?? DEFAULT_MEMBERSHIP.heartbeatMs,
      cacheFolder: bundleFolder(),
      observe: (observation) => {
        this.monitor.observe(observation)
        this.#rate(observation)
        this.#options.onObservation?.(observation)
      },
      onError: this.#onError,
    })
    this.#hosts.set(pnode, host)
    // One that nobody hears is lost, whatever else it can do.
    void bus.closed.then(() => {
      const isHere = !this.#isClosed && this.#hosts.get(pnode) === host && !this.#leaving.has(pnode)
      if (isHere) this.killPNode(pnode, 'its bus was closed').catch(this.#onError)
    })
    await host.join()
  }

  #rate(observation: Observation): void {
    if (observation.type !== 'applied' || !isTraining(observation.entry)) return
    const { run, vnode, pnode, busyMs } = observation
    this.#ratings.observe(run, vnode, pnode, { busyMs, steps: 1 })
  }

  #onMember(member: Membership, reason: string): void {
    this.#members.set(member.pnode, member)
    this.monitor.member(member, reason)
  }

  readonly #onError = (error: SwarmError): void => {
    if (!this.#isClosed) this.#options.onError?.(error)
  }
}
