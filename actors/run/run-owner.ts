/**
 * The Run actor: owner of `head`. It places VNodes, completes cuts, answers losses (recovery one) and damage (recovery two),
 * and says when the run is done. Its turns are short; what goes out to hosts is delivered in the background, and is an idempotent
 * echo of what is durable in `head` already.
 */
import { setMaxListeners } from 'node:events'
import { SOURCE } from '../../components/definition.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { SwarmError, isSwarmError, toSwarmError } from '../../runtime/errors.js'
import { MARK } from '../../runtime/frame.js'
import {
  advanced,
  type Head,
  type Manifest,
  pausing,
  placed,
  rolledBack,
  rolledBackBehind,
  rolledBackBehindBase,
  unpaused,
  waiting,
} from '../../runtime/head.js'
import type { HeadWriter } from '../../runtime/head-store.js'
import type { Timetable } from '../../runtime/timetable.js'
import type { Loss } from '../calls.js'
import { awaitedOf } from './awaited.js'
import { HeadEcho } from './head-echo.js'
import { evict, newestUsable, readManifest, sweepAll, writeManifest } from './checkpoints.js'
import type { Evaluations } from './evaluations.js'
import type { RunDefinition } from './run-definition.js'
import { Moves } from './moves.js'
import { OpenCuts, toldBy } from './open-cuts.js'
import { DeadLetters } from './dead-letters.js'
import { Failures } from './failures.js'
import { Poison } from './poison.js'
import { poisonLimits, type RunSettings } from './run-settings.js'
import { RollCall } from './roll-call.js'
import { DEFAULT_MEMBERSHIP } from '../placement/placement.js'
import { Checks } from '../checks/checks.js'
import { Rollback } from './rollback.js'
import { ReportGate } from './report-gate.js'
import { RunEnding } from './run-ending.js'
import type { OpenedRun } from './run-opening.js'
import { placeAll, type PlacingRun, plainly } from './run-placing.js'
import type { RunMonitor } from './run-monitor.js'
import type { Claim, Commit, Evaluated, Failure } from '../reports.js'
import type { RunActorOptions } from './run.js'

export class RunOwner {
  readonly #options: RunActorOptions
  readonly #context: ActorContext
  readonly #writer: HeadWriter
  readonly #definition: RunDefinition
  /** As of the last start: a resume may have others. */
  #settings: RunSettings | undefined
  readonly #timetable: Timetable
  readonly #monitor: RunMonitor
  readonly #run: string
  /** The newest manifest. */
  #manifest: Manifest | undefined
  readonly #cuts: OpenCuts
  readonly #evaluations: Evaluations
  /** The source, and the VNodes in graph order. */
  readonly #ids: readonly string[]
  readonly #failures: Failures
  readonly #gate: ReportGate
  /** Counters of the processes before this one. */
  readonly #countersBefore: Head['counters']
  /** The run is under way by our own doing: we know what is where. */
  #isAwake = false
  /** Sees to it that losses are heard of. */
  readonly rollCall: RollCall
  /** What moves, and why. */
  readonly moves: Moves
  /** When everything goes back. */
  readonly rollback: Rollback
  readonly #echo: HeadEcho
  readonly ending: RunEnding
  /** Whether what it is told is right. */
  readonly checks: Checks

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
      manifest: (step) => this.checks.manifests.startOf(step),
      onError: this.#report,
    })
    const [{ store }, { network }] = [options, definition]
    const [echo, monitor, onError] = [this.#echo, this.#monitor, this.#report]
    const limits = () => poisonLimits(store, this.#run)
    this.rollCall = new RollCall({ context, head: () => writer.head, lost: (loss) => this.hostLost(loss), onError })
    this.ending = new RunEnding({ context, writer, echo, monitor, counters: () => this.#counters, onError })
    const reach = () => ({ network, timetable, manifest: this.checks.manifests.at(), maxAhead: this.#settings?.cuts.maxAhead })
    this.#gate = new ReportGate({ writer, monitor, isUnderWay: () => this.isUnderWay, reach, isReviewed: () => this.checks.areOn })
    this.rollback = new Rollback({
      context,
      writer,
      echo,
      begin: (change) => this.#begin(change),
      begun: (reason) => this.#toldOfRollback(reason),
      fail: (error) => this.ending.fail(error),
    })
    this.#failures = new Failures({
      context,
      run: () => this.#placing,
      poison: new Poison(definition.training.nonFinite ?? 'stop', limits),
      deadLetters: new DeadLetters({ store, clock: context.clock, writer, echo, monitor, limits }),
      ending: this.ending,
      lost: (vnode, reason) => this.hostLost(this.#lossOf(vnode, 'worker', reason)),
      goBehind: () => this.checks.manifests.at() && ((reason) => this.rollback.back(reason, rolledBackBehindBase)),
      goBack: (bury, change = (head) => head) => this.#orFail(async () => this.rollback.back(await bury(), change)),
    })
    this.checks = new Checks({
      context,
      store,
      trust: options.trust,
      definition,
      writer,
      controlKey: options.controlKey,
      monitor,
      moves: () => this.moves,
      complete: (commits) => this.#complete(commits),
      released: () => this.#released(),
      back: (reason, change) => this.#orFail(() => this.rollback.back(reason, change)),
      believe: (failure, belief) => this.#failures.believe(failure, this.moves, belief),
      leave: (vnode, reason) => this.#orFail(() => this.moves.leave(this.#lossOf(vnode, 'standstill', reason))),
      evaluations,
      standstillMs: options.standstillMs,
    })
    this.moves = new Moves({
      context,
      store,
      writer,
      echo,
      monitor,
      cuts: this.#cuts,
      goBack: (reason) => this.#orFail(() => this.rollback.back(reason, rolledBack)),
      awaited: () => awaitedOf({ network, timetable, head: this.head, cuts: this.#cuts, reviews: this.checks.reviews, evaluations }),
      moved: (vnode, from) => {
        this.#cuts.forget(vnode)
        this.checks.moved(vnode, from)
      },
      run: () => this.#placing,
      manifest: () => this.checks.manifests.at(),
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
    this.#settings = await this.checks.begin()
    await this.#begin((before) => (isNew ? before : unpaused(rolledBack(before)))).catch(async (error: unknown) => {
      const plain = await plainly(this.#context, this.#placing, error)
      // Nobody has room for it now: whoever takes runs up begins it, as one that is new.
      if (this.head.status !== 'running' && isSwarmError(plain, 'placement.no-pnode')) await this.#writer.update(waiting)
      throw plain
    })
    this.#isAwake = true
    this.rollCall.watch(0, 0)
    this.#monitor.started(this.head.generation, this.#manifest?.step ?? 0)
  }

  /** Goes on where an owner before this one was, in the same generation: tells everybody again what is durable, and hears who is there. */
  async wake(): Promise<void> {
    if (this.#isAwake || this.head.status !== 'running') return
    if (Object.keys(this.head.directory).length === 0) return this.start()
    this.#settings = await this.checks.begin()
    const [newest] = this.head.manifests
    try {
      this.#manifest = newest && (await readManifest(this.#options.store, newest, this.#ids.slice(1)))
      await this.checks.audits.wake(this.#manifest)
    } catch (error) {
      if (!isSwarmError(error, 'store.damaged', 'store.not-found')) throw error
      this.#isAwake = true
      return this.rollback.back(error.message, rolledBackBehind(newest))
    }
    this.#isAwake = true
    const { step, position } = this.checks.manifests.at() ?? { step: 0, position: 0 }
    for (const [vnode, { pnode, term }] of Object.entries(this.head.directory)) this.#monitor.placed(vnode, pnode, term, step)
    if (await this.checks.wentBack()) return
    if (this.#isComplete) return this.#finish()
    if (position > 0) this.#echo.manifest(position)
    this.moves.watch()
    void this.#echo.grant(this.moves.everybody).then(() => this.#pauseAgain())
    this.moves.followers.seek()
    this.rollCall.watch(this.#options.rollCallMs ?? DEFAULT_MEMBERSHIP.lostMs, this.head.termCounter)
  }

  /** A VNode's state after a cut is in the store. */
  async committed(commit: Commit): Promise<void> {
    if (!(await this.#gate.commits(commit))) return
    const newest = this.#manifest?.step ?? 0
    if (commit.step <= newest && !(await this.checks.audits.passed(commit))) return this.checks.contradicted(commit)
    if (commit.step < newest) return
    if (commit.step > newest) return this.checks.reviews.committed(commit, this.#cuts.add(commit))
    // Told again: to an owner that has just begun, or because what was to follow failed the last time.
    this.moves.handover.completed([commit])
    await this.#goOn()
  }

  /** A follower says what it makes of the log. */
  async claimed(claim: Claim): Promise<void> {
    if (await this.#gate.claims(claim)) await this.checks.claimed(claim, this.#manifest?.step ?? 0)
  }

  async #complete(commits: readonly Commit[]): Promise<void> {
    const [{ step }] = commits
    const marks = commits.reduce((all, commit) => all & commit.marks, ~0)
    const { manifest, ref } = await writeManifest(this.#options.store, this.#run, this.head.generation, commits)
    const before = this.head
    const isPaused = (marks & MARK.pause) !== 0
    const audited = await this.checks.audits.draw(commits, manifest)
    await this.#writer.update((head) => ({
      ...(isPaused ? unpaused(advanced(audited(head), ref)) : advanced(audited(head), ref)),
      counters: this.#counters,
      ...(isPaused && { status: 'paused' as const }),
    }))
    this.#manifest = manifest
    this.#cuts.close(step)
    this.checks.reviews.close(step)
    for (const told of toldBy(commits, before.manifests[0]?.step ?? 0, this.#definition.network, before)) this.#monitor.emit(told)
    this.#monitor.emit({ type: 'checkpoint', step, generation: ref.generation, key: ref.key })
    evict(this.#options.store, this.head, before).catch(this.#report)
    if (isPaused) {
      this.#monitor.emit({ type: 'paused', step })
      await this.ending.end()
    } else {
      this.moves.handover.completed(commits)
      await this.checks.audits.opened(manifest)
      await this.#released()
    }
  }

  /** What is before the base is not needed any more. */
  async #released(): Promise<void> {
    const base = this.checks.manifests.at()
    if (base) this.#echo.manifest(base.position)
    await this.#goOn()
  }

  /** What follows from the newest checkpoint. */
  #goOn(): Promise<void> {
    return this.#isComplete ? this.#finish() : this.moves.handover.give()
  }

  async #finish(): Promise<void> {
    // What follows from several things may follow twice; or never again, if it fails now.
    if (this.head.status !== 'running') return
    this.checks.reviews.lookAgain()
    await this.ending.finish(this.#manifest!, this.#evaluations.final)
  }

  async review(): Promise<void> {
    await this.checks.reviews.look()
    if (this.#isComplete) await this.#finish()
  }

  get #isComplete(): boolean {
    const { totalSteps } = this.#timetable
    return this.#manifest?.step === totalSteps && !this.#evaluations.isMissing(totalSteps) && !this.head.audits
  }

  /** A VNode has answered all evaluation batches after a step. */
  async evaluated(result: Evaluated): Promise<void> {
    if (!(await this.#gate.evaluates(result))) return
    await this.checks.evaluated(result)
    if (this.#manifest?.step === result.step) await this.#goOn()
  }

  /** A VNode stopped by itself. */
  async failed(failure: Failure): Promise<void> {
    const { counts, isOdd } = await this.#gate.fails(failure)
    if (counts) await this.#failures.failed(failure, this, isOdd)
  }

  /** Recovery one: the VNodes of a lost PNode, or of its lost worker, are placed anew and restore from the newest manifest. */
  async hostLost(loss: Loss): Promise<void> {
    if (this.head.status !== 'running') return
    // Whoever would have told again what its end follows from may be lost too.
    await this.#orFail(() => (this.#isComplete ? this.#finish() : this.moves.relocate(loss)))
  }

  #lossOf(vnode: string, what: Loss['what'], reason: string): Loss {
    return { pnode: this.head.directory[vnode].pnode, what, reason, vnodes: [`${this.#run}/${vnode}`] }
  }

  /** What may pass is tried again by whoever told us; what may not ends the run. */
  async #orFail(action: () => Promise<void>): Promise<void> {
    try {
      await action()
    } catch (error) {
      const cause = toSwarmError(error, 'internal', `run ${this.#run}`)
      if (cause.retryable) throw cause
      await this.ending.fail(cause.toJSON())
    }
  }

  /** It has begun, and no PNode had room for it yet. */
  get isWaiting(): boolean {
    return this.head.status === 'running' && Object.keys(this.head.directory).length === 0
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
    return this.head.status === 'running' && !this.rollback.isUnderWay
  }

  /** Places every VNode from one manifest: one durable write, then the grants. */
  async #begin(change: (head: Head) => Head): Promise<void> {
    this.#cuts.clear()
    this.checks.reviews.clear()
    this.moves.handover.clear()
    this.#manifest = undefined
    const { manifest, head: next, unusable } = await newestUsable(this.#options.store, change(this.head), this.#ids.slice(1))
    this.#manifest = manifest
    this.checks.audits.clear(manifest)
    if (unusable) this.#toldOfRollback(unusable, next)
    this.#evaluations.goBackTo(this.#manifest?.step ?? 0)
    // One that goes back has had its places, and its turn.
    const run = { ...this.#placing, head: next, computeClass: manifest?.computeClass, isBeginning: !this.#isAwake }
    const { decisions, computeClass } = await this.moves.orSayWhyNot(this.#ids, placeAll(this.#context, run))
    this.checks.suit(computeClass)
    const begun = { ...next, status: 'running', error: undefined, computeClass } as const
    await this.#writer.update((head) => placed({ ...begun, writer: head.writer }, decisions))
    sweepAll(this.#options.store, this.head).catch(this.#report)
    for (const decision of decisions) this.moves.placed(decision, 'start of a generation')
    this.moves.watch()
    void this.#echo.grant(this.#ids).then(() => this.#pauseAgain())
    this.moves.followers.seek()
  }

  #toldOfRollback(reason: string, { generation } = this.head): void {
    this.#monitor.emit({ type: 'rolledBack', generation, step: this.#manifest?.step ?? 0, reason })
  }

  get #placing(): PlacingRun {
    const { shunned } = this.moves.standstill
    const computeClass = this.#manifest?.computeClass ?? this.head.computeClass
    const [{ trust }, { suspects }, { constraints } = {}] = [this.#options, this.checks.reviews, this.#settings]
    return { definition: this.#definition, constraints, head: this.head, computeClass, shunned, suspects, trust }
  }
}
