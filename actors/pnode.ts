/** A PNode: one machine's share of the swarm. It hosts VNodes, reports its worker's loss, and says that it is there. */
import { setMaxListeners } from 'node:events'
import { type Dataset, datasetFromShards, shardKey } from '../components/datasets/index.js'
import { SOURCE } from '../components/definition.js'
import type { ActorContext, ActorDefinition, ActorSystem } from '../runtime/actor-system/actor-system.js'
import type { Clock } from '../runtime/clock.js'
import type { Compute, ComputeLoss } from '../runtime/compute/compute.js'
import { SwarmError, toSwarmError } from '../runtime/errors.js'
import { type Grant, type SignedGrant, verifyGrant } from '../runtime/grant.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import type { TensorBus } from '../runtime/tensor-bus/tensor-bus.js'
import type { KeyObject } from 'node:crypto'
import { actor, call, type Calls, type Heartbeat, isTransient, type Profile, untilHeard } from './calls.js'
import type { HostUse } from './host-limits.js'
import { MemoryUse } from './memory-use.js'
import { type Link, MEASURE_MS, measureLink, measureQuietly } from './profile.js'
import { leftBehind, NO_QUEUES, type Queues, sumOf } from './queues.js'
import type { Observation, RunReport } from './reports.js'
import { machineDefinition, readDefinition, type RunDefinition } from './run-definition.js'
import { readSettings, type RunSettings } from './run-settings.js'
import { SourceDriver } from './source.js'
import { Terms } from './terms.js'
import { VNodeDriver } from './vnode-driver.js'
import type { VNodeHost } from './vnode-host.js'

export interface PNodeOptions {
  readonly pnode: string
  readonly system: ActorSystem
  readonly bus: TensorBus
  readonly compute: Compute
  readonly store: ObjectStore
  readonly clock: Clock
  /** Verifies grants. */
  readonly controlKey: KeyObject
  readonly memoryBytes: number
  readonly heartbeatMs: number
  /** Names this start of the process. Default: at random. */
  readonly incarnation?: string
  /** What else its owner says of it. */
  readonly terms?: Pick<Profile, 'owner' | 'maxVNodes' | 'allowsCode'>
  /** Starts the actor system, where this PNode has one of its own: called when its actor types are registered; what it says of itself then. */
  readonly start?: () => Promise<Pick<Profile, 'isRelayed'>>
  /** Its way to the others, where it has a process and a machine of its own: then its memory and its line are measured, too. */
  readonly link?: Link
  /** How often it measures itself again while it has no VNodes, in ms; Infinity: never. Default `MEASURE_MS`. */
  readonly measureEveryMs?: number
  /** How a heartbeat is told; false: nobody knows us. Default: a call to the placement service. */
  readonly heartbeat?: (heartbeat: Heartbeat) => Promise<boolean>
  /** Data at hand, so that the source need not read it from the store. */
  readonly dataset?: (run: string) => Dataset | undefined
  /** Folder for user code that was fetched from the store. */
  readonly cacheFolder: string
  /** The most that may be in it, in bytes. Default: no limit. */
  readonly maxCacheBytes?: number
  readonly observe: (observation: Observation) => void
  /** Told of errors that no caller can be told of. */
  readonly onError: (error: SwarmError) => void
}

/** How often a PNode that hands over looks whether it is done, in ms, and after how many looks it asks again. */
const DRAIN_POLL_MS = 50
const DRAIN_POLLS = 40

/** The process of one PNode. */
export class PNodeHost {
  readonly pnode: string
  readonly #options: PNodeOptions
  /** By `<run>/<vnode>`. */
  readonly #drivers = new Map<string, VNodeDriver | SourceDriver>()
  readonly #terms = new Terms()
  readonly #memory: MemoryUse
  readonly #abort = new AbortController()
  readonly #heartbeat: (heartbeat: Heartbeat) => Promise<boolean>
  #profile: Profile | undefined
  #busyMs = 0
  /** Of VNodes that are not here any more. */
  #past: Queues = NO_QUEUES
  /** Why its owner wants it to have nothing. */
  #paused: string | undefined

  constructor(options: PNodeOptions) {
    // Whatever is told until it is heard waits for its end.
    setMaxListeners(0, this.#abort.signal)
    this.pnode = options.pnode
    this.#options = options
    const { system, compute } = options
    this.#memory = new MemoryUse(compute, this.#report)
    this.#heartbeat = options.heartbeat ?? ((beat) => call<'Placement', 'heartbeat'>(system, actor.placement, 'heartbeat', beat))
  }

  /** Warms the compute, registers the actor types, measures, joins. */
  async join(): Promise<void> {
    const { system, compute, clock, memoryBytes, heartbeatMs, link, measureEveryMs = MEASURE_MS } = this.#options
    const { incarnation = crypto.randomUUID() } = this.#options
    // A worker may be lost while it is measured, too.
    const { signal } = this.#abort
    const memory = link && { allocationBytes: memoryBytes }
    const measured = await untilHeard(clock, signal, () => compute.start(signal, memory))
    this.#abort.signal.throwIfAborted()
    system.register(this.#vnodeActor())
    const describe = () => ({ pnode: this.pnode, vnodes: this.vnodes })
    system.register({ type: `PNode.${this.pnode}`, activate: () => null, handlers: { describe } })
    compute.onLoss((loss) => this.#onWorkerLoss(loss))
    const started = await this.#options.start?.()
    const { terms } = this.#options
    const line = await this.#line()
    this.#profile = { pnode: this.pnode, incarnation, ...measured, memoryBytes, ...line, ...terms, ...started }
    await this.joinAgain()
    this.#beat(heartbeatMs)
    const isIdle = () => this.#drivers.size === 0
    measureQuietly({ pnode: this.pnode, clock, signal, everyMs: measureEveryMs, isIdle, measure: () => this.#measureAgain() })
  }

  async #line(): Promise<Partial<Profile>> {
    const { link, clock } = this.#options
    return link ? measureLink(this.pnode, link, clock, this.#abort.signal) : {}
  }

  /** Speed and line; memory was tried when it joined, and is not taken from anybody again. */
  async #measureAgain(): Promise<void> {
    const { compute, clock, system } = this.#options
    const { signal } = this.#abort
    try {
      const { gflops } = await compute.start(signal)
      this.#profile = { ...this.#profile!, gflops, ...(await this.#line()) }
      await untilHeard(clock, signal, () => call<'Placement', 'measured'>(system, actor.placement, 'measured', this.#profile!))
    } catch (error) {
      // A worker that is lost just now is replaced, and measured the next time.
      if (!isTransient(error)) this.#report(error)
    }
  }

  /** Says who it is, to a placement service that does not know it (any more). */
  async joinAgain(): Promise<void> {
    const { system, clock } = this.#options
    const { signal } = this.#abort
    await untilHeard(clock, signal, () => call<'Placement', 'join'>(system, actor.placement, 'join', this.#profile!))
    if (this.#paused !== undefined) await this.#drain(this.#paused, signal)
  }

  /** Hands over what it has, and gets nothing until `resume`; where nobody can take it, it stands still. Resolves when that is known. */
  async pause(reason: string): Promise<void> {
    this.#paused = reason
    await this.#drain(reason, this.#abort.signal)
  }

  /** May have VNodes again. */
  async resume(): Promise<void> {
    this.#paused = undefined
    const { system, clock } = this.#options
    const argument = { pnode: this.pnode, by: 'host' } as const
    await untilHeard(clock, this.#abort.signal, () => call<'Placement', 'undrain'>(system, actor.placement, 'undrain', argument))
  }

  /** Its owner allows more, or less. Resolves when that is known; what there is no room for any more is handed over. */
  async lend(lent: Partial<Pick<Profile, 'memoryBytes' | 'maxVNodes'>>): Promise<void> {
    const { system, clock } = this.#options
    this.#profile = { ...this.#profile!, ...lent }
    const { pnode, memoryBytes, maxVNodes } = this.#profile
    const argument = { pnode, memoryBytes, ...(maxVNodes !== undefined && { maxVNodes }) }
    await untilHeard(clock, this.#abort.signal, () => call<'Placement', 'lend'>(system, actor.placement, 'lend', argument))
  }

  /** What its VNodes use, as of the last time that this was asked and the compute could answer, and what they were thought to need. */
  use(): Pick<HostUse, 'tensorBytes' | 'placedBytes'> {
    return this.#memory.use(this.vnodes)
  }

  async #drain(reason: string, signal: AbortSignal): Promise<void> {
    const { system, clock } = this.#options
    await untilHeard(clock, signal, () => call<'Placement', 'drain'>(system, actor.placement, 'drain', { pnode: this.pnode, reason }))
  }

  /**
   * Hands over what it has, after the next checkpoint, so that no step is done again; then tells the others that it goes, and stops.
   * @param signal its abort stops waiting for the handover: what is still here is then lost, and replayed elsewhere
   */
  async leave(reason: string, signal?: AbortSignal): Promise<void> {
    const { system, bus, compute, clock } = this.#options
    this.#paused = reason
    const stop = AbortSignal.any([this.#abort.signal, ...(signal ? [signal] : [])])
    try {
      do {
        await this.#drain(reason, stop)
        for (let i = 0; i < DRAIN_POLLS && this.vnodes.length > 0; i++) await clock.sleep(DRAIN_POLL_MS, stop)
      } while (this.vnodes.length > 0)
    } catch (error) {
      if (!stop.aborted) this.#report(error)
    }
    await call<'Placement', 'leave'>(system, actor.placement, 'leave', { pnode: this.pnode, reason }).catch(this.#report)
    this.#abort.abort(new SwarmError('aborted', `${this.pnode} left`))
    await Promise.all([...this.#drivers.values()].map((driver) => driver.stop()))
    await this.#unregister()
    bus.close()
    await compute.close()
  }

  /** Ends as if the power had failed: nobody is told. */
  crash(): void {
    const { bus, compute } = this.#options
    this.#abort.abort(new SwarmError('aborted', `${this.pnode} crashed`))
    for (const driver of this.#drivers.values()) driver.crash()
    bus.close()
    compute.kill('killed with its PNode')
    void compute.close()
    this.#unregister().catch(this.#report)
  }

  /** Ends the compute worker, as a crash of it would. */
  killWorker(reason: string): void {
    this.#options.compute.kill(reason)
  }

  get vnodes(): string[] {
    return [...this.#drivers.keys()]
  }

  /** Where each of its VNodes stands. */
  get stats() {
    return [...this.#drivers.values()].map(({ grant: { run, vnode, term, generation }, stats, queues }) => ({
      run,
      vnode,
      term,
      generation,
      queues,
      ...stats,
    }))
  }

  /** What waits here, and what has gone through, of all VNodes together. */
  get queues(): Queues {
    return sumOf([this.#past, ...[...this.#drivers.values()].map(({ queues }) => queues)])
  }

  readonly #report = (error: unknown): void => {
    if (!this.#abort.signal.aborted) this.#options.onError(toSwarmError(error, 'internal', this.pnode))
  }

  async #unregister(): Promise<void> {
    const { system } = this.#options
    await Promise.all([system.unregister(`VNode.${this.pnode}`), system.unregister(`PNode.${this.pnode}`)])
  }

  /**
   * The actor is only the door: what it opened lives on when an actor system deactivates it (a broker's hiccup deactivates all of them), by
   * VNode and term.
   */
  #vnodeActor(): ActorDefinition<null> {
    type Handler<M extends keyof Calls['VNode']> = (
      context: ActorContext,
      memory: null,
      argument: Calls['VNode'][M][0],
    ) => Promise<void> | void
    const handlers: { readonly [M in keyof Calls['VNode']]: Handler<M> } = {
      grant: (context, _memory, signed) => this.#onGrant(context, signed),
      neighbour: ({ ref }, _memory, peer) => this.#drivers.get(ref.id)?.neighbour(peer),
      manifest: ({ ref }, _memory, { position }) => this.#drivers.get(ref.id)?.manifest(position),
      stop: async (context, _memory, { term }) => {
        const driver = this.#drivers.get(context.ref.id)
        if (driver && driver.grant.term > term) return
        this.#terms.over(context.ref.id, term)
        await this.#stop(context.ref.id)
        context.deactivate()
      },
      cut: ({ ref }) => this.#sourceOf(ref.id)?.cut(),
      pause: ({ ref }) => this.#sourceOf(ref.id)?.pause(),
      hold: ({ ref }) => this.#drivers.get(ref.id)?.hold(),
      release: ({ ref }) => this.#drivers.get(ref.id)?.release(),
    }
    return { type: `VNode.${this.pnode}`, activate: () => null, handlers }
  }

  #sourceOf(id: string): SourceDriver | undefined {
    const driver = this.#drivers.get(id)
    return driver instanceof SourceDriver ? driver : undefined
  }

  /** Makes this PNode the owner. The restore goes on after the turn: calls are short. */
  async #onGrant({ ref }: ActorContext, signed: SignedGrant): Promise<void> {
    const grant = verifyGrant(signed, this.#options.controlKey)
    const current = this.#drivers.get(ref.id)
    this.#terms.admit(ref.id, grant, { pnode: this.pnode, incarnation: this.#profile?.incarnation }, current !== undefined)
    // The very same grant again: from an owner that has just begun. Neighbours may have moved meanwhile.
    if (current?.grant.term === grant.term) {
      for (const peer of [...grant.inputs, ...grant.outputs]) current.neighbour(peer)
      return current.tellAgain()
    }
    await this.#stop(ref.id)
    const { store, terms } = this.#options
    const [definition, settings] = await Promise.all([readDefinition(store, grant.run), readSettings(store, grant.run)])
    const refused = definition.bundles.find((sha256) => terms?.allowsCode && !terms.allowsCode.includes(sha256))
    if (refused !== undefined)
      throw new SwarmError('host.code', { what: `the owner of ${this.pnode} does not allow this code`, got: refused })
    const driver = grant.vnode === SOURCE ? await this.#source(grant, definition, settings) : await this.#vnode(grant, definition, settings)
    this.#abort.signal.throwIfAborted()
    this.#drivers.set(ref.id, driver)
    this.#memory.placed(ref.id, definition)
    void driver.start()
  }

  async #vnode(grant: Grant, definition: RunDefinition, { window, cuts }: RunSettings): Promise<VNodeDriver> {
    return new VNodeDriver({
      host: this.#hostOf(),
      definition: await machineDefinition(this.#options, definition, grant.vnode),
      initial: definition.initial?.[grant.vnode],
      computeClass: this.#profile!.computeClass,
      grant,
      window,
      maxAhead: cuts.maxAhead,
    })
  }

  async #source(grant: Grant, definition: RunDefinition, { window, cuts }: RunSettings): Promise<SourceDriver> {
    const { bus, clock, store, dataset } = this.#options
    const read = async (sha256: string) => (await store.get(shardKey(sha256))).bytes
    return new SourceDriver(
      {
        bus,
        clock,
        window,
        cuts,
        definition,
        dataset: dataset?.(grant.run) ?? (await datasetFromShards(definition.data, read)),
        onFailure: (failure) => void this.#tellRun(grant.run, 'failed', failure, this.#abort.signal).catch(this.#report),
      },
      grant,
    )
  }

  async #stop(id: string): Promise<void> {
    await this.#forget(id)?.stop()
  }

  #forget(id: string): VNodeDriver | SourceDriver | undefined {
    const driver = this.#drivers.get(id)
    if (driver) this.#past = sumOf([this.#past, leftBehind(driver.queues)])
    this.#drivers.delete(id)
    this.#memory.left(id)
    return driver
  }

  #hostOf(): VNodeHost {
    const { bus, compute, store, clock, observe } = this.#options
    return {
      pnode: this.pnode,
      bus,
      compute,
      store,
      clock,
      onError: this.#report,
      observe: (observation) => {
        if (observation.type === 'applied') this.#busyMs += observation.busyMs
        observe(observation)
      },
      report: (run, method, argument, signal) => this.#tellRun(run, method, argument, signal),
    }
  }

  async #tellRun(run: string, method: RunReport['method'], argument: RunReport['argument'], signal: AbortSignal): Promise<void> {
    const { system, clock } = this.#options
    await untilHeard(clock, signal, () => call<'Run', typeof method>(system, actor.run(run), method, argument as never))
  }

  /** The machines of a lost worker are gone; the PNode lives on with the spare. */
  #onWorkerLoss({ worker, reason, machines, culprit }: ComputeLoss): void {
    if (this.#abort.signal.aborted) return
    // A VNode that was still being loaded tells its loss itself.
    const lost = [...this.#drivers].filter(([id]) => machines.some((machine) => machine.startsWith(`${id}/`)))
    // The VNode whose step did it may do it again: its run counts that. The others have only lost their place.
    const guilty = lost.find(([, driver]) => driver instanceof VNodeDriver && driver.id === culprit?.machine)?.[1]
    for (const [id] of lost) this.#forget(id)?.crash()
    if (guilty instanceof VNodeDriver) {
      const { run } = guilty.grant
      this.#tellRun(run, 'failed', guilty.culprit(culprit!), this.#abort.signal).catch(this.#report)
    }
    const others = lost.flatMap(([id, driver]) => (driver === guilty ? [] : [id]))
    if (others.length > 0 || !guilty) this.#tellLoss(`${worker}: ${reason}`, others)
  }

  #tellLoss(reason: string, vnodes: readonly string[]): void {
    const { system, clock } = this.#options
    const { signal } = this.#abort
    const argument = { pnode: this.pnode, what: 'worker', reason, vnodes } as const
    untilHeard(clock, signal, () => call<'Relocation', 'relocate'>(system, actor.relocation, 'relocate', argument)).catch(this.#report)
  }

  #beat(everyMs: number): void {
    if (this.#abort.signal.aborted) return
    const { clock } = this.#options
    const busyShare = Math.min(1, this.#busyMs / everyMs)
    this.#busyMs = 0
    this.#heartbeat({ pnode: this.pnode, busyShare, vnodes: this.vnodes })
      .then((isKnown) => (isKnown ? undefined : this.joinAgain()))
      .catch((error: unknown) => {
        if (!isTransient(error)) this.#report(error)
      })
    clock.after(everyMs, () => this.#beat(everyMs))
  }
}
