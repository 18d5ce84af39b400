/**
 * The Run actor: owner of `head`. It places VNodes, completes cuts, answers losses (recovery one) and damage (recovery two),
 * and says when the run is done. Its turns are short; what goes out to hosts is delivered in the background, and is an idempotent
 * echo of what is durable in `head` already.
 */
import { setMaxListeners } from 'node:events'
import { SOURCE } from '../../components/definition.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { type ErrorRecord, SwarmError, isSwarmError, toSwarmError } from '../../runtime/errors.js'
import { followed } from '../../runtime/followers.js'
import { MARK } from '../../runtime/frame.js'
import {
  advanced,
  failed,
  finished,
  type Head,
  type Manifest,
  pausing,
  placed,
  rolledBack,
  rolledBackBehind,
  unpaused,
  waiting,
} from '../../runtime/head.js'
import type { HeadWriter } from '../../runtime/head-store.js'
import { hashRun } from '../../runtime/state.js'
import type { Timetable } from '../../runtime/timetable.js'
import { actor, call, type Loss } from '../calls.js'
import { HeadEcho } from './head-echo.js'
import { evict, newestUsable, readManifest, sweepAll, writeManifest } from './checkpoints.js'
import type { Evaluations } from './evaluations.js'
import type { RunDefinition } from './run-definition.js'
import { Moves } from './moves.js'
import { OpenCuts, toldBy } from './open-cuts.js'
import type { Constraints } from './constraints.js'
import { DeadLetters } from './dead-letters.js'
import { Poison } from './poison.js'
import { RETRY_MS } from '../relocation.js'
import { constraintsOf, poisonLimits } from './run-settings.js'
import { RollCall } from './roll-call.js'
import { DEFAULT_MEMBERSHIP } from '../placement/placement.js'
import type { OpenedRun } from './run-opening.js'
import { hasOther, placeAll, type PlacingRun, plainly } from './run-placing.js'
import type { RunMonitor } from './run-monitor.js'
import type { Commit, Evaluated, Failure } from '../reports.js'
import type { RunActorOptions } from './run.js'

export class RunOwner {
  readonly #options: RunActorOptions
  readonly #context: ActorContext
  readonly #writer: HeadWriter
  readonly #definition: RunDefinition
  /** As of the last start: a resume may have others. */
  #constraints: Constraints | undefined
  readonly #timetable: Timetable
  readonly #monitor: RunMonitor
  readonly #run: string
  /** The newest manifest. */
  #manifest: Manifest | undefined
  readonly #cuts: OpenCuts
  readonly #evaluations: Evaluations
  /** The source, and the VNodes in graph order. */
  readonly #ids: readonly string[]
  readonly #poison: Poison
  readonly #deadLetters: DeadLetters
  /** Counters of the processes before this one. */
  readonly #countersBefore: Head['counters']
  /** The run is under way by our own doing: we know what is where. */
  #isAwake = false
  /** Sees to it that losses are heard of. */
  readonly rollCall: RollCall
  /** What moves, and why. */
  readonly moves: Moves
  /** Why a rollback is under way, and to what. */
  #rollback: { readonly reason: string; readonly change: (head: Head) => Head } | undefined
  readonly #echo: HeadEcho

  readonly #report = (error: unknown): void => {
    if (!this.#context.signal.aborted) this.#options.onError(toSwarmError(error, 'internal', `run ${this.#run}`))
  }

  constructor(options: RunActorOptions, context: ActorContext, { writer, definition, timetable, evaluations }: OpenedRun) {
    this.#options = options
    this.#context = context
    // Every VNode may be told something at the same time.
    setMaxListeners(0, context.signal)
    this.#writer = writer
    this.#definition = definition
    this.#timetable = timetable
    this.#ids = [SOURCE, ...definition.network.vnodes.map(({ id }) => id)]
    this.#cuts = new OpenCuts(this.#ids.slice(1))
    this.#run = writer.head.run
    this.#monitor = options.monitor(this.#run, definition)
    this.#evaluations = evaluations
    this.#countersBefore = writer.head.counters
    this.#monitor.totals(this.#countersBefore)
    this.#echo = new HeadEcho({
      context,
      network: definition.network,
      controlKey: options.controlKey,
      head: () => writer.head,
      manifest: () => this.#manifest,
      onError: this.#report,
    })
    const limits = () => poisonLimits(options.store, this.#run)
    this.#poison = new Poison(definition.training.nonFinite ?? 'stop', limits)
    const { store } = options
    this.#deadLetters = new DeadLetters({ store, clock: context.clock, writer, echo: this.#echo, monitor: this.#monitor, limits })
    this.rollCall = new RollCall({ context, head: () => writer.head, lost: (loss) => this.hostLost(loss), onError: this.#report })
    this.moves = new Moves({
      context,
      store,
      writer,
      echo: this.#echo,
      monitor: this.#monitor,
      cuts: this.#cuts,
      run: () => this.#placing,
      manifest: () => this.#manifest,
      pauseAgain: () => this.#pauseAgain(),
      balance: options.balance,
      standstillMs: options.standstillMs,
    })
  }

  /** Begins, or goes on from the newest manifest under a new generation. */
  async start(): Promise<void> {
    const { head } = this.#writer
    if (this.#isAwake && head.status === 'running') return
    if (this.#isAwake) {
      // An owner has one stretch of a run, from a start to its end: the next one is watched anew.
      this.#context.deactivate()
      throw new SwarmError('actor.busy', { what: `run ${head.run} has just ended: ${head.status}`, retryable: true })
    }
    const fix = `Start a new one from its weights with: swarmgrad train --from ${head.run}`
    if (head.status === 'done') throw new SwarmError('run.changed', { what: `run ${head.run} is done`, fix })
    const isNew = Object.keys(head.directory).length === 0
    this.#constraints = await constraintsOf(this.#options.store, this.#run)
    await this.#begin((before) => (isNew ? before : unpaused(rolledBack(before)))).catch(async (error: unknown) => {
      const plain = await plainly(this.#context, this.#placing, error)
      // Nobody has room for it now: whoever takes runs up begins it, as one that is new.
      if (this.head.status !== 'running' && isSwarmError(plain, 'placement.no-pnode')) await this.#writer.update(waiting)
      throw plain
    })
    this.#isAwake = true
    this.rollCall.watch(0, 0)
    const { training, data } = this.#definition
    const { epochs, batchSize } = training
    const samples = data.splits.train?.reduce((sum, shard) => sum + shard.samples, 0) ?? 0
    const step = this.#manifest?.step ?? 0
    const { totalSteps } = this.#timetable
    this.#monitor.emit({ type: 'started', generation: this.head.generation, step, totalSteps, epochs, batchSize, samples })
  }

  /** Goes on where an owner before this one was, in the same generation: tells everybody again what is durable, and hears who is there. */
  async wake(): Promise<void> {
    if (this.#isAwake || this.head.status !== 'running') return
    if (Object.keys(this.head.directory).length === 0) return this.start()
    this.#constraints = await constraintsOf(this.#options.store, this.#run)
    const [newest] = this.head.manifests
    try {
      this.#manifest = newest && (await readManifest(this.#options.store, newest, this.#ids.slice(1)))
    } catch (error) {
      if (!isSwarmError(error, 'store.damaged', 'store.not-found')) throw error
      this.#isAwake = true
      return this.#rollBack(error.message)
    }
    this.#isAwake = true
    const { step, position } = this.#manifest ?? { step: 0, position: 0 }
    for (const [vnode, { pnode, term }] of Object.entries(this.head.directory)) this.#monitor.placed(vnode, pnode, term, step)
    if (this.#isComplete) return this.#finish()
    if (position > 0) this.#echo.manifest(position)
    this.moves.watch()
    void this.#echo.grant(this.moves.everybody).then(() => this.#pauseAgain())
    this.moves.followers.seek()
    this.rollCall.watch(this.#options.rollCallMs ?? DEFAULT_MEMBERSHIP.lostMs, this.head.termCounter)
  }

  /** A VNode's state after a cut is in the store. */
  async committed(commit: Commit): Promise<void> {
    if (!(await this.#isCurrent(commit, 'commit'))) return
    const newest = this.#manifest?.step ?? 0
    if (commit.step < newest) return
    const complete = commit.step > newest ? this.#cuts.add(commit) : undefined
    if (complete) return this.#complete(complete)
    if (commit.step > newest) return
    // Told again: to an owner that has just begun, or because what was to follow failed the last time.
    this.moves.handover.completed([commit])
    await this.#goOn()
  }

  async #complete(commits: readonly Commit[]): Promise<void> {
    const { step, position, marks } = commits[0]
    const { manifest, ref } = await writeManifest(this.#options.store, this.#run, this.head.generation, commits)
    const before = this.head
    const isPaused = (marks & MARK.pause) !== 0
    await this.#writer.update((head) => ({
      ...(isPaused ? unpaused(advanced(head, ref)) : advanced(head, ref)),
      counters: this.#counters,
      ...(isPaused && { status: 'paused' as const }),
    }))
    this.#manifest = manifest
    this.#cuts.close(step)
    for (const told of toldBy(commits, before.manifests[0]?.step ?? 0, this.#definition.network, before)) this.#monitor.emit(told)
    this.#monitor.emit({ type: 'checkpoint', step, generation: ref.generation, key: ref.key })
    this.#echo.manifest(position)
    evict(this.#options.store, this.head, before).catch(this.#report)
    if (isPaused) {
      this.#monitor.emit({ type: 'paused', step })
      await this.#end()
    } else {
      this.moves.handover.completed(commits)
      await this.#goOn()
    }
  }

  /** What follows from the newest checkpoint. */
  async #goOn(): Promise<void> {
    if (this.#isComplete) await this.#finish()
    else await this.moves.handover.give()
  }

  get #isComplete(): boolean {
    const { totalSteps } = this.#timetable
    return this.#manifest?.step === totalSteps && !this.#evaluations.isMissing(totalSteps)
  }

  /** A VNode has answered all evaluation batches after a step. */
  async evaluated(result: Evaluated): Promise<void> {
    const { step } = result
    if (!(await this.#isCurrent(result, 'evaluation'))) return
    const row = this.#evaluations.has(step) ? undefined : await this.#evaluations.add(result)
    if (row) this.#monitor.emit({ type: 'evaluated', ...row })
    if (this.#manifest?.step === step) await this.#goOn()
  }

  /** A VNode stopped by itself. */
  async failed(failure: Failure): Promise<void> {
    if (!(await this.#isCurrent(failure, 'failure'))) return
    const { vnode, error } = failure
    // Whoever else meets it says so.
    if (followed(vnode) !== undefined) return this.moves.dismiss([vnode], { hasFailed: true })
    // Before the first checkpoint there is nothing to go back to: the same would happen again.
    if (error.code === 'checkpoint.damaged' && this.#manifest) return this.#rollBack(error.message)
    const { pnode } = this.head.directory[vnode]
    const verdict = await this.#poison.judge(failure, pnode, () => hasOther(this.#context, this.#placing, vnode, pnode))
    if (verdict.type === 'fail') return this.#fail(error)
    if (verdict.type === 'move') return this.hostLost({ pnode, what: 'worker', reason: error.message, vnodes: [`${this.#run}/${vnode}`] })
    // Durable first; then nobody applies that entry again, nor has applied it.
    await this.#orFail(async () => this.#rollBack(await this.#deadLetters.bury(failure, verdict.attempts), (head) => head))
  }

  /** Recovery one: the VNodes of a lost PNode, or of its lost worker, are placed anew and restore from the newest manifest. */
  async hostLost(loss: Loss): Promise<void> {
    if (this.head.status !== 'running') return
    // Whoever would have told again what its end follows from may be lost too.
    await this.#orFail(() => (this.#isComplete ? this.#finish() : this.moves.relocate(loss)))
  }

  /** What may pass is tried again by whoever told us; what may not ends the run. */
  async #orFail(action: () => Promise<void>): Promise<void> {
    try {
      await action()
    } catch (error) {
      const cause = toSwarmError(error, 'internal', `run ${this.#run}`)
      if (cause.retryable) throw cause
      await this.#fail(cause.toJSON())
    }
  }

  /** It has begun, and no PNode had room for it yet. */
  get isWaiting(): boolean {
    return this.head.status === 'running' && Object.keys(this.head.directory).length === 0
  }

  /** It is not begun any more, until somebody goes on with it. */
  async giveUpWaiting(): Promise<void> {
    await this.#writer.update((head) => ({ ...unpaused(head), status: 'paused' as const }))
    this.#monitor.emit({ type: 'paused', step: this.head.manifests[0]?.step ?? 0 })
    // The next stretch is watched anew.
    this.#context.deactivate()
  }

  /** At the next step boundary, with a checkpoint. */
  async pause(): Promise<void> {
    if (this.head.status !== 'running') return
    if (!this.head.isPausing) await this.#writer.update(pausing)
    this.#pauseAgain()
  }

  /** Whatever source there is now has to know. */
  #pauseAgain(): void {
    if (this.head.isPausing && this.head.status === 'running' && SOURCE in this.head.directory) this.#echo.toSource('pause')
  }

  get head(): Head {
    return this.#writer.head
  }

  /** Somebody else owns the run now, and this is what was said of it. */
  get replaced(): SwarmError | undefined {
    return this.#writer.replaced
  }

  get #counters(): Head['counters'] {
    return this.#monitor.totals(this.#countersBefore)
  }

  /** It runs, and is not going back: everything has a place. */
  get isUnderWay(): boolean {
    return this.head.status === 'running' && !this.#rollback
  }

  /** Goes on with a rollback that found no PNode. */
  async rollBackAgain(): Promise<void> {
    if (this.#rollback !== undefined) await this.#rollBack(this.#rollback.reason, this.#rollback.change)
  }

  /** Recovery two: everything goes back to the newest manifest of the changed head; by default to the one before the damaged, or to the seed. */
  async #rollBack(reason: string, change = rolledBackBehind(this.head.manifests[0])): Promise<void> {
    this.#rollback = { reason, change }
    try {
      // Whoever has it now may have left VNodes where they were, under the same terms.
      await this.#writer.confirm()
      await this.#echo.stopAll()
      await this.#begin(change)
    } catch (error) {
      if (this.replaced) throw this.replaced
      const cause = toSwarmError(error, 'internal', `run ${this.#run}`)
      if (!cause.retryable) return this.#fail(cause.toJSON())
      // Whoever reported it has been stopped: nobody else would try again.
      return this.#context.setTimer('rollback', 'rollBackAgain', { afterMs: RETRY_MS })
    }
    this.#rollback = undefined
    this.#monitor.emit({ type: 'rolledBack', generation: this.head.generation, step: this.#manifest?.step ?? 0, reason })
  }

  /** Places every VNode from one manifest: one durable write, then the grants. */
  async #begin(change: (head: Head) => Head): Promise<void> {
    this.#cuts.clear()
    this.moves.handover.clear()
    this.#manifest = undefined
    const { manifest, head: next, unusable } = await newestUsable(this.#options.store, change(this.head), this.#ids.slice(1))
    this.#manifest = manifest
    if (unusable) this.#monitor.emit({ type: 'rolledBack', generation: next.generation, step: this.#manifest?.step ?? 0, reason: unusable })
    this.#evaluations.goBackTo(this.#manifest?.step ?? 0)
    // One that goes back has had its places, and its turn.
    const run = { ...this.#placing, head: next, computeClass: manifest?.computeClass, isBeginning: !this.#isAwake }
    const { decisions, computeClass } = await this.moves.orSayWhyNot(this.#ids, placeAll(this.#context, run))
    const begun = { ...next, status: 'running', error: undefined, computeClass } as const
    await this.#writer.update((head) => placed({ ...begun, writer: head.writer }, decisions))
    sweepAll(this.#options.store, this.head).catch(this.#report)
    for (const decision of decisions) this.moves.placed(decision, 'start of a generation')
    this.moves.watch()
    void this.#echo.grant(this.#ids).then(() => this.#pauseAgain())
    this.moves.followers.seek()
  }

  get #placing(): PlacingRun {
    const { shunned } = this.moves.standstill
    const computeClass = this.#manifest?.computeClass ?? this.head.computeClass
    return { definition: this.#definition, constraints: this.#constraints, head: this.head, computeClass, shunned }
  }

  /** Of the current owner and generation? Anything else is dropped and counted. @throws `run.writer` another Run actor knows of it */
  async #isCurrent({ vnode, generation, term }: Pick<Commit, 'vnode' | 'generation' | 'term'>, what: string): Promise<boolean> {
    const { status, generation: current, directory, termCounter } = this.head
    if (generation > current || term > termCounter) await this.#writer.confirm()
    const isCurrent = status === 'running' && generation === current && directory[vnode]?.term === term
    if (!isCurrent) this.#monitor.observe({ type: 'dropped', run: this.#run, vnode, reason: `late ${what}` })
    return isCurrent
  }

  async #finish(): Promise<void> {
    const hash = hashRun(this.#manifest!.vnodes.map((vnode) => vnode.hash))
    const { final: metrics } = this.#evaluations
    await this.#writer.update((head) => finished(head, { hash, metrics }, this.#counters))
    await this.#end()
    this.#monitor.emit({ type: 'done', steps: this.#timetable.totalSteps, hash, metrics })
  }

  /** The run is over, this time: nobody computes for it any more, and no loss concerns it. */
  async #end(): Promise<void> {
    await this.#echo.stopAll()
    // Not awaited: it may be Relocation itself that waits for us.
    call<'Relocation', 'forget'>(this.#context, actor.relocation, 'forget', { run: this.#run }).catch(() => undefined)
  }

  async #fail(error: ErrorRecord): Promise<void> {
    try {
      await this.#writer.update((head) => failed(head, error, this.#counters))
    } catch (cause) {
      // How it ends is said by whoever has it now.
      if (this.replaced) throw this.replaced
      // A store that is full or gone may be the very reason: the run stops all the same, and its last checkpoint stays.
      this.#report(cause)
    }
    await this.#end()
    this.#monitor.emit({ type: 'failed', error })
  }
}
