/**
 * The Run actor: owner of `head`. It places VNodes, completes cuts, answers losses (recovery one) and damage (recovery two),
 * and says when the run is done. Its turns are short; what goes out to hosts is delivered in the background, and is an idempotent
 * echo of what is durable in `head` already.
 */
import { setMaxListeners } from 'node:events'
import { type NetworkDefinition, SOURCE } from '../components/definition.js'
import type { ActorContext, ActorDefinition } from '../runtime/actor-system/actor-system.js'
import { type ErrorRecord, SwarmError, isSwarmError, toSwarmError } from '../runtime/errors.js'
import { MARK } from '../runtime/frame.js'
import type { ControlKey } from '../runtime/grant.js'
import { advanced, firstHead, type Head, type Manifest, placed, rolledBack } from '../runtime/head.js'
import { HeadWriter } from '../runtime/head-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { hashRun } from '../runtime/state.js'
import { Timetable } from '../runtime/timetable.js'
import { actor, call, type Calls, type Decision } from './calls.js'
import { HeadEcho } from './head-echo.js'
import { evict, newestUsable, sweepAll, writeManifest } from './checkpoints.js'
import { type HistoryRow, means, readHistory, writeHistory } from './history.js'
import { readDefinition, type RunDefinition, SOURCE_HOST } from './run-definition.js'
import { MAX_CRASHES, Poison } from './poison.js'
import { demandOf } from './placement.js'
import type { RunMonitor } from './run-monitor.js'
import type { Commit, Evaluated, Failure } from './reports.js'

export interface RunActorOptions {
  readonly store: ObjectStore
  readonly controlKey: ControlKey
  readonly monitor: (run: string) => RunMonitor
  /** Told of errors that no caller can be told of. */
  readonly onError: (error: SwarmError) => void
}

type Loss = Calls['Run']['hostLost'][0]

class RunOwner {
  readonly #options: RunActorOptions
  readonly #context: ActorContext
  readonly #writer: HeadWriter
  readonly #definition: RunDefinition
  readonly #timetable: Timetable
  readonly #network: NetworkDefinition
  readonly #monitor: RunMonitor
  readonly #run: string
  /** The newest manifest. */
  #manifest: Manifest | undefined
  /** Commits of the open cut, by VNode. */
  #commits = new Map<string, Commit>()
  readonly #evaluations = new Map<number, Map<string, Evaluated['sums']>>()
  #history: HistoryRow[]
  readonly #poison = new Poison()
  /** Counters of the processes before this one. */
  readonly #countersBefore: Head['counters']
  #isPausing = false
  /** Why a rollback is under way. */
  #rollback: string | undefined
  readonly #echo: HeadEcho
  /** The newest loss: the terms of the VNodes, and when it was heard of. */
  #loss: { readonly key: string; readonly atMs: number } | undefined

  readonly #report = (error: unknown): void => {
    if (!this.#context.signal.aborted) this.#options.onError(toSwarmError(error, 'internal', `run ${this.#run}`))
  }

  private constructor(
    options: RunActorOptions,
    context: ActorContext,
    writer: HeadWriter,
    definition: RunDefinition,
    history: HistoryRow[],
  ) {
    this.#options = options
    this.#context = context
    // Every VNode may be told something at the same time.
    setMaxListeners(0, context.signal)
    this.#writer = writer
    this.#definition = definition
    this.#timetable = new Timetable(definition.timetable)
    this.#network = definition.network
    this.#run = writer.head.run
    this.#monitor = options.monitor(this.#run)
    this.#history = history
    this.#countersBefore = writer.head.counters
    this.#echo = new HeadEcho({
      context,
      network: definition.network,
      controlKey: options.controlKey,
      head: () => writer.head,
      manifest: () => this.#manifest,
      onError: this.#report,
    })
  }

  /** Takes the run over: raises `writer`, so that an older owner is refused. */
  static async activate(options: RunActorOptions, context: ActorContext): Promise<RunOwner> {
    const run = context.ref.id
    const definition = await readDefinition(options.store, run)
    const writer = await HeadWriter.claim(options.store, run).catch((error: unknown) => {
      if (!isSwarmError(error, 'run.not-found')) throw error
      return HeadWriter.create(options.store, firstHead(run))
    })
    return new RunOwner(options, context, writer, definition, await readHistory(options.store, run))
  }

  /** Begins, or goes on from the newest manifest under a new generation. */
  async start(): Promise<void> {
    const { head } = this.#writer
    const fix = `Start a new one from its weights with: swarmgrad train --from ${head.run}`
    if (head.status === 'done') throw new SwarmError('run.changed', { what: `run ${head.run} is done`, fix })
    const isNew = Object.keys(head.directory).length === 0
    await call<'Relocation', 'watch'>(this.#context, actor.relocation, 'watch', { run: this.#run })
    await this.#begin((before) => (isNew ? before : rolledBack(before)))
    const { epochs, batchSize } = this.#definition.training
    const samples = this.#definition.data.splits.train?.reduce((sum, shard) => sum + shard.samples, 0) ?? 0
    const { totalSteps } = this.#timetable
    this.#monitor.emit({
      type: 'started',
      generation: this.head.generation,
      step: this.#manifest?.step ?? 0,
      totalSteps,
      epochs,
      batchSize,
      samples,
    })
  }

  /** A VNode's state after a cut is in the store. */
  async committed(commit: Commit): Promise<void> {
    if (!this.#isCurrent(commit) || commit.step <= (this.#manifest?.step ?? 0)) return
    // The last cut may be on its way together with the one before it; its states may be stored first.
    if ((this.#commits.get(commit.vnode)?.step ?? 0) > commit.step) return
    for (const [vnode, other] of this.#commits) if (other.step < commit.step) this.#commits.delete(vnode)
    this.#commits.set(commit.vnode, commit)
    const all = this.#network.vnodes.map(({ id }) => this.#commits.get(id))
    if (!all.every((one) => one?.step === commit.step)) return
    await this.#complete(all as Commit[])
  }

  async #complete(commits: readonly Commit[]): Promise<void> {
    const { step, position, marks } = commits[0]
    const { store } = this.#options
    const { manifest, ref } = await writeManifest(store, this.#run, this.head.generation, commits)
    const isUnevaluated = this.#timetable.evaluationsAfter(step) > 0 && !this.#history.some((row) => row.step === step)
    const isPaused = (marks & MARK.pause) !== 0
    const before = this.head
    await this.#writer.update((head) => ({
      ...advanced(head, ref),
      counters: this.#totals(),
      ...(isPaused && { status: 'paused' as const }),
    }))
    this.#manifest = manifest
    this.#commits.clear()
    this.#monitor.emit({ type: 'checkpoint', step, generation: ref.generation, key: ref.key })
    this.#echo.manifest(position)
    evict(store, this.head, before).catch(this.#report)
    if (isPaused) {
      this.#monitor.emit({ type: 'paused', step })
      await this.#echo.stopAll()
    } else if (step === this.#timetable.totalSteps && !isUnevaluated) await this.#finish()
  }

  /** A VNode has answered all evaluation batches after a step. */
  async evaluated({ vnode, step, sums, generation, term }: Evaluated): Promise<void> {
    if (!this.#isCurrent({ vnode, generation, term }) || this.#history.some((row) => row.step === step)) return
    const results = this.#evaluations.get(step) ?? new Map<string, Evaluated['sums']>()
    this.#evaluations.set(step, results)
    results.set(vnode, sums)
    const heads = this.#network.vnodes.filter(({ hasHead }) => hasHead)
    if (!heads.every(({ id }) => results.has(id))) return
    const isFinal = step === this.#timetable.totalSteps
    const hasTest = this.#definition.data.splits.test !== undefined
    const split = (isFinal && hasTest) || this.#definition.validation === 0 ? 'test' : 'validation'
    const vnodes = heads.map(({ id }) => ({ vnode: id, metrics: means(results.get(id)!) }))
    const metrics = vnodes.find((row) => row.vnode === this.#network.output)!.metrics
    const row: HistoryRow = { step, epoch: this.#timetable.epochOf(step), split, metrics, vnodes }
    await writeHistory(this.#options.store, this.#run, row)
    this.#history = [...this.#history, row]
    this.#evaluations.delete(step)
    this.#monitor.emit({ type: 'evaluated', ...row })
    if (isFinal && this.#manifest?.step === step) await this.#finish()
  }

  /** A VNode stopped by itself. */
  async failed(failure: Failure): Promise<void> {
    if (!this.#isCurrent(failure)) return
    const { vnode, error } = failure
    // Before the first checkpoint there is nothing to go back to: the same would happen again.
    if (error.code === 'checkpoint.damaged' && this.#manifest) return this.#rollBack(error.message)
    if (error.retryable && !this.#poison.hangsAgain(failure))
      return this.hostLost({
        pnode: this.head.directory[vnode].pnode,
        what: 'worker',
        reason: error.message,
        vnodes: [`${this.#run}/${vnode}`],
      })
    await this.#fail(error)
  }

  /** Recovery one: the VNodes of a lost PNode, or of its lost worker, are placed anew and restore from the newest manifest. */
  async hostLost(loss: Loss): Promise<void> {
    if (this.head.status !== 'running') return
    try {
      await this.#relocate(loss)
    } catch (error) {
      const cause = toSwarmError(error, 'internal', `run ${this.#run}`)
      if (cause.retryable) throw cause
      await this.#fail(cause.toJSON())
    }
  }

  async #relocate({ pnode, what, reason, vnodes }: Loss): Promise<void> {
    const lost = this.#network.vnodes.filter(
      ({ id }) => this.head.directory[id]?.pnode === pnode && (!vnodes || vnodes.includes(`${this.#run}/${id}`)),
    )
    if (lost.length === 0) return
    const ids = lost.map(({ id }) => id)
    const isNew = this.#loss?.key !== this.#termsOf(ids)
    const lostAtMs = this.#noticed({ pnode, what, reason }, ids)
    if (isNew && what === 'worker' && CRASH.test(reason)) {
      const culprits = ids.filter((vnode) => this.#poison.crashesAgain(vnode, this.#monitor.stepOf(vnode)))
      if (culprits.length > 0) {
        const where = culprits.map((vnode) => `${vnode} after step ${this.#monitor.stepOf(vnode)}`).join(', ')
        const fix = 'Look for what ends the process or takes all its memory in the code of this VNode'
        const error = new SwarmError('compute.lost', {
          what: `${MAX_CRASHES} workers ended one after another at the same place: ${reason}`,
          where,
          fix,
        })
        return this.#fail(error.toJSON())
      }
    }
    // A PNode that lost its worker has to warm another, one that was killed may be back already: better somebody else, if there is somebody.
    const decisions = await this.#place(ids, [pnode]).catch((error: unknown) => {
      if (!isSwarmError(error, 'placement.no-pnode')) throw error
      return this.#place(ids, [])
    })
    await this.#writer.update((head) => placed(head, decisions))
    for (const { vnode } of decisions) this.#commits.delete(vnode)
    for (const decision of decisions)
      this.#placed(decision, what === 'pnode' ? `${pnode} was lost` : `the worker of ${pnode} was lost`, { from: pnode, lostAtMs })
    void this.#echo.grant(ids)
    this.#echo.toSource('cut')
  }

  /** When a loss was first heard of: until somebody takes the VNodes it is told again and again. */
  #noticed({ pnode, what, reason }: Omit<Loss, 'vnodes'>, vnodes: readonly string[]): number {
    const key = this.#termsOf(vnodes)
    if (this.#loss?.key !== key) {
      this.#loss = { key, atMs: this.#context.clock.now() }
      this.#monitor.emit({ type: 'lost', pnode, what, reason, vnodes })
    }
    return this.#loss.atMs
  }

  #termsOf(vnodes: readonly string[]): string {
    return vnodes.map((vnode) => this.head.directory[vnode].term).join()
  }

  /** At the next step boundary, with a checkpoint. */
  pause(): void {
    this.#isPausing = true
    if (this.head.status === 'running') this.#echo.toSource('pause')
  }

  /** Goes on with a rollback that found no PNode. */
  async rollBackAgain(): Promise<void> {
    if (this.#rollback !== undefined) await this.#rollBack(this.#rollback)
  }

  get head(): Head {
    return this.#writer.head
  }

  /** Recovery two: everything goes back to the manifest before the damaged one, or to the seed. */
  async #rollBack(reason: string): Promise<void> {
    const damaged = this.head.manifests[0]
    this.#rollback = reason
    await this.#echo.stopAll()
    try {
      await this.#begin((head) => rolledBack(head, ({ key }) => key !== damaged?.key))
    } catch (error) {
      const cause = toSwarmError(error, 'internal', `run ${this.#run}`)
      if (!cause.retryable) return this.#fail(cause.toJSON())
      // Whoever reported it has been stopped: nobody else would try again.
      return this.#context.setTimer('rollback', 'rollBackAgain', { afterMs: ROLLBACK_RETRY_MS })
    }
    this.#rollback = undefined
    this.#monitor.emit({ type: 'rolledBack', generation: this.head.generation, step: this.#manifest?.step ?? 0, reason })
  }

  /** Places every VNode from one manifest: one durable write, then the grants. */
  async #begin(change: (head: Head) => Head): Promise<void> {
    this.#commits.clear()
    this.#evaluations.clear()
    const ids = this.#network.vnodes.map(({ id }) => id)
    this.#manifest = undefined
    const { manifest, head: next, unusable } = await newestUsable(this.#options.store, change(this.head), ids)
    this.#manifest = manifest
    if (unusable) this.#monitor.emit({ type: 'rolledBack', generation: next.generation, step: this.#manifest?.step ?? 0, reason: unusable })
    // An evaluation comes after the checkpoint of its step: after the step that the run goes back to it is made again, with the same result.
    this.#history = this.#history.filter(({ step }) => step < (this.#manifest?.step ?? 0))
    await sweepAll(this.#options.store, next)
    const decisions = await this.#place(ids, [], true)
    const source: Decision = { vnode: SOURCE, pnode: SOURCE_HOST, candidates: [] }
    await this.#writer.update((head) =>
      placed({ ...next, writer: head.writer, status: 'running', error: undefined }, [source, ...decisions]),
    )
    for (const decision of decisions) this.#placed(decision, 'start of a generation')
    void this.#echo.grant([...ids, SOURCE]).then(() => {
      if (this.#isPausing) this.#echo.toSource('pause')
    })
  }

  async #place(ids: readonly string[], avoid: readonly string[], isAll = false): Promise<readonly Decision[]> {
    const staying = isAll
      ? {}
      : Object.fromEntries(this.#network.vnodes.filter(({ id }) => !ids.includes(id)).map(({ id }) => [id, this.head.directory[id].pnode]))
    const demands = this.#network.vnodes.map((vnode) => demandOf(vnode, this.#definition.training.batchSize))
    const computeClass = this.#manifest?.computeClass
    const request = { run: this.#run, demands, staying, avoid, ...(computeClass && { computeClass }) }
    return call<'Placement', 'place'>(this.#context, actor.placement, 'place', request).catch(async (error: unknown) => {
      if (!computeClass || !isSwarmError(error, 'placement.no-pnode')) throw error
      const members = await call<'Placement', 'list'>(this.#context, actor.placement, 'list', null)
      const ready = members.filter(({ state }) => state === 'ready').map((member) => member.computeClass)
      if (ready.length === 0 || ready.includes(computeClass)) throw error
      const fix = 'Resume it with the version and backend that it was started with'
      throw new SwarmError('checkpoint.class', { what: 'checkpoint of another compute class', expected: computeClass, got: ready[0], fix })
    })
  }

  #placed({ vnode, pnode, candidates }: Decision, reason: string, move?: { from: string; lostAtMs: number }): void {
    const { term } = this.head.directory[vnode]
    this.#monitor.placed(vnode, pnode, term, this.#manifest?.step ?? 0, move)
    this.#monitor.emit({ type: 'placed', vnode, pnode, term, reason, candidates })
  }

  /** From the current owner, in the current generation? Anything else is dropped. */
  #isCurrent({ vnode, generation, term }: { readonly vnode: string; readonly generation: number; readonly term: number }): boolean {
    return this.head.status === 'running' && generation === this.head.generation && this.head.directory[vnode]?.term === term
  }

  #totals(): Head['counters'] {
    const { moves, stepsReplayed } = this.#monitor.counters
    return { moves: this.#countersBefore.moves + moves, stepsReplayed: this.#countersBefore.stepsReplayed + stepsReplayed }
  }

  async #finish(): Promise<void> {
    const hash = hashRun(this.#manifest!.vnodes.map((vnode) => vnode.hash))
    const metrics = this.#history.find(({ step }) => step === this.#timetable.totalSteps)?.metrics ?? {}
    await this.#writer.update((head) => ({ ...head, status: 'done' as const, result: { hash, metrics }, counters: this.#totals() }))
    await this.#echo.stopAll()
    this.#monitor.emit({ type: 'done', steps: this.#timetable.totalSteps, hash, metrics })
  }

  async #fail(error: ErrorRecord): Promise<void> {
    try {
      await this.#writer.update((head) => ({ ...head, status: 'failed' as const, error, counters: this.#totals() }))
    } catch (cause) {
      // A store that is full or gone may be the very reason: the run stops all the same, and its last checkpoint stays.
      this.#report(cause)
    }
    await this.#echo.stopAll()
    this.#monitor.emit({ type: 'failed', error })
  }
}

/** How often a rollback that found no PNode is tried again, in ms. */
const ROLLBACK_RETRY_MS = 500
/** How a compute tells of a worker that ended by itself. */
const CRASH = /: (exited with code|crashed: )/

export function runActor(options: RunActorOptions): ActorDefinition<RunOwner> {
  return {
    type: 'Run',
    activate: (context) => RunOwner.activate(options, context),
    handlers: {
      start: (_context, owner) => owner.start(),
      committed: (_context, owner, commit: Commit) => owner.committed(commit),
      evaluated: (_context, owner, result: Evaluated) => owner.evaluated(result),
      failed: (_context, owner, failure: Failure) => owner.failed(failure),
      rollBackAgain: (_context, owner) => owner.rollBackAgain(),
      hostLost: (_context, owner, loss: Loss) => owner.hostLost(loss),
      pause: (_context, owner) => owner.pause(),
    },
  }
}
