/** A PNode: one machine's share of the swarm. It hosts VNodes, reports its worker's loss, and says that it is there. */
import { setMaxListeners } from 'node:events'
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import { type ErrorCode, SwarmError, toSwarmError } from '../../runtime/errors.js'
import type { Identity } from '../../runtime/identity.js'
import { ReplayGuard } from '../../runtime/replay-guard.js'
import { keySigner, Sender } from '../../runtime/signed-message.js'
import { actor, call, type Calls, type Heartbeat, isTransient, type Profile, untilHeard } from '../calls.js'
import type { HostUse } from './host-limits.js'
import { HostedVNodes, type HostedVNodesOptions } from './hosted-vnodes.js'
import { type Link, MEASURE_MS, measureLink, measureQuietly } from './profile.js'
import type { Queues } from './queues.js'
import { signedActors } from '../signed-actors.js'

export interface PNodeOptions extends HostedVNodesOptions {
  /** Who it is: it signs what it says. Control has to know the public key under its name. */
  readonly identity: Identity
  readonly memoryBytes: number
  readonly heartbeatMs: number
  /** Names this start of the process. Default: at random. */
  readonly incarnation?: string
  /** Starts the actor system, where this PNode has one of its own: called when its actor types are registered; what it says of itself then. */
  readonly start?: () => Promise<Pick<Profile, 'isRelayed'>>
  /** Its way to the others, where it has a process and a machine of its own: then its memory and its line are measured, too. */
  readonly link?: Link
  /** How often it measures itself again while it has no VNodes, in ms; Infinity: never. Default `MEASURE_MS`. */
  readonly measureEveryMs?: number
  /** How a heartbeat is told; false: nobody knows us. Default: a call to the placement service. */
  readonly heartbeat?: (heartbeat: Heartbeat) => Promise<boolean>
  /** What it says and answers, before that is signed: for tests in which it says something else. Default: what is there. */
  readonly speech?: (honest: ActorSystem) => ActorSystem
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
  /** Calls are signed, and nobody but control is heard. */
  readonly #system: ActorSystem
  readonly #incarnation: string
  /** Messages that were refused on arrival, by reason. */
  readonly refused = new Map<ErrorCode, number>()
  readonly #hosted: HostedVNodes
  readonly #abort = new AbortController()
  readonly #heartbeat: (heartbeat: Heartbeat) => Promise<boolean>
  #profile: Profile | undefined
  /** Why its owner wants it to have nothing. */
  #paused: string | undefined

  constructor(options: PNodeOptions) {
    // Whatever is told until it is heard waits for its end.
    setMaxListeners(0, this.#abort.signal)
    this.pnode = options.pnode
    this.#options = options
    const { pnode, clock, identity, controlKeys, incarnation = crypto.randomUUID(), speech } = options
    this.#incarnation = incarnation
    const signed = signedActors(options.system, {
      sender: new Sender({ from: pnode, incarnation, signer: keySigner(identity.privateKey), clock }),
      assertSigned: (signed) => controlKeys.assertSigned(signed),
      guard: new ReplayGuard(clock),
      onRefused: (code) => this.refused.set(code, (this.refused.get(code) ?? 0) + 1),
    })
    const system = speech?.(signed) ?? signed
    this.#system = system
    this.#hosted = new HostedVNodes(
      { ...options, system },
      { signal: this.#abort.signal, report: this.#report, profile: () => this.#profile },
    )
    this.#heartbeat = options.heartbeat ?? ((beat) => call<'Placement', 'heartbeat'>(system, actor.placement, 'heartbeat', beat))
  }

  /** Warms the compute, registers the actor types, measures, joins. */
  async join(): Promise<void> {
    const { compute, clock, memoryBytes, heartbeatMs, link, measureEveryMs = MEASURE_MS } = this.#options
    const system = this.#system
    const incarnation = this.#incarnation
    // A worker may be lost while it is measured, too.
    const { signal } = this.#abort
    const memory = link && { allocationBytes: memoryBytes }
    const measured = await untilHeard(clock, signal, () => compute.start(signal, memory))
    this.#abort.signal.throwIfAborted()
    system.register(this.#hosted.actor())
    const describe = () => ({ pnode: this.pnode, vnodes: this.vnodes })
    const whereabouts = (_context: unknown, _memory: null, asked: Calls['PNode']['whereabouts'][0]) =>
      this.#hosted.whereabouts(asked) as never
    const roots = (_context: unknown, _memory: null, asked: Calls['PNode']['roots'][0]) => this.#hosted.roots(asked) as never
    system.register({ type: `PNode.${this.pnode}`, activate: () => null, handlers: { describe, whereabouts, roots } })
    compute.onLoss((loss) => this.#hosted.lose(loss))
    const started = await this.#options.start?.()
    const { terms } = this.#options
    const line = await this.#line()
    this.#profile = { pnode: this.pnode, incarnation, ...measured, memoryBytes, ...line, ...terms, ...started }
    await this.joinAgain()
    this.#beat(heartbeatMs)
    const isIdle = () => this.vnodes.length === 0
    measureQuietly({ pnode: this.pnode, clock, signal, everyMs: measureEveryMs, isIdle, measure: () => this.#measureAgain() })
  }

  async #line(): Promise<Partial<Profile>> {
    const { link, clock } = this.#options
    return link ? measureLink(this.pnode, link, clock, this.#abort.signal) : {}
  }

  /** Speed and line; memory was tried when it joined, and is not taken from anybody again. */
  async #measureAgain(): Promise<void> {
    const { compute, clock } = this.#options
    const { signal } = this.#abort
    try {
      const { gflops } = await compute.start(signal)
      this.#profile = { ...this.#profile!, gflops, ...(await this.#line()) }
      await untilHeard(clock, signal, () => call<'Placement', 'measured'>(this.#system, actor.placement, 'measured', this.#profile!))
    } catch (error) {
      // A worker that is lost just now is replaced, and measured the next time.
      if (!isTransient(error)) this.#report(error)
    }
  }

  /** Says who it is, to a placement service that does not know it (any more). */
  async joinAgain(): Promise<void> {
    const { clock } = this.#options
    const { signal } = this.#abort
    await untilHeard(clock, signal, () => call<'Placement', 'join'>(this.#system, actor.placement, 'join', this.#profile!))
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
    const { clock } = this.#options
    const argument = { pnode: this.pnode, by: 'host' } as const
    await untilHeard(clock, this.#abort.signal, () => call<'Placement', 'undrain'>(this.#system, actor.placement, 'undrain', argument))
  }

  /** Its owner allows more, or less. Resolves when that is known; what there is no room for any more is handed over. */
  async lend(lent: Partial<Pick<Profile, 'memoryBytes' | 'maxVNodes'>>): Promise<void> {
    const { clock } = this.#options
    this.#profile = { ...this.#profile!, ...lent }
    const { pnode, memoryBytes, maxVNodes } = this.#profile
    const argument = { pnode, memoryBytes, ...(maxVNodes !== undefined && { maxVNodes }) }
    await untilHeard(clock, this.#abort.signal, () => call<'Placement', 'lend'>(this.#system, actor.placement, 'lend', argument))
  }

  /** What its VNodes use, as of the last time that this was asked and the compute could answer, and what they were thought to need. */
  use(): Pick<HostUse, 'tensorBytes' | 'placedBytes'> {
    return this.#hosted.memory.use(this.vnodes)
  }

  async #drain(reason: string, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    await untilHeard(clock, signal, () => call<'Placement', 'drain'>(this.#system, actor.placement, 'drain', { pnode: this.pnode, reason }))
  }

  /**
   * Hands over what it has, after the next checkpoint, so that no step is done again; then tells the others that it goes, and stops.
   * @param signal its abort stops waiting for the handover: what is still here is then lost, and replayed elsewhere
   */
  async leave(reason: string, signal?: AbortSignal): Promise<void> {
    const { bus, compute, clock } = this.#options
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
    await call<'Placement', 'leave'>(this.#system, actor.placement, 'leave', { pnode: this.pnode, reason }).catch(this.#report)
    this.#abort.abort(new SwarmError('aborted', `${this.pnode} left`))
    await this.#hosted.stop()
    await this.#unregister()
    bus.close()
    await compute.close()
  }

  /** Ends as if the power had failed: nobody is told. */
  crash(): void {
    const { bus, compute } = this.#options
    this.#abort.abort(new SwarmError('aborted', `${this.pnode} crashed`))
    this.#hosted.crash()
    bus.close()
    compute.kill('killed with its PNode')
    void compute.close()
    this.#unregister().catch(this.#report)
  }

  /** Ends the compute worker, as a crash of it would. */
  killWorker(reason: string): void {
    this.#options.compute.kill(reason)
  }

  /** `<run>/<vnode>` of each. */
  get vnodes(): string[] {
    return this.#hosted.ids
  }

  /** Where each of its VNodes stands. */
  get stats(): HostedVNodes['stats'] {
    return this.#hosted.stats
  }

  /** What waits here, and what has gone through, of all VNodes together. */
  get queues(): Queues {
    return this.#hosted.queues
  }

  readonly #report = (error: unknown): void => {
    if (!this.#abort.signal.aborted) this.#options.onError(toSwarmError(error, 'internal', this.pnode))
  }

  async #unregister(): Promise<void> {
    const system = this.#system
    await Promise.all([system.unregister(`VNode.${this.pnode}`), system.unregister(`PNode.${this.pnode}`)])
  }

  #beat(everyMs: number): void {
    if (this.#abort.signal.aborted) return
    const { clock } = this.#options
    const busyShare = Math.min(1, this.#hosted.takeBusyMs() / everyMs)
    const { pnode, vnodes } = this
    const placedBytes = Object.fromEntries(this.#hosted.memory.placedBytes(vnodes))
    this.#heartbeat({ pnode, busyShare, vnodes, ...(vnodes.length > 0 && { placedBytes }) })
      .then((isKnown) => (isKnown ? undefined : this.joinAgain()))
      .catch((error: unknown) => {
        if (!isTransient(error)) this.#report(error)
      })
    clock.after(everyMs, () => this.#beat(everyMs))
  }
}
