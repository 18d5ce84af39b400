/** The VNodes that a PNode hosts: what grants open, promote and end here, and what a lost worker takes with it. */
import { SOURCE } from '../../components/definition.js'
import type { ActorContext, ActorDefinition, ActorSystem } from '../../runtime/actor-system/actor-system.js'
import type { Clock } from '../../runtime/clock.js'
import type { Compute, ComputeLoss } from '../../runtime/compute/compute.js'
import type { TrustedKeys } from '../../runtime/control-keys.js'
import { SwarmError } from '../../runtime/errors.js'
import { vnodeOf } from '../../runtime/followers.js'
import { acceptGrant, type Grant, type SignedGrant } from '../../runtime/grant.js'
import type { Roots } from '../../runtime/log-root.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { actor, call, type Calls, type Profile, untilHeard } from '../calls.js'
import { DataAtHand } from './data-at-hand.js'
import { FrameForms } from './frame-forms.js'
import { MemoryUse } from './memory-use.js'
import { leftBehind, NO_QUEUES, type Queues, sumOf } from './queues.js'
import type { Failure, Observation, RunReport, Whereabouts } from '../reports.js'
import { machineDefinition, readDefinition, type RunDefinition } from '../run/run-definition.js'
import { readSettings, type RunSettings } from '../run/run-settings.js'
import type { Seams } from './seams.js'
import { SourceAudit } from './source-audit.js'
import { SourceDriver } from './source.js'
import { Terms } from './terms.js'
import { VNodeDriver } from './vnode-driver.js'
import type { VNodeHost } from './vnode-host.js'

export interface HostedVNodesOptions {
  readonly pnode: string
  readonly system: ActorSystem
  readonly bus: TensorBus
  readonly compute: Compute
  readonly store: ObjectStore
  readonly clock: Clock
  /** Verify grants, and what else control says. */
  readonly controlKeys: TrustedKeys
  /** What else its owner says of it. */
  readonly terms?: Pick<Profile, 'owner' | 'maxVNodes' | 'allowsCode'>
  /** Data at hand, so that the source need not read it from the store. */
  readonly dataset?: Seams['dataset']
  /** Folder for user code that was fetched from the store. */
  readonly cacheFolder: string
  /** The most that may be in it, in bytes. Default: no limit. */
  readonly maxCacheBytes?: number
  readonly observe: (observation: Observation) => void
}

/** What its PNode adds. */
export interface HostedVNodesContext {
  /** Ends with the PNode. */
  readonly signal: AbortSignal
  readonly report: (error: unknown) => void
  /** Once it has joined. */
  readonly profile: () => Pick<Profile, 'incarnation' | 'computeClass'> | undefined
}

type Driver = VNodeDriver | SourceDriver | SourceAudit

export class HostedVNodes {
  /** What they use of the machine. */
  readonly memory: MemoryUse
  readonly #options: HostedVNodesOptions
  readonly #context: HostedVNodesContext
  /** By `<run>/<vnode>`. */
  readonly #drivers = new Map<string, Driver>()
  readonly #terms = new Terms()
  readonly #data: DataAtHand
  #busyMs = 0
  /** Of VNodes that are not here any more. */
  #past: Queues = NO_QUEUES

  constructor(options: HostedVNodesOptions, context: HostedVNodesContext) {
    this.#options = options
    this.#context = context
    this.#data = new DataAtHand(options)
    this.memory = new MemoryUse(options.compute, this.#data, context.report)
  }

  /** `<run>/<vnode>` of each. */
  get ids(): string[] {
    return [...this.#drivers.keys()]
  }

  /** Where each of them stands. */
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

  /** What waits here, and what has gone through, of all of them together. */
  get queues(): Queues {
    return sumOf([this.#past, ...[...this.#drivers.values()].map(({ queues }) => queues)])
  }

  /** Where VNodes of a run stand; null: not here under this term. */
  whereabouts({ run, vnodes }: Calls['PNode']['whereabouts'][0]): (Whereabouts | null)[] {
    return vnodes.map(([vnode, term]) => {
      const driver = this.#drivers.get(`${run}/${vnode}`)
      return driver?.grant.term === term ? driver.whereabouts : null
    })
  }

  /** What VNodes and followers have read and put out up to a position; null: not known here. */
  roots({ run, position, vnodes }: Calls['PNode']['roots'][0]): (Roots | null)[] {
    return vnodes.map(([vnode, term]) => {
      const driver = this.#drivers.get(`${run}/${vnode}`)
      return (driver && !(driver instanceof SourceAudit) && driver.grant.term === term && driver.rootsAt(position)) || null
    })
  }

  /** For how long they have computed since this was asked the last time, in ms. */
  takeBusyMs(): number {
    const busyMs = this.#busyMs
    this.#busyMs = 0
    return busyMs
  }

  /** Stops all of them and frees their machines. */
  async stop(): Promise<void> {
    this.#data.forget()
    await Promise.all([...this.#drivers.values()].map((driver) => driver.stop()))
  }

  /** Ends all of them at once. */
  crash(): void {
    this.#data.forget()
    for (const driver of this.#drivers.values()) driver.crash()
  }

  /**
   * The actor is only the door: what it opened lives on when an actor system deactivates it (a broker's hiccup deactivates all of them), by
   * VNode and term.
   */
  actor(): ActorDefinition<null> {
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
      hold: ({ ref }, _memory, { asOf }: { readonly asOf: number }) => this.#drivers.get(ref.id)?.hold(asOf),
      release: ({ ref }, _memory, { asOf }: { readonly asOf: number }) => this.#drivers.get(ref.id)?.release(asOf),
    }
    return { type: `VNode.${this.#options.pnode}`, activate: () => null, handlers }
  }

  /** The machines of a lost worker are gone; the PNode lives on with the spare. */
  lose({ worker, reason, machines, culprit }: ComputeLoss): void {
    if (this.#context.signal.aborted) return
    // A VNode that was still being loaded tells its loss itself.
    const lost = [...this.#drivers].filter(([, driver]) => driver instanceof VNodeDriver && machines.includes(driver.id))
    // The VNode whose step did it may do it again: its run counts that. The others have only lost their place.
    const guilty = lost.find(([, driver]) => driver instanceof VNodeDriver && driver.id === culprit?.machine)?.[1]
    for (const [id] of lost) this.#forget(id)?.crash()
    if (guilty instanceof VNodeDriver) {
      const { run } = guilty.grant
      this.#tellRun(run, 'failed', guilty.culprit(culprit!), this.#context.signal).catch(this.#context.report)
    }
    const others = lost.flatMap(([id, driver]) => (driver === guilty ? [] : [id]))
    if (others.length > 0 || !guilty) this.#tellLoss(`${worker}: ${reason}`, others)
  }

  #sourceOf(id: string): SourceDriver | undefined {
    const driver = this.#drivers.get(id)
    return driver instanceof SourceDriver ? driver : undefined
  }

  /** Makes this PNode the owner. The restore goes on after the turn: calls are short. */
  async #onGrant({ ref }: ActorContext, signed: SignedGrant): Promise<void> {
    const { store, terms, pnode, controlKeys } = this.#options
    const grant = acceptGrant(signed, controlKeys)
    const current = this.#drivers.get(ref.id)
    this.#terms.admit(ref.id, grant, { pnode, incarnation: this.#context.profile()?.incarnation }, current !== undefined)
    // The very same grant again: from an owner that has just begun. Neighbours may have moved meanwhile.
    if (current?.grant.term === grant.term) {
      for (const peer of [...grant.inputs, ...grant.outputs]) current.neighbour(peer)
      return current.tellAgain()
    }
    await this.#stop(ref.id)
    if (this.#promote(ref.id, grant)) return
    const [definition, settings] = await Promise.all([readDefinition(store, grant.run), readSettings(store, grant.run)])
    const refused = definition.bundles.find((sha256) => terms?.allowsCode && !terms.allowsCode.includes(sha256))
    if (refused !== undefined) throw new SwarmError('host.code', { what: `the owner of ${pnode} does not allow this code`, got: refused })
    const isOfSource = vnodeOf(grant.vnode) === SOURCE
    const driver = isOfSource ? await this.#source(grant, definition, settings) : await this.#vnode(grant, definition, settings)
    this.#context.signal.throwIfAborted()
    this.#drivers.set(ref.id, driver)
    this.memory.placed(ref.id, definition)
    void driver.start()
  }

  /** Whoever has followed the VNode here goes on from where it is; if it cannot, it has followed in vain. */
  #promote(id: string, grant: Grant): boolean {
    const { run, vnode } = grant
    const found = [...this.#drivers].find(([, { isFollower, vnode: its, grant: old }]) => isFollower && its === vnode && old.run === run)
    if (!found) return false
    const [oldId, driver] = found
    this.#terms.over(oldId, driver.grant.term)
    if (!driver.promote(grant)) {
      void this.#stop(oldId)
      return false
    }
    this.#drivers.delete(oldId)
    this.#drivers.set(id, driver)
    this.memory.renamed(oldId, id)
    return true
  }

  async #vnode(grant: Grant, definition: RunDefinition, { window, cuts, redundancy = 1, audits = 0 }: RunSettings): Promise<VNodeDriver> {
    const vnode = vnodeOf(grant.vnode)
    return new VNodeDriver({
      host: this.#hostOf(),
      definition: await machineDefinition(this.#options, definition, vnode),
      forms: new FrameForms(definition, vnode),
      initial: definition.initial?.[vnode],
      computeClass: this.#context.profile()!.computeClass,
      grant,
      window,
      maxAhead: cuts.maxAhead,
      isReviewed: redundancy > 1 || audits > 0,
    })
  }

  /** The source, or who makes again what it has sent. */
  async #source(grant: Grant, definition: RunDefinition, { window, cuts, audits = 0 }: RunSettings) {
    const { bus, clock, dataset } = this.#options
    const shared = {
      clock,
      definition,
      dataset: (await dataset?.(grant.run)) ?? (await this.#data.get(grant.run, definition)),
      onFailure: (argument: Failure) => this.#tellOf(grant.run, { method: 'failed', argument }),
    }
    if (grant.vnode !== SOURCE)
      return new SourceAudit({ ...shared, onClaim: (argument) => this.#tellOf(grant.run, { method: 'claimed', argument }) }, grant)
    return new SourceDriver({ ...shared, bus, window, cuts, isReviewed: audits > 0 }, grant)
  }

  async #stop(id: string): Promise<void> {
    await this.#forget(id)?.stop()
  }

  #forget(id: string): Driver | undefined {
    const driver = this.#drivers.get(id)
    if (driver) this.#past = sumOf([this.#past, leftBehind(driver.queues)])
    this.#drivers.delete(id)
    this.memory.left(id)
    return driver
  }

  #hostOf(): VNodeHost {
    const { pnode, bus, compute, store, clock, observe } = this.#options
    return {
      pnode,
      bus,
      compute,
      store,
      clock,
      onError: this.#context.report,
      worked: (busyMs) => (this.#busyMs += busyMs),
      observe,
      report: (run, method, argument, signal) => this.#tellRun(run, method, argument, signal),
    }
  }

  #tellOf(run: string, { method, argument }: RunReport): void {
    this.#tellRun(run, method, argument, this.#context.signal).catch(this.#context.report)
  }

  async #tellRun(run: string, method: RunReport['method'], argument: RunReport['argument'], signal: AbortSignal): Promise<void> {
    const { system, clock } = this.#options
    await untilHeard(clock, signal, () => call<'Run', typeof method>(system, actor.run(run), method, argument as never))
  }

  #tellLoss(reason: string, vnodes: readonly string[]): void {
    const { pnode, system, clock } = this.#options
    const { signal, report } = this.#context
    const argument = { pnode, what: 'worker', reason, vnodes } as const
    untilHeard(clock, signal, () => call<'Relocation', 'relocate'>(system, actor.relocation, 'relocate', argument)).catch(report)
  }
}
