/** A PNode: one machine's share of the swarm. It hosts VNodes, reports its worker's loss, and says that it is there. */
import { readDefinition, machineDefinition } from './run-definition.js'
import type { ActorContext, ActorDefinition, ActorSystem } from '../runtime/actor-system/actor-system.js'
import type { Clock } from '../runtime/clock.js'
import type { Compute } from '../runtime/compute/compute.js'
import { SwarmError, isSwarmError, toSwarmError } from '../runtime/errors.js'
import { type Placed, type SignedGrant, verifyGrant } from '../runtime/grant.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import type { TensorBus } from '../runtime/tensor-bus/tensor-bus.js'
import type { KeyObject } from 'node:crypto'
import { actor, call, untilHeard } from './calls.js'
import type { Observation } from './reports.js'
import { VNodeDriver, type VNodeHost } from './vnode-driver.js'

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
  /** Frames in flight on each edge. */
  readonly window: number
  /** Folder for user code that was fetched from the store. */
  readonly cacheFolder: string
  readonly observe: (observation: Observation) => void
  /** Told of errors that no caller can be told of. */
  readonly onError: (error: SwarmError) => void
}

/** The process of one PNode. */
export class PNodeHost {
  readonly pnode: string
  readonly #options: PNodeOptions
  readonly #drivers = new Map<string, VNodeDriver>()
  readonly #abort = new AbortController()
  #computeClass = ''
  #busyMs = 0
  #busyShare = 0

  constructor(options: PNodeOptions) {
    this.pnode = options.pnode
    this.#options = options
  }

  /** Warms the compute, registers the actor types, joins. */
  async join(): Promise<void> {
    const { system, compute, clock, memoryBytes, heartbeatMs } = this.#options
    // A worker may be lost while it is measured, too.
    const { signal } = this.#abort
    const { computeClass, gflops } = await untilHeard(clock, signal, () => compute.start(signal))
    this.#computeClass = computeClass
    this.#abort.signal.throwIfAborted()
    system.register(this.#vnodeActor())
    system.register(this.#pnodeActor())
    compute.onLoss(({ worker, reason, machines }) => this.#onWorkerLoss(`${worker}: ${reason}`, machines))
    const profile = { pnode: this.pnode, computeClass, gflops, memoryBytes }
    await untilHeard(clock, this.#abort.signal, () => call<'Placement', 'join'>(system, actor.placement, 'join', profile))
    this.#beat(heartbeatMs)
  }

  /** Hands nothing over: tells the others that it goes, and stops. */
  async leave(reason: string): Promise<void> {
    const { system, bus, compute } = this.#options
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

  readonly #report = (error: unknown): void => {
    if (!this.#abort.signal.aborted) this.#options.onError(toSwarmError(error, 'internal', this.pnode))
  }

  async #unregister(): Promise<void> {
    const { system } = this.#options
    await Promise.all([system.unregister(`VNode.${this.pnode}`), system.unregister(`PNode.${this.pnode}`)])
  }

  #vnodeActor(): ActorDefinition<null> {
    type Argument<M extends 'neighbour' | 'manifest' | 'stop'> = {
      neighbour: Placed
      manifest: { position: number }
      stop: { term: number }
    }[M]
    return {
      type: `VNode.${this.pnode}`,
      activate: () => null,
      deactivate: async ({ ref }) => {
        if (!this.#drivers.has(ref.id)) return
        // What was loaded is gone with the actor: its run places it anew, from the newest manifest.
        await this.#stop(ref.id)
        this.#tellLoss('deactivated', [ref.id])
      },
      handlers: {
        grant: (context, _memory, signed: SignedGrant) => this.#onGrant(context, signed),
        neighbour: ({ ref }, _memory, peer: Argument<'neighbour'>) => this.#drivers.get(ref.id)?.neighbour(peer),
        manifest: ({ ref }, _memory, { position }: Argument<'manifest'>) => this.#drivers.get(ref.id)?.manifest(position),
        stop: async (context, _memory, { term }: Argument<'stop'>) => {
          const driver = this.#drivers.get(context.ref.id)
          if (driver && driver.grant.term > term) return
          await this.#stop(context.ref.id)
          context.deactivate()
        },
      },
    }
  }

  #pnodeActor(): ActorDefinition<null> {
    return {
      type: `PNode.${this.pnode}`,
      activate: () => null,
      handlers: { describe: () => ({ pnode: this.pnode, vnodes: this.vnodes }) },
    }
  }

  /** Makes this PNode the owner. The restore goes on after the turn: calls are short. */
  async #onGrant({ ref }: ActorContext, signed: SignedGrant): Promise<void> {
    const grant = verifyGrant(signed, this.#options.controlKey)
    if (grant.pnode !== this.pnode || `${grant.run}/${grant.vnode}` !== ref.id) {
      throw new SwarmError('grant.refused', {
        what: 'grant for somebody else',
        expected: `${ref.id} on ${this.pnode}`,
        got: `${grant.run}/${grant.vnode} on ${grant.pnode}`,
      })
    }
    const current = this.#drivers.get(ref.id)
    if (current && (current.grant.generation > grant.generation || current.grant.term >= grant.term)) return
    await this.#stop(ref.id)
    const definition = await readDefinition(this.#options.store, grant.run)
    const machine = await machineDefinition(this.#options, definition, grant.vnode)
    this.#abort.signal.throwIfAborted()
    const driver = new VNodeDriver({
      host: this.#hostOf(),
      definition: machine,
      initial: definition.initial?.[grant.vnode],
      computeClass: this.#computeClass,
      grant,
      window: this.#options.window,
    })
    this.#drivers.set(ref.id, driver)
    void driver.start()
  }

  async #stop(id: string): Promise<void> {
    const driver = this.#drivers.get(id)
    this.#drivers.delete(id)
    await driver?.stop()
  }

  #hostOf(): VNodeHost {
    const { bus, compute, store, clock, system, observe } = this.#options
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
      report: (run, method, argument, signal) =>
        untilHeard(clock, signal, async () => void (await call<'Run', typeof method>(system, actor.run(run), method, argument as never))),
    }
  }

  /** The machines of a lost worker are gone; the PNode lives on with the spare. */
  #onWorkerLoss(reason: string, machines: readonly string[]): void {
    if (this.#abort.signal.aborted) return
    // A VNode that was still being loaded tells its loss itself.
    const lost = [...this.#drivers].filter(([id]) => machines.some((machine) => machine.startsWith(`${id}/`)))
    for (const [id, driver] of lost) {
      driver.crash()
      this.#drivers.delete(id)
    }
    this.#tellLoss(
      reason,
      lost.map(([id]) => id),
    )
  }

  #tellLoss(reason: string, vnodes: readonly string[]): void {
    if (this.#abort.signal.aborted) return
    const { system, clock } = this.#options
    const argument = { pnode: this.pnode, what: 'worker', reason, vnodes } as const
    untilHeard(clock, this.#abort.signal, () => call<'Relocation', 'relocate'>(system, actor.relocation, 'relocate', argument)).catch(
      this.#report,
    )
  }

  #beat(everyMs: number): void {
    if (this.#abort.signal.aborted) return
    const { system, clock } = this.#options
    this.#busyShare = Math.min(1, this.#busyMs / everyMs)
    this.#busyMs = 0
    const heartbeat = { pnode: this.pnode, busyShare: this.#busyShare, vnodes: this.vnodes }
    call<'Placement', 'heartbeat'>(system, actor.placement, 'heartbeat', heartbeat).catch((error: unknown) => {
      if (!isSwarmError(error, 'actor.timeout', 'actor.busy', 'actor.closed')) this.#report(error)
    })
    clock.after(everyMs, () => this.#beat(everyMs))
  }
}
