/** A control host: the control actors, and what they hear of PNodes. Several may share an app-id; each run is owned by one of them. */
import { setMaxListeners } from 'node:events'
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import { answer, type Asker } from '../../runtime/ask.js'
import type { Clock } from '../../runtime/clock.js'
import { SwarmError, isSwarmError, toSwarmError } from '../../runtime/errors.js'
import type { ControlKey } from '../../runtime/grant.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { Delivery, TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import type { BalanceOptions } from '../run/balance.js'
import { actor, call, type Membership, untilHeard } from '../calls.js'
import { type Channel, channel, CONTROL, decodeHeartbeat } from './channels.js'
import { EventLog } from '../run/event-log.js'
import type { RunEvent } from '../events.js'
import { decodeReports } from '../pnode/observations.js'
import { listMembers } from '../placement/parts.js'
import { PastOwners } from './past-owners.js'
import { DEFAULT_MEMBERSHIP, type MembershipOptions, placementActor } from '../placement/placement.js'
import { relocationActor } from '../relocation.js'
import { runActor } from '../run/run.js'
import { RunMonitor } from '../run/run-monitor.js'
import { hostRecord } from './host-registry.js'
import { type ControlActorsOptions, controlSignatures } from './control-actors.js'
import { signedActors } from '../signed-actors.js'
import { MARKERS, marker, startRun } from './start-run.js'
import { StepRatings } from './step-ratings.js'
import { quarantineActor } from '../trust/quarantine.js'
import { trustBy } from '../trust/trust.js'
import type { TrustBook } from './trust-book.js'

export interface ControlHostOptions {
  /** Not started, nothing registered. */
  readonly system: ActorSystem
  /** The same, without any relay. Default: `system`. */
  readonly direct?: ActorSystem
  readonly store: ObjectStore
  /** Connected as `control`. */
  readonly bus: TensorBus
  /** Asks PNodes, on the same bus. */
  readonly asker: Asker
  readonly clock: Clock
  readonly controlKey: ControlKey
  /** What control hosts of a cluster sign their own calls with: 32 bytes. */
  readonly controlSecret: Uint8Array
  /** The public key that a host has joined with. Default: as the object store has it. */
  readonly hostKeys?: ControlActorsOptions['hostKeys']
  /** For whom control vouches. Default: as `membership` says. */
  readonly trust?: TrustBook
  readonly membership?: Partial<Omit<MembershipOptions, 'onMember'>>
  readonly balance?: Partial<BalanceOptions>
  readonly onError: (error: SwarmError) => void
}

/** How often runs without an owner are looked for, in ms. */
const TAKE_UP_MS = 2_000
/** A run that has ended can be watched to its end for so long, in ms. */
const LINGER_MS = 60_000
const CHANNEL_CAPACITY = 16_384
/** How long a new PNode's sidecar is tried, in ms, and how often. */
const REACH_MS = 10_000
const REACH_RETRY_MS = 250

export class ControlHost {
  readonly #options: ControlHostOptions
  /** Signs as control. */
  readonly system: ActorSystem
  readonly #direct: Pick<ActorSystem, 'call'>
  readonly #members = new Map<string, Membership>()
  readonly #monitors = new Map<string, RunMonitor>()
  readonly #logs = new Map<string, EventLog>()
  readonly #closing = new AbortController()
  readonly #past: PastOwners
  readonly #ratings: StepRatings
  /** PNodes that are being tried. */
  readonly #returning = new Set<string>()
  /** For whom control vouches; undefined: whoever embeds this says so. */
  readonly trust: TrustBook | undefined
  /** What was refused on arrival, by reason. */
  readonly refused = new Map<string, number>()

  constructor(options: ControlHostOptions) {
    this.#options = options
    this.trust = options.trust
    const { clock, store, membership, controlKey, controlSecret: secret, direct } = options
    const { hostKeys = async (host) => (await hostRecord(store, host))?.identity } = options
    const signatures = controlSignatures({ clock, controlKey, secret, hostKeys, onRefused: (code) => this.refuse(`call: ${code}`) })
    const system = signedActors(options.system, signatures)
    this.system = system
    this.#direct = direct ? signedActors(direct, signatures) : system
    this.#past = new PastOwners({ ...options, system })
    this.#ratings = new StepRatings({
      clock,
      everyMs: membership?.rateMs,
      members: () => listMembers(system),
      rate: (rating) => call<'Placement', 'rate'>(system, actor.placement, 'rate', rating, this.#closing.signal),
      // The next steps tell as much.
      onError: (error) => this.refuse(`rating: ${toSwarmError(error, 'internal').code}`),
    })
    // Every heartbeat and every run waits for something.
    setMaxListeners(0, this.#closing.signal)
  }

  /** Registers the control actors, starts the actor system, and takes up the runs that are under way. */
  async start(): Promise<void> {
    const { store, controlKey, membership, balance, clock } = this.#options
    const { system } = this
    const times = { ...DEFAULT_MEMBERSHIP, ...membership }
    const { trust = trustBy(membership?.isTrusted) } = this.#options
    await trust.refresh()
    void this.#options.trust?.watch(this.#closing.signal, this.#report)
    system.register(
      placementActor({
        ...times,
        isTrusted: (pnode) => trust.isTrusted(pnode),
        onMember: (member, reason) => this.#onMember(member, reason),
      }),
    )
    system.register(relocationActor())
    system.register(
      quarantineActor({ store, ledgerKey: () => controlKey, isTrusted: (pnode) => trust.isTrusted(pnode), onError: this.#report }),
    )
    system.register(
      runActor({
        store,
        controlKey,
        monitor: (run, definition) => {
          this.#ratings.watch(run, definition)
          return this.#openMonitor(new RunMonitor(run, definition, clock, () => this.members))
        },
        rollCallMs: times.lostMs,
        standstillMs: times.standstillMs,
        trust,
        balance,
        onError: this.#report,
      }),
    )
    await system.start()
    answer(
      this.#options.bus,
      CONTROL,
      { isReachable: (_argument, from) => this.#isReachable(from), ping: async () => null },
      { signal: this.#closing.signal, onError: this.#report },
    )
    this.#listen('heartbeats', (delivery) => this.#onHeartbeat(delivery))
    this.#listen('metrics', (delivery) => this.#onReports(delivery))
    // Who was found out is, whatever placement has forgotten.
    const look = () => call<'Quarantine', 'look'>(system, actor.quarantine, 'look', { pnodes: [] })
    untilHeard(clock, this.#closing.signal, look).catch(this.#report)
    void this.#takeUp()
  }

  /** PNodes that this host has heard of. */
  get members(): readonly Membership[] {
    const all = [...this.#members.values()].toSorted((a, b) => (a.pnode < b.pnode ? -1 : 1))
    return all.map((member) => (this.trust?.isTrusted(member.pnode) ? { ...member, isTrusted: true as const } : member))
  }

  /** Whether a PNode is known to be lost: nobody is to be called there. One that asks whether it can be reached is just coming back. */
  isLost(pnode: string): boolean {
    return this.#members.get(pnode)?.state === 'lost' && !this.#returning.has(pnode)
  }

  /** The PNode over whose connection a call to one of its actors has to go, if it has to. */
  relayOf(type: string): string | undefined {
    const pnode = type.slice(type.indexOf('.') + 1)
    return this.#members.get(pnode)?.isRelayed ? pnode : undefined
  }

  /** The view of a run that is owned here, or was a moment ago. */
  monitorOf(run: string): RunMonitor | undefined {
    return this.#monitors.get(run)
  }

  /** The events of a run that is owned here: a snapshot, and what happens from now on; what happened before is in its log by then. */
  async watch(run: string, signal: AbortSignal): Promise<AsyncGenerator<RunEvent, void> | undefined> {
    const events = this.#monitors.get(run)?.feed.subscribe(signal)
    if (events) await this.#logs.get(run)?.flush()
    return events
  }

  /**
   * Begins a run whose definition is in the store, or goes on with it; harmless when repeated. One that no PNode may have yet is taken up
   * when somebody joins who may. @throws codes of the run
   */
  async startRun(run: string): Promise<void> {
    const { store, clock } = this.#options
    await startRun({ store, clock, system: this.system, signal: this.#closing.signal }, run)
  }

  /** At the next step boundary, with a checkpoint. */
  async pauseRun(run: string): Promise<void> {
    await call<'Run', 'pause'>(this.system, actor.run(run), 'pause', null)
  }

  /** A host gets nothing any more, and hands over what it has; harmless when repeated. @returns what is still there @throws `host.unknown`, `host.lost` */
  async drain(pnode: string): Promise<readonly string[]> {
    const { system } = this
    const reason = 'it is drained'
    await call<'Placement', 'drain'>(system, actor.placement, 'drain', { pnode, reason, by: 'operator' })
    return call<'Relocation', 'drain'>(system, actor.relocation, 'drain', { pnode, reason, isPatient: true })
  }

  /** Takes `drain` back. @throws `host.unknown` */
  async undrain(pnode: string): Promise<void> {
    await call<'Placement', 'undrain'>(this.system, actor.placement, 'undrain', { pnode, by: 'operator' })
  }

  /** Ends a host's quarantine: it begins on probation. @returns whether it was in one @throws `host.unknown` */
  async endQuarantine(pnode: string): Promise<boolean> {
    return call<'Quarantine', 'release'>(this.system, actor.quarantine, 'release', { pnode })
  }

  /** Control vouches for somebody, or does not any more: runs that are owned here look anew. */
  trustChanged(): void {
    const tell = (run: string) => call<'Run', 'trustChanged'>(this.system, actor.run(run), 'trustChanged', null)
    for (const [run, { status }] of this.#monitors)
      if (status === 'running') untilHeard(this.#options.clock, this.#closing.signal, () => tell(run)).catch(this.#report)
  }

  /** A host has given its name back. */
  async forget(pnode: string): Promise<void> {
    await call<'Placement', 'forget'>(this.system, actor.placement, 'forget', { pnode })
    this.#members.delete(pnode)
  }

  /** The broker says that a host's connection is gone: a loss at once. */
  connectionLost(pnode: string, reason: string): void {
    const { clock } = this.#options
    const { system } = this
    const leave = () => call<'Placement', 'leave'>(system, actor.placement, 'leave', { pnode, reason })
    untilHeard(clock, this.#closing.signal, leave).catch(this.#report)
  }

  /** Where this host stands, for those who look after it. */
  get stats() {
    return {
      pnodes: Object.fromEntries(this.members.map(({ pnode, state }) => [pnode, state])),
      runs: [...this.#monitors.values()].map((monitor) => ({
        run: monitor.run,
        step: monitor.step,
        checkpointStep: monitor.checkpointStep,
        dropped: Object.fromEntries(monitor.dropped),
      })),
      refused: Object.fromEntries(this.refused),
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new SwarmError('aborted', 'this control host closes'))
    this.#options.asker.close()
    this.#ratings.close()
    await this.system.close()
    for (const monitor of this.#monitors.values()) monitor.feed.close()
    await Promise.all([...this.#logs.values()].map((log) => log.close()))
  }

  readonly #report = (error: unknown): void => {
    if (!this.#closing.signal.aborted) this.#options.onError(toSwarmError(error, 'internal', CONTROL))
  }

  #listen(name: Channel, onMessage: (delivery: Delivery & { readonly type: 'message' }) => void): void {
    const { bus } = this.#options
    const subscription = bus.subscribe(channel(name), { capacity: CHANNEL_CAPACITY, signal: this.#closing.signal })
    const read = async () => {
      for await (const delivery of subscription) {
        if (delivery.type === 'lost') continue
        try {
          onMessage(delivery)
        } catch (error) {
          // What makes no sense harms nobody but its sender.
          if (!isSwarmError(error, 'frame.damaged', 'frame.version')) throw error
          this.refuse(`${name}: ${error.code}`)
        }
      }
    }
    read().catch(this.#report)
  }

  /** Whether calls get to the sidecar of a PNode. The placement service may need seconds to spread the word of a new one. */
  async #isReachable(pnode: string): Promise<boolean> {
    const { clock } = this.#options
    const untilMs = clock.now() + REACH_MS
    this.#returning.add(pnode)
    try {
      for (;;) {
        try {
          await call<'PNode', 'describe'>(this.#direct, actor.pnode(pnode), 'describe', null)
          return true
        } catch {
          if (clock.now() >= untilMs || this.#closing.signal.aborted) return false
          await clock.sleep(REACH_RETRY_MS, this.#closing.signal).catch(() => undefined)
        }
      }
    } finally {
      this.#returning.delete(pnode)
    }
  }

  /** Counts what was refused. */
  refuse(reason: string): void {
    this.refused.set(reason, (this.refused.get(reason) ?? 0) + 1)
  }

  #onHeartbeat({ bytes, from }: { readonly bytes: Uint8Array; readonly from: string }): void {
    const beat = decodeHeartbeat(bytes, from)
    const told = call<'Placement', 'heartbeat'>(this.system, actor.placement, 'heartbeat', beat, this.#closing.signal)
    told
      .then((isKnown) => (isKnown ? undefined : this.#options.asker.ask(from, 'rejoin', null)))
      // The next one comes in a second.
      .catch((error: unknown) => this.refuse(`heartbeat: ${toSwarmError(error, 'internal').code}`))
    this.#past.hear(beat).catch((error: unknown) => this.refuse(`past owner: ${toSwarmError(error, 'internal').code}`))
  }

  #onReports({ bytes, from }: { readonly bytes: Uint8Array; readonly from: string }): void {
    for (const report of decodeReports(bytes)) {
      const monitor = this.#monitors.get(report.run)
      if (!monitor) continue
      if (report.type === 'dropped') monitor.observe(report)
      // A PNode speaks for what is placed on it.
      else if (monitor.pnodeOf(report.vnode) !== from) this.refuse('metrics: stranger')
      else if (report.type === 'span') {
        const { run, vnode, busyMs, firstStep, lastStep } = report
        this.#ratings.observe(run, vnode, from, { busyMs, steps: lastStep - firstStep + 1 })
        monitor.observeSpan(report)
      } else monitor.observe(report)
    }
  }

  #onMember(member: Membership, reason: string): void {
    this.#members.set(member.pnode, member)
    for (const monitor of this.#monitors.values()) monitor.member(member, reason)
  }

  #openMonitor(fresh: RunMonitor): RunMonitor {
    const known = this.#monitors.get(fresh.run)
    if (known && known.status === 'running') return known
    const { store, clock } = this.#options
    // What stops its checkpoints too: those who watch are to know why it waits.
    const log = new EventLog(store, fresh.run, clock, (error) =>
      fresh.emit({ type: 'warning', error: toSwarmError(error, 'internal', `events of run ${fresh.run}`).toJSON() }),
    )
    this.#monitors.set(fresh.run, fresh)
    this.#logs.set(fresh.run, log)
    fresh.feed.listen((event) => {
      log.append(event)
      if (event.type !== 'done' && event.type !== 'paused' && event.type !== 'failed') return
      void this.#ended(fresh, log)
    })
    return fresh
  }

  async #ended(monitor: RunMonitor, log: EventLog): Promise<void> {
    const { run } = monitor
    this.#ratings.forget(run)
    await log.close()
    // Somebody may have gone on with it at once.
    if (this.#monitors.get(run) === monitor) await this.#options.store.delete(marker(run)).catch(this.#report)
    this.#options.clock.after(LINGER_MS, () => {
      monitor.feed.close()
      if (this.#monitors.get(run) === monitor) this.#monitors.delete(run)
      if (this.#logs.get(run) === log) this.#logs.delete(run)
    })
  }

  /** Sees to it that every run under way has an owner, for ever. */
  async #takeUp(): Promise<void> {
    const { store, clock } = this.#options
    const { system } = this
    const { signal } = this.#closing
    while (!signal.aborted) {
      try {
        for await (const { key } of store.list(MARKERS, { signal })) {
          const run = key.slice(MARKERS.length)
          await call<'Run', 'wake'>(system, actor.run(run), 'wake', null, signal)
            .then(({ isRunning }) => (isRunning ? undefined : store.delete(key)))
            .catch((error: unknown) => this.#wakeFailed(key, error))
        }
      } catch (error) {
        if (!isSwarmError(error) || !error.retryable) this.#report(error)
      }
      await clock.sleep(TAKE_UP_MS, signal).catch(() => undefined)
    }
  }

  async #wakeFailed(key: string, error: unknown): Promise<void> {
    // Deleted meanwhile.
    if (isSwarmError(error, 'run.not-found')) await this.#options.store.delete(key)
    else if (!isSwarmError(error) || !error.retryable) this.#report(error)
  }
}
