/** Drives one granted VNode: feeds its step log from the bus and carries out what it says. The VNode actor owns it. */
import { setMaxListeners } from 'node:events'
import type { VNodeMachineDefinition } from '../../components/definition.js'
import type { ComputeLoss } from '../../runtime/compute/compute.js'
import { type ErrorCode, SwarmError, isSwarmError, toSwarmError } from '../../runtime/errors.js'
import { followed, vnodeOf } from '../../runtime/followers.js'
import { batchOf, underTerm } from '../../runtime/frame.js'
import type { Grant, Placed } from '../../runtime/grant.js'
import type { Roots } from '../../runtime/log-root.js'
import { EvaluationSums } from './evaluation-sums.js'
import { FollowerLag } from './follower-lag.js'
import type { FrameForms } from './frame-forms.js'
import { Logbook } from './logbook.js'
import { type Queues, queuesOf } from './queues.js'
import { RefinementQueue } from './refinement-queue.js'
import type { Failure, Whereabouts } from '../reports.js'
import { restoredState } from './stored-state.js'
import { encodeSignal, subjectOf } from '../../runtime/signal.js'
import { hashStateInBackground } from '../../runtime/state.js'
import { StepDeadline } from './step-deadline.js'
import { type Entry, StepLog, type StepCommand, type StepEvent } from '../../runtime/step-log.js'
import type { VNodeHost } from './vnode-host.js'
import { Standing } from './standing.js'
import { type Made, VNodeFrames } from './vnode-frames.js'
import type { Read } from './vnode-roots.js'
import { VNodeInbox } from './vnode-inbox.js'
import { VNodeReports } from './vnode-reports.js'

export interface VNodeDriverOptions {
  readonly host: VNodeHost
  readonly definition: VNodeMachineDefinition
  /** What the frames that it gets must look like. */
  readonly forms: FrameForms
  /** Hash of the weights to start from when there is no checkpoint; undefined: from the seed. */
  readonly initial: string | undefined
  readonly computeClass: string
  readonly grant: Grant
  /** Frames in flight on each edge. */
  readonly window: number
  /** How far it may be ahead of the newest manifest, in entries. */
  readonly maxAhead: number
  /** What it puts out is compared with what others say of it. Default false. */
  readonly isReviewed?: boolean
}

/** Errors that mean the loss of more than this VNode: whoever lost it tells, and whose step it was. */
const LOST_WITH_THE_HOST: readonly ErrorCode[] = ['compute.lost', 'compute.hung', 'compute.not-loaded', 'compute.closed', 'bus.closed']
/** How long the checkpoint may take that a VNode stands still at before it moves, in ms: what it does afterwards is done again elsewhere. */
const HOLD_PATIENCE_MS = 20_000
/** What its log hears while its machine is being loaded. */
const BEFORE_THE_START: ReadonlySet<StepEvent<Uint8Array>['type']> = new Set(['granted', 'manifest', 'hold', 'release'])
/** How often what may have been lost is asked for again, in ms. */
const TICK_MS = 250

export class VNodeDriver {
  /** The VNode whose log it applies: its own, or the one that it follows. */
  readonly vnode: string
  /** Of its machine. */
  readonly id: string
  readonly #host: VNodeHost
  readonly #definition: VNodeMachineDefinition
  readonly #initial: string | undefined
  readonly #computeClass: string
  readonly #log: StepLog<Uint8Array>
  readonly #deadline = new StepDeadline()
  readonly #refinement: RefinementQueue
  readonly #frames: VNodeFrames
  readonly #inbox: VNodeInbox
  readonly #peers = new Map<string, Placed>()
  readonly #abort = new AbortController()
  /** With the compute, until their refinement is done; in the order of the log. */
  readonly #underWay: Read[] = []
  readonly #logbook: Logbook
  readonly #sums: EvaluationSums
  readonly #reports: VNodeReports
  #grant: Grant
  #isStarted = false
  /** What follows from a failure is none of its own. */
  #hasFailed = false
  #manifest: number
  readonly #standing: Standing
  /** Of the last entry that was applied. */
  #step: number
  readonly #lag = new FollowerLag()

  constructor({ host, definition, forms, initial, computeClass, grant, window, maxAhead, isReviewed = false }: VNodeDriverOptions) {
    // Every report that is not heard yet waits.
    setMaxListeners(0, this.#abort.signal)
    this.#host = host
    this.#definition = definition
    this.#initial = initial
    this.#computeClass = computeClass
    this.#grant = grant
    this.#standing = new Standing(grant.term)
    this.vnode = vnodeOf(grant.vnode)
    this.id = `${grant.run}/${grant.vnode}/${grant.term}`
    const origin = () => ({ ...this.#me(), run: this.#grant.run, vnode: this.vnode })
    this.#frames = new VNodeFrames(definition.vnode.feedback, isReviewed, origin)
    const machine = { machine: this.id, isBackground: this.#isAudit }
    this.#refinement = new RefinementQueue({ compute: host.compute, definition, run: grant.run, ...machine })
    this.#sums = new EvaluationSums(definition.vnode.hasHead)
    this.#logbook = new Logbook(grant, definition.vnode.feedback, isReviewed)
    this.#manifest = grant.checkpoint?.position ?? 0
    this.#step = grant.checkpoint?.step ?? 0
    for (const peer of [...grant.inputs, ...grant.outputs]) this.#peers.set(peer.vnode, peer)
    this.#log = new StepLog({
      vnode: grant.vnode,
      generation: grant.generation,
      from: grant.checkpoint?.position ?? 0,
      inputs: grant.inputs,
      outputs: grant.outputs,
      feedback: definition.vnode.feedback,
      window,
      maxAhead: grant.until ? grant.until.position - this.#manifest : maxAhead,
      skips: grant.skips,
      isFollower: this.isFollower,
    })
    const onFailure = (error: unknown) => void this.#fail(error)
    const { signal } = this.#abort
    const inbox = { host, grant, forms, peers: this.#peers, signal, onFailure }
    this.#inbox = new VNodeInbox({ ...inbox, onEvent: (event) => this.#handle(event) })
    this.#reports = new VNodeReports({
      host,
      run: grant.run,
      id: grant.vnode,
      generation: grant.generation,
      term: () => this.#grant.term,
      isSilent: this.isFollower,
      signal,
      onFailure,
    })
  }

  get grant(): Grant {
    return this.#grant
  }

  /** It applies in silence what another VNode applies. */
  get isFollower(): boolean {
    return followed(this.#grant.vnode) !== undefined
  }

  /** It applies a segment that others have gone on from. */
  get #isAudit(): boolean {
    return this.#grant.until !== undefined
  }

  /** Positions: applied, restored from, of the newest whole checkpoint. Inputs that wait, outputs kept. */
  get stats() {
    const { applied, waiting, retained } = this.#log
    return { applied, waiting, retained, restored: this.grant.checkpoint?.position ?? 0, manifest: this.#manifest }
  }

  get whereabouts(): Whereabouts {
    const { applied, wants } = this.#log
    return { applied, wants, ...this.#reports.open, ...(!this.#isStarted && { isRestoring: true }) }
  }

  /** What it has read and put out up to a position; undefined: it has not come there, or nobody compares it. */
  rootsAt(position: number): Roots | undefined {
    return this.#logbook.rootsAt(position)
  }

  get queues(): Queues {
    return queuesOf(this.#log, this.#inbox.dropped, this.#refinement.stats)
  }

  /** Restores the state, then takes part. Failures are reported, never thrown. */
  async start(): Promise<void> {
    try {
      this.#inbox.listen(this.#grant)
      const blob = await restoredState(this.#host.store, this.grant, this.#initial, this.#abort.signal)
      await this.#host.compute.load(this.id, this.#definition, blob, { signal: this.#abort.signal })
      if (this.#abort.signal.aborted) return await this.#host.compute.unload(this.id)
      const { run, vnode, term, pnode, checkpoint } = this.grant
      if (!this.isFollower) this.#host.observe({ type: 'restored', run, vnode, term, pnode, step: checkpoint?.step ?? 0 })
      this.#isStarted = true
      const { position = 0 } = checkpoint ?? {}
      const given = this.#frames.given(blob, position)
      this.#logbook.restored(given, position)
      this.#execute(this.#log.start(given))
      this.#tick()
    } catch (error) {
      await this.#fail(error)
    }
  }

  /**
   * A follower becomes the owner, with the state that it has.
   * @returns false if it cannot: it has not begun, or lacks what nobody keeps any more
   */
  promote(grant: Grant): boolean {
    const { generation, checkpoint, inputs, outputs } = grant
    if (!this.isFollower || this.#isAudit || !this.#isStarted || this.#hasFailed || this.#abort.signal.aborted) return false
    if (generation !== this.#grant.generation || this.#log.applied < Math.max(this.#manifest, checkpoint?.position ?? 0)) return false
    this.manifest(checkpoint?.position ?? 0)
    this.#grant = grant
    this.#standing.promoted(grant.term)
    for (const peer of [...inputs, ...outputs]) this.#peers.set(peer.vnode, peer)
    const { run, vnode, term, pnode } = grant
    this.#host.observe({ type: 'restored', run, vnode, term, pnode, step: this.#step })
    this.#inbox.listen(grant)
    this.#handle({ type: 'promoted', inputs, outputs })
    this.#reports.speak()
    return true
  }

  /** A neighbour has moved. */
  neighbour(peer: Placed): void {
    if (this.#abort.signal.aborted) return
    if ((this.#peers.get(peer.vnode)?.term ?? -1) >= peer.term) return
    this.#peers.set(peer.vnode, peer)
    this.#handle({ type: 'granted', peer })
  }

  /** A manifest is complete up to this position. */
  manifest(position: number): void {
    if (this.#abort.signal.aborted || this.#hasFailed) return
    this.#manifest = Math.max(this.#manifest, position)
    this.#reports.manifest(position)
    this.#logbook.release(this.#manifest)
    this.#handle({ type: 'manifest', position })
  }

  /** The run has a new owner, which does not know what the one before was told. */
  tellAgain(): void {
    this.#reports.again()
  }

  /** This VNode is about to move: it applies nothing after the next cut. @param asOf the last term of the run then: word may come late */
  hold(asOf: number): void {
    if (this.#standing.hold(asOf)) this.#handle({ type: 'hold' })
  }

  /** It does not move after all: it goes on. */
  release(asOf: number): void {
    for (const type of this.#standing.release(asOf)) this.#handle({ type })
  }

  /** Stops taking part and frees the machine. */
  async stop(): Promise<void> {
    this.#abort.abort(new SwarmError('aborted', `${this.id} was stopped`))
    await this.#host.compute.unload(this.id).catch(ignoreLoss)
  }

  /** Stops at once, as a crash of the host would. */
  crash(): void {
    this.#abort.abort(new SwarmError('aborted', `${this.id} crashed`))
  }

  /** What the run's owner is told of the step that ended the worker. */
  culprit({ error, isHasty }: NonNullable<ComputeLoss['culprit']>): Failure {
    return { ...this.#failure(error, this.#underWay[0]), ...(isHasty && { isHasty }) }
  }

  #handle(event: StepEvent<Uint8Array>): void {
    if (this.#hasFailed) return
    if (!this.#isStarted && !BEFORE_THE_START.has(event.type)) return
    try {
      const commands = this.#log.handle(event)
      this.#standing.saw(this.#log.heldAt)
      if (this.#isStarted) this.#execute(commands)
    } catch (error) {
      void this.#fail(error)
    }
  }

  #execute(commands: readonly StepCommand<Uint8Array>[]): void {
    for (const command of commands) {
      switch (command.type) {
        case 'apply':
          void this.#apply(command)
          break
        case 'bury':
          // Poison here or before: nothing happens to the state, and everything that reads from here hears so.
          this.#done(command, this.#frames.tombstone(command.entry, command.inputs), {}, 0)
          break
        case 'snapshot':
          if (!this.#isAudit) void this.#commit(command.entry)
          break
        case 'send':
          // What a follower has kept was made before it had this term; nobody has seen it yet.
          this.#publish(command.to, 'frame', underTerm(command.ref, this.grant.term))
          break
        case 'credit': {
          const { next, upTo, resend } = command
          if (resend) this.#inbox.asked(upTo - next + 1)
          this.#publish(command.to, 'signal', encodeSignal({ type: 'credit', ...this.#me(), next, upTo, resend }))
          break
        }
        case 'hello':
          this.#publish(command.to, 'signal', encodeSignal({ type: 'hello', ...this.#me() }))
          break
        case 'drop':
          this.#inbox.drop(command.reason)
          break
      }
    }
  }

  async #apply(step: Read): Promise<void> {
    const { entry, inputs, feedback } = step
    this.#underWay.push(step)
    try {
      const request = { ...this.#frames.request(entry), inputs, feedback, areInputsWhole: true }
      const applying = this.#host.compute.apply(this.id, request, { patienceMs: this.#deadline.ms, isBackground: this.#isAudit })
      // Asked for behind the step and before all that follows; the output goes out without it.
      const refining = this.#refinement.after(entry)
      const { metrics, busyMs, ...made } = await applying
      if (this.#abort.signal.aborted) return
      if (!refining) this.#underWay.shift()
      this.#deadline.took(busyMs)
      this.#done(step, made, metrics, entry.evaluation > 0 ? busyMs : busyMs + this.#refinement.takeBusyMs())
      await refining
      if (refining) this.#underWay.shift()
    } catch (error) {
      await this.#fail(error, step)
    }
  }

  #done(read: Read, made: Made, metrics: { readonly [name: string]: number }, busyMs: number): void {
    const { entry } = read
    const { run, vnode, term, generation, pnode } = this.grant
    const sums = entry.evaluation > 0 ? this.#sums.add(entry, metrics) : undefined
    this.#logbook.applied(read, made)
    this.#reports.applied(entry, metrics)
    const argument = { vnode: this.vnode, term, generation, step: entry.step }
    if (sums) this.#reports.evaluated({ ...argument, ...this.#logbook.vouchedAt(entry), sums }, entry.position)
    this.#host.worked(busyMs)
    const stepMs = this.#deadline.ofStep(entry, busyMs)
    if (!this.isFollower) this.#host.observe({ type: 'applied', run, vnode, term, pnode, entry, busyMs: stepMs, metrics })
    this.#step = entry.step
    if (entry.position === this.#grant.until?.position) void this.#commit(entry)
    this.#handle({ type: 'applied', position: entry.position, ref: made.frame, feedback: made.feedback })
  }

  /** The snapshot is taken between two steps; hashing and storing it goes on in the background. */
  async #commit(entry: Entry): Promise<void> {
    const { vnode, grant } = this
    const { step, position, marks } = entry
    const { term, generation } = grant
    try {
      const blob = await this.#host.compute.snapshot(this.id)
      if (this.#abort.signal.aborted) return
      const said = this.#logbook.take(entry)
      const hash = await hashStateInBackground(blob as Uint8Array<ArrayBuffer>)
      const commit = { vnode, term, generation, step, position, marks, hash, sizeBytes: blob.byteLength, computeClass: this.#computeClass }
      const isHeld = this.#log.heldAt === position
      const argument = { ...commit, ...said, ...(isHeld && { heldAsOf: this.#standing.asOf }) }
      await this.#reports.committed({ method: 'committed', argument }, blob)
      // A cut that somebody missed under a source before this one never completes: nobody stands still behind that for ever.
      const isInVain = () => this.#log.heldAt === position && this.#manifest < position
      if (isHeld) this.#host.clock.after(HOLD_PATIENCE_MS, () => isInVain() && this.#handle({ type: 'release' }))
    } catch (error) {
      await this.#fail(error)
    }
  }

  #publish(to: string, kind: 'frame' | 'signal', bytes: Uint8Array): void {
    const peer = this.#peers.get(to)
    if (peer && !this.#abort.signal.aborted) this.#host.bus.publish(subjectOf(this.grant.run, peer.pnode, to, kind), bytes)
  }

  #tick(): void {
    if (this.#abort.signal.aborted) return
    this.#handle({ type: 'tick' })
    // A follower for which nothing is kept any more begins anew: the run does not wait for it.
    const behind = this.#lag.see(this.id, this.#log, this.#manifest)
    if (behind) void this.#fail(behind)
    this.#host.clock.after(TICK_MS, () => this.#tick())
  }

  #me() {
    const { vnode, generation, term } = this.grant
    return { vnode, generation, term }
  }

  #failure(error: SwarmError, step: Read | undefined): Failure {
    const { vnode, term, generation } = this.grant
    const read = step && this.#logbook.readWith(step.entry, step.inputs)
    const at = step && { entry: step.entry, batch: batchOf(step.inputs[0]), ...(read && { read }) }
    return { vnode, term, generation, error: error.toJSON(), ...at }
  }

  /** Stops this VNode. A lost worker is the PNode's to tell; everything else goes to the run's owner. */
  async #fail(error: unknown, step?: Read): Promise<void> {
    if (this.#abort.signal.aborted || this.#hasFailed) return
    this.#hasFailed = true
    const cause = toSwarmError(error, 'internal', `${this.grant.vnode} on ${this.grant.pnode}`)
    const isTold = LOST_WITH_THE_HOST.includes(cause.code) && (this.#isStarted || !cause.retryable)
    if (!isTold) await this.#reports.say({ method: 'failed', argument: this.#failure(cause, step) }).catch(this.#host.onError)
    this.#abort.abort(cause)
    await this.#host.compute.unload(this.id).catch(this.#host.onError)
  }
}

function ignoreLoss(error: unknown): void {
  if (!isSwarmError(error, 'compute.lost', 'compute.hung', 'compute.closed')) throw error
}
