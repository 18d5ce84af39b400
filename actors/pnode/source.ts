/** The source: numbered batches from (data set, seed, step), and the marks on steps (PROTOCOL.md rules 6 and 8). */
import type { Dataset } from '../../components/datasets/index.js'
import type { Clock } from '../../runtime/clock.js'
import { isSwarmError, toSwarmError } from '../../runtime/errors.js'
import { MARK } from '../../runtime/frame.js'
import type { Grant, Placed } from '../../runtime/grant.js'
import { LogRoot, type Roots } from '../../runtime/log-root.js'
import { decodeSignal, encodeSignal, subjectOf } from '../../runtime/signal.js'
import { type Entry, StepLog, type StepCommand, type StepEvent } from '../../runtime/step-log.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { Timetable } from '../../runtime/timetable.js'
import { Batches } from './batches.js'
import { type Queues, queuesOf } from './queues.js'
import type { Failure, Whereabouts } from '../reports.js'
import type { RunDefinition } from '../run/run-definition.js'
import type { CutPolicy } from '../run/run-settings.js'
import { SOURCE } from '../../components/definition.js'

export interface SourceOptions {
  readonly bus: TensorBus
  readonly clock: Clock
  readonly window: number
  readonly definition: RunDefinition
  readonly dataset: Dataset
  readonly cuts: CutPolicy
  /** What it has sent is compared with what others say of it. Default false. */
  readonly isReviewed?: boolean
  readonly onFailure: (failure: Failure) => void
}

const TICK_MS = 250
const INBOX_CAPACITY = 4_096
/** Doubles with each cut that does not complete. */
const PATIENCE = 2
/** A pause comes about within so long, in ms, or it is tried again further on. */
const PAUSE_PATIENCE_MS = 2_000

/** Emits the batches of one generation. */
export class SourceDriver {
  readonly grant: Grant
  readonly vnode = SOURCE
  readonly isFollower = false
  readonly #options: SourceOptions
  readonly #timetable: Timetable
  readonly #log: StepLog<undefined>
  readonly #peers = new Map<string, Placed>()
  readonly #atSteps: ReadonlySet<number>
  readonly #abort = new AbortController()
  /** Frames made lately: every consumer gets the same one. */
  readonly #made = new Map<number, Uint8Array>()
  readonly #batches: Batches
  readonly #root: LogRoot | undefined
  #manifest: number
  /** The manifest that it counts its room from: the newest, or one a little before it. */
  #base: number
  /** Position of the newest cut, complete or not. */
  #cut: number
  #cutStep: number
  /** The newest cut was asked for so long ago that a VNode must have missed it. */
  #isCutStale = false
  /** After so many times the steps between two cuts another one is asked for, complete or not: VNodes may have passed the newest before it was asked for. */
  #patience = PATIENCE
  #isCutDue = false
  #isPausing = false
  /** Where the next pause may be. */
  #pauseFrom = 0
  #pauseStride = 1
  #isEnded = false

  constructor(options: SourceOptions, grant: Grant) {
    this.#options = options
    this.grant = grant
    this.#timetable = new Timetable(options.definition.timetable)
    this.#atSteps = new Set(options.cuts.atSteps)
    const from = grant.checkpoint?.position ?? 0
    this.#batches = new Batches(options.definition, options.dataset)
    this.#root = options.isReviewed
      ? new LogRoot({ producer: SOURCE, kind: 'output', isOfSource: true }, from, grant.checkpoint?.roots?.output)
      : undefined
    this.#manifest = from
    this.#base = from
    this.#cut = from
    this.#cutStep = grant.checkpoint?.step ?? 0
    for (const peer of grant.outputs) this.#peers.set(peer.vnode, peer)
    this.#log = new StepLog({
      vnode: SOURCE,
      generation: grant.generation,
      from,
      inputs: [],
      outputs: grant.outputs,
      window: options.window,
    })
  }

  /** Positions: emitted, begun after, of the newest whole checkpoint. Nothing waits here, and what is kept can be made again. */
  get stats() {
    const { applied, retained } = this.#log
    return { applied, waiting: 0, retained, restored: this.grant.checkpoint?.position ?? 0, manifest: this.#manifest }
  }

  get whereabouts(): Whereabouts {
    const { applied, wants } = this.#log
    return { applied, wants }
  }

  /** What it has sent up to a position; undefined: it has not come there, or nobody compares it any more. */
  rootsAt(position: number): Roots | undefined {
    if (position <= this.#log.applied) this.#rootUpTo(position)
    const output = this.#root?.at(position)
    return output === undefined ? undefined : { output, inputs: {} }
  }

  /** Nothing comes in; what goes out is counted as anywhere. */
  get queues(): Queues {
    return queuesOf(this.#log, new Map())
  }

  start(): void {
    void this.#listen()
    this.#execute(this.#log.start())
    this.#tick()
    this.#armCutTimer()
    this.#pump()
  }

  neighbour(peer: Placed): void {
    if ((this.#peers.get(peer.vnode)?.term ?? -1) >= peer.term) return
    this.#peers.set(peer.vnode, peer)
    this.#handle({ type: 'granted', peer })
  }

  manifest(position: number): void {
    if (position <= this.#manifest) return
    this.#manifest = position
    this.#root?.release(position)
    // Each one would have a last cut of its own, and so each of those: what comes close together counts as one, unless nothing is to follow.
    const { maxAhead } = this.#options.cuts
    if (position >= this.#base + maxAhead / 8 || position >= this.#cut) this.#base = position
    this.#patience = PATIENCE
    this.#handle({ type: 'manifest', position })
    this.#pump()
  }

  /** Asks for a checkpoint at the next step: after a loss, so that the next one has less to replay. */
  cut(): void {
    this.#isCutDue = true
    this.#pump()
  }

  /** Puts the pause mark, with a cut, on the next step. */
  pause(): void {
    this.#isPausing = true
    this.#pump()
  }

  async stop(): Promise<void> {
    this.#abort.abort()
  }

  crash(): void {
    this.#abort.abort()
  }

  /** Nothing of it has to be told again, and nothing handed over: whoever goes on makes the same batches. */
  tellAgain(): void {}
  promote(): boolean {
    return false
  }
  hold(): void {}
  release(): void {}

  async #listen(): Promise<void> {
    const { bus } = this.#options
    const inbox = subjectOf(this.grant.run, this.grant.pnode, SOURCE, 'signal')
    try {
      for await (const delivery of bus.subscribe(inbox, { capacity: INBOX_CAPACITY, signal: this.#abort.signal })) {
        if (delivery.type === 'lost' || this.#abort.signal.aborted) continue
        this.#onSignal(delivery.bytes, delivery.from)
        this.#pump()
      }
    } catch (error) {
      this.#fail(error)
    }
  }

  #onSignal(bytes: Uint8Array, from: string): void {
    try {
      const signal = decodeSignal(bytes)
      const peer = this.#peers.get(signal.vnode)
      if (peer && (peer.term !== signal.term || peer.pnode === from)) this.#handle({ ...signal, from: signal.vnode })
    } catch (error) {
      // Unreadable: dropped; credits are repeated.
      if (!isSwarmError(error, 'frame.damaged', 'frame.version')) throw error
    }
  }

  #handle(event: StepEvent<undefined>): void {
    if (this.#abort.signal.aborted) return
    try {
      this.#execute(this.#log.handle(event))
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Emits as long as consumers and retention leave room. */
  #pump(): void {
    try {
      while (!this.#abort.signal.aborted && !this.#isEnded && this.#log.canOffer()) {
        const position = this.#log.applied + 1
        if (position > this.#timetable.totalPositions || position > this.#base + this.#options.cuts.maxAhead) return
        const planned = this.#timetable.at(position)
        // A checkpoint that is wanted just here waits for the one before it.
        if (this.#endsStep(planned) && this.#atSteps.has(planned.step) && this.#cut > this.#manifest) return
        const entry = this.#marked(planned)
        this.#execute(this.#log.offer(entry) ?? [])
        if (entry.marks & MARK.pause) this.#pauseAt(entry.position)
      }
    } catch (error) {
      this.#fail(error)
    }
  }

  /**
   * Nothing is emitted after a pause. But VNodes may have passed this position under a source before this one: then its cut never completes, and
   * the pause has to be further on, at the latest where retention ends, which nobody can have passed.
   */
  #pauseAt(position: number): void {
    this.#isEnded = true
    this.#options.clock.after(PAUSE_PATIENCE_MS, () => {
      // Whoever has paused it stops it, too. A checkpoint just there may have been an older one, of those who passed it without the pause.
      if (this.#abort.signal.aborted) return
      this.#isEnded = false
      this.#pauseFrom = position + this.#pauseStride
      this.#pauseStride *= 2
      this.#pump()
    })
  }

  /** What is asked for after a step happens behind its last entry. */
  #endsStep(entry: Entry): boolean {
    return entry.evaluation === 0 && this.#timetable.endsStep(entry)
  }

  /** Adds the marks that circumstances ask for. They never change the result, so they need not be the same in every run. */
  #marked(entry: Entry): Entry {
    if (!this.#endsStep(entry)) return entry
    const { everySteps, maxAhead } = this.#options.cuts
    let { marks } = entry
    const isOpen = this.#cut > this.#manifest && !this.#isCutStale && entry.step - this.#cutStep < this.#patience * everySteps
    const isDue =
      this.#isCutDue ||
      entry.step - this.#cutStep >= everySteps ||
      entry.position - this.#cut >= Math.ceil(maxAhead / 2) ||
      this.#atSteps.has(entry.step)
    // The last step that retention has room for is always a cut: every source that goes on from this manifest puts it at the same place,
    // so it completes, whichever cuts VNodes missed that were lost together with the source. An evaluation has no place for one.
    const isLastChance = this.#timetable.positionOf(entry.step + 1) > this.#base + maxAhead
    if (this.#isPausing && entry.position >= this.#pauseFrom && !(marks & MARK.end)) marks |= MARK.pause | MARK.cut
    else if ((isDue && !isOpen) || isLastChance) marks |= MARK.cut
    if (marks & MARK.cut) {
      // Where the store is slow, few are under way at a time.
      if (this.#cut > this.#manifest) this.#patience *= 2
      this.#cut = entry.position
      this.#cutStep = entry.step
      this.#isCutDue = false
      this.#isCutStale = false
      this.#armCutTimer()
    }
    return { ...entry, marks }
  }

  #execute(commands: readonly StepCommand<undefined>[]): void {
    for (const command of commands) {
      if (command.type === 'apply') {
        // Making the batch is the source's whole step; that is done when it is first sent, which may be long after this, and once.
        this.#execute(this.#log.handle({ type: 'applied', position: command.entry.position, ref: undefined }))
      } else if (command.type === 'send') {
        this.#publish(command.to, 'frame', this.#frame(command.entry))
      } else if (command.type === 'hello') {
        const { generation, term } = this.grant
        this.#publish(command.to, 'signal', encodeSignal({ type: 'hello', vnode: SOURCE, generation, term }))
      }
    }
  }

  #publish(to: string, kind: 'frame' | 'signal', bytes: Uint8Array): void {
    const peer = this.#peers.get(to)
    if (peer) this.#options.bus.publish(subjectOf(this.grant.run, peer.pnode, to, kind), bytes)
  }

  /** The frame of an entry: the same bytes whenever it is made. */
  #frame(entry: Entry): Uint8Array {
    const known = this.#made.get(entry.position)
    if (known) return known
    const frame = this.#batches.frame(entry, this.grant)
    this.#rootUpTo(entry.position - 1)
    if (this.#root?.position === entry.position - 1) this.#root.add(entry.position, frame)
    this.#made.set(entry.position, frame)
    // The oldest ones go, whatever their positions: after a loss the same positions are made again.
    for (const oldest of this.#made.keys()) {
      if (this.#made.size <= 2 * this.#options.window) break
      this.#made.delete(oldest)
    }
    return frame
  }

  /** Readers that had come further under a source before this one are not sent all of it: what is between counts as well. */
  #rootUpTo(position: number): void {
    const root = this.#root
    while (root && root.position < position) root.addBatch(this.#batches.batch(this.#timetable.at(root.position + 1)))
  }

  #tick(): void {
    if (this.#abort.signal.aborted) return
    this.#handle({ type: 'tick' })
    this.#pump()
    this.#options.clock.after(TICK_MS, () => this.#tick())
  }

  #armCutTimer(): void {
    const cut = this.#cut
    this.#options.clock.after(this.#options.cuts.everyMs, () => {
      if (this.#cut !== cut || this.#abort.signal.aborted) return
      this.#isCutDue = true
      this.#isCutStale = true
    })
  }

  #fail(error: unknown): void {
    if (this.#abort.signal.aborted) return
    const { generation, term } = this.grant
    this.#options.onFailure({ vnode: SOURCE, term, generation, error: toSwarmError(error, 'internal', SOURCE).toJSON() })
    this.#abort.abort()
  }
}
