/** What can be seen of a run from outside: turns observations into views and events. Nothing here touches a VNode's state. */
import { isBitwise } from '../../components/backends.js'
import { SOURCE } from '../../components/definition.js'
import type { Clock } from '../../runtime/clock.js'
import { followed } from '../../runtime/followers.js'
import type { Head, RunStatus } from '../../runtime/head.js'
import { Feed } from '../../runtime/telemetry.js'
import { Timetable } from '../../runtime/timetable.js'
import type { Membership } from '../calls.js'
import { EVENT_VERSION, type PNodeView, type RunEvent, type RunEventBody, type VNodeView } from '../events.js'
import type { AppliedSpan } from '../pnode/observations.js'
import { RATED } from '../placement/placement.js'
import { Refusals } from './refusals.js'
import type { RunDefinition } from './run-definition.js'
import type { Observation } from '../reports.js'
import { StepTimes } from './step-times.js'
import { isTraining } from '../../runtime/step-log.js'

/** Weight of the newest step in the running averages of loss and accuracy. */
const SMOOTHING = 0.05
/** Progress is told this often, in ms; a terminal shows no more. */
const PROGRESS_MS = 250
/** Over how long the rate is averaged, in ms. */
const RATE_WINDOW_MS = 5_000

interface Tracked {
  pnode: string
  term: number
  /** Last step applied under this term. */
  step: number
  /** Highest step ever applied: steps up to here are replays. */
  frontier: number
  loss?: number
  accuracy?: number
  state: VNodeView['state']
  move?: { from: string; lostAtMs: number; fromStep: number; firstStepMs?: number; replayed: number }
}

/** Exact counts over this process's part of the run. */
export interface RunCounters {
  readonly moves: number
  /** Steps applied again after a move, with the same result. */
  readonly stepsReplayed: number
  /** Steps that a VNode skipped: always 0. */
  readonly stepsLost: number
  /** Steps that a VNode applied twice under one term: always 0. */
  readonly stepsDoubled: number
}

export class RunMonitor {
  readonly run: string
  readonly feed: Feed<RunEvent>
  /** For whoever balances the run. */
  readonly times = new StepTimes()
  /** For whoever has to know why nothing goes on. */
  readonly refusals = new Refusals()
  readonly #definition: RunDefinition
  readonly #timetable: Timetable
  readonly #clock: Clock
  readonly #vnodes = new Map<string, Tracked>()
  readonly #rate: { atMs: number; step: number }[] = []
  readonly #dropped = new Map<string, number>()
  readonly #members: () => readonly Membership[]
  #counters = { moves: 0, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 }
  #before: Head['counters'] | undefined
  #toldAtMs = 0
  #waitsFor: string | undefined
  #checkpointStep = 0
  #status: RunStatus = 'running'

  constructor(run: string, definition: RunDefinition, clock: Clock, members: () => readonly Membership[]) {
    this.run = run
    this.#definition = definition
    this.#timetable = new Timetable(definition.timetable)
    this.#clock = clock
    this.#members = members
    this.feed = new Feed<RunEvent>({
      snapshot: () => this.#event(this.snapshot()),
      coalesce: ({ type }) => (type === 'progress' ? type : undefined),
      dropped: (count) => this.#event({ type: 'dropped', count }),
    })
  }

  get status(): RunStatus {
    return this.#status
  }

  get counters(): RunCounters {
    return this.#counters
  }

  /** Over the whole life of the run. @param before what the head had when the first owner here took it up; later ones know no better */
  totals(before: Head['counters']): Head['counters'] {
    this.#before ??= before
    const { moves, stepsReplayed } = this.#before
    return { moves: moves + this.#counters.moves, stepsReplayed: stepsReplayed + this.#counters.stepsReplayed }
  }

  /** Messages that were dropped, by reason. */
  get dropped(): ReadonlyMap<string, number> {
    return this.#dropped
  }

  /** Step of the newest checkpoint that was completed while this run is watched here; 0: none. */
  get checkpointStep(): number {
    return this.#checkpointStep
  }

  emit(body: RunEventBody): void {
    if (body.type === 'checkpoint') this.#checkpointStep = body.step
    if (body.type === 'paused' || body.type === 'failed' || body.type === 'done') {
      this.#status = body.type
      this.#tellProgress()
    }
    const { stepsLost, stepsDoubled } = this.#counters
    this.feed.emit(this.#event(body.type === 'done' || body.type === 'paused' ? { ...body, stepsLost, stepsDoubled } : body))
  }

  /** It is under way from this step on. */
  started(generation: number, step: number): void {
    const { training, data } = this.#definition
    const { epochs, batchSize } = training
    const samples = data.splits.train?.reduce((sum, shard) => sum + shard.samples, 0) ?? 0
    this.emit({ type: 'started', generation, step, totalSteps: this.#timetable.totalSteps, epochs, batchSize, samples })
  }

  /** A PNode has joined, or its steps show how fast it is; nothing else is worth an event. */
  member({ pnode, gflops, saidGflops = gflops, state, ratedBecause }: Membership, reason: string): void {
    if (this.#status !== 'running') return
    if (reason === 'joined') this.emit({ type: 'joined', pnode, gflops })
    if (reason === RATED) this.emit({ type: 'rated', pnode, state, gflops, saidGflops, reason: ratedBecause ?? 'its steps show it' })
  }

  /** VNodes have nowhere to go: the same is told once, however often it is tried. */
  waits(vnodes: readonly string[], reason: string): void {
    if (this.#waitsFor === reason) return
    this.#waitsFor = reason
    this.emit({ type: 'waiting', vnodes, reason })
  }

  /** A VNode is given to a PNode; `move` if it was somewhere else before and was lost there. */
  placed(vnode: string, pnode: string, term: number, step: number, move?: { readonly from: string; readonly lostAtMs: number }): void {
    this.#waitsFor = undefined
    if (move) this.#counters.moves++
    if (vnode === SOURCE || followed(vnode) !== undefined) return
    const before = this.#vnodes.get(vnode)
    // An owner that has just begun says again what is: nothing begins anew.
    if (before?.term === term) return
    this.times.forget(vnode)
    const frontier = Math.max(before?.frontier ?? 0, step)
    this.#vnodes.set(vnode, {
      ...before,
      pnode,
      term,
      step,
      frontier,
      state: 'restoring',
      move: move && { ...move, fromStep: step, replayed: 0 },
    })
  }

  observe(observation: Observation): void {
    if (observation.type === 'dropped') {
      this.#dropped.set(observation.reason, (this.#dropped.get(observation.reason) ?? 0) + (observation.count ?? 1))
      return
    }
    if (observation.type === 'suspected') return this.#suspected(observation)
    const tracked = this.#vnodes.get(observation.vnode)
    if (!tracked || tracked.term !== observation.term) return
    if (observation.type === 'restored') this.#restored(tracked, observation.step)
    else if (isTraining(observation.entry)) {
      this.times.add(observation.vnode, observation.busyMs)
      this.#applied(observation.vnode, tracked, observation.entry.step, observation.metrics)
    }
    this.#maybeTellProgress()
  }

  #suspected({ vnode: by, producer: vnode, pnode, term, step, reason }: Observation & { readonly type: 'suspected' }): void {
    if (this.#status !== 'running') return
    const byPnode = this.pnodeOf(by) ?? ''
    this.refusals.add({ producer: vnode, pnode, term, step, reason }, by, byPnode)
    this.emit({ type: 'suspected', vnode, pnode, term, step, reason, by, byPnode })
  }

  /** Steps that a PNode applied one after the other; what it told before and did not arrive is among them. */
  observeSpan({ vnode, term, firstStep, lastStep, busyMs, metrics, run }: AppliedSpan): void {
    const tracked = this.#vnodes.get(vnode)
    if (!tracked || tracked.term !== term) return
    const { pnode } = tracked
    const last = Math.min(lastStep, this.#timetable.totalSteps)
    for (let step = Math.max(1, Math.min(firstStep, tracked.step + 1)); step <= last; step++) {
      const entry = { position: 0, step, evaluation: 0, marks: 0 }
      this.observe({ type: 'applied', run, vnode, term, pnode, entry, busyMs: busyMs / (lastStep - firstStep + 1), metrics })
    }
  }

  snapshot(): RunEventBody & { type: 'snapshot' } {
    return {
      type: 'snapshot',
      status: this.#status,
      step: this.step,
      totalSteps: this.#timetable.totalSteps,
      vnodes: this.vnodes(),
      pnodes: this.#pnodes(),
    }
  }

  /** Steps that VNodes have applied, of all of them together; what is done again does not count. */
  get newSteps(): number {
    return [...this.#vnodes.values()].reduce((sum, { frontier }) => sum + frontier, 0)
  }

  /** The last step that every VNode has applied. */
  get step(): number {
    const steps = this.#definition.network.vnodes.map(({ id }) => this.#vnodes.get(id)?.frontier ?? 0)
    return Math.min(...steps)
  }

  /** The last step that a VNode has applied under its newest term. */
  stepOf(vnode: string): number {
    return this.#vnodes.get(vnode)?.step ?? 0
  }

  /** Where a VNode is placed. */
  pnodeOf(vnode: string): string | undefined {
    return this.#vnodes.get(vnode)?.pnode
  }

  vnodes(): VNodeView[] {
    return this.#definition.network.vnodes.flatMap(({ id }) => {
      const tracked = this.#vnodes.get(id)
      if (!tracked) return []
      const { pnode, term, step, loss, accuracy, state } = tracked
      return [{ vnode: id, pnode, term, step, state, ...(loss !== undefined && { loss }), ...(accuracy !== undefined && { accuracy }) }]
    })
  }

  #pnodes(): PNodeView[] {
    return this.#members().map(({ pnode, state, gflops, busyShare }) => ({
      pnode,
      state,
      gflops,
      load: busyShare,
      vnodes: state === 'lost' ? [] : [...this.#vnodes].filter(([, tracked]) => tracked.pnode === pnode).map(([vnode]) => vnode),
    }))
  }

  /** From the checkpoint; or it was a follower, which has applied more than that. */
  #restored(tracked: Tracked, step: number): void {
    tracked.state = 'running'
    if (!(step > tracked.step)) return
    tracked.step = Math.min(step, this.#timetable.totalSteps)
    tracked.frontier = Math.max(tracked.frontier, tracked.step)
    if (tracked.move) tracked.move.fromStep = tracked.step
  }

  #applied(vnode: string, tracked: Tracked, step: number, metrics: { readonly [name: string]: number }): void {
    if (step <= tracked.step) this.#counters.stepsDoubled++
    else this.#counters.stepsLost += step - tracked.step - 1
    tracked.step = step
    tracked.state = 'running'
    average(tracked, 'loss', metrics.loss)
    if (metrics.correct !== undefined && metrics.count) average(tracked, 'accuracy', metrics.correct / metrics.count)
    const { move } = tracked
    const now = this.#clock.now()
    if (move) move.firstStepMs ??= now - move.lostAtMs
    if (step <= tracked.frontier) {
      this.#counters.stepsReplayed++
      if (move) move.replayed++
      return
    }
    tracked.frontier = step
    if (move) {
      const { from, lostAtMs, fromStep, firstStepMs, replayed } = move
      tracked.move = undefined
      const { pnode: to, term } = tracked
      const times = { firstStepMs: firstStepMs!, caughtUpMs: now - lostAtMs }
      const isExact = isBitwise(this.#members().find(({ pnode }) => pnode === to)?.computeClass)
      const divergence = isExact ? undefined : ({ isDivergence: true } as const)
      this.emit({ type: 'relocated', vnode, from, to, term, fromStep, stepsReplayed: replayed, ...times, ...divergence })
    }
    if (vnode === this.#definition.network.output) {
      this.#rate.push({ atMs: now, step })
      while (this.#rate.length > 2 && this.#rate[0].atMs < now - RATE_WINDOW_MS) this.#rate.shift()
    }
  }

  #maybeTellProgress(): void {
    const now = this.#clock.now()
    // Steps that are told of late do not come after the end of the story.
    if (this.#status !== 'running' || now - this.#toldAtMs < PROGRESS_MS) return
    this.#toldAtMs = now
    this.#tellProgress()
  }

  #tellProgress(): void {
    const { totalSteps } = this.#timetable
    const { step } = this
    const [first] = this.#rate
    const last = this.#rate.at(-1)
    const stepsPerSecond = first && last && last.atMs > first.atMs ? ((last.step - first.step) * 1000) / (last.atMs - first.atMs) : 0
    this.feed.emit(
      this.#event({
        type: 'progress',
        step,
        totalSteps,
        epoch: this.#timetable.epochOf(Math.max(1, step)),
        epochs: this.#definition.training.epochs,
        samplesPerSecond: stepsPerSecond * this.#definition.training.batchSize,
        secondsLeft: stepsPerSecond > 0 ? (totalSteps - step) / stepsPerSecond : 0,
        vnodes: this.vnodes(),
        pnodes: this.#pnodes(),
      }),
    )
  }

  #event(body: RunEventBody): RunEvent {
    return { v: EVENT_VERSION, run: this.run, atMs: Math.round(this.#clock.now()), ...body }
  }
}

function average(tracked: Tracked, name: 'loss' | 'accuracy', value: number | undefined): void {
  if (value === undefined) return
  const before = tracked[name]
  tracked[name] = before === undefined ? value : before + SMOOTHING * (value - before)
}
