/** VNodes of a run get other owners: because theirs was lost (recovery one), wants to go, or is slow. One durable write, then the grants. */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { isSwarmError } from '../../runtime/errors.js'
import { followed, followersIn } from '../../runtime/followers.js'
import { type Head, type Manifest, placed } from '../../runtime/head.js'
import type { HeadWriter } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { SOURCE } from '../../components/definition.js'
import type { Awaited } from './awaited.js'
import type { BalanceOptions } from './balance.js'
import type { Decision, Loss } from '../calls.js'
import { Followers, leavingFor } from './followers.js'
import { Handover } from './handover.js'
import type { HeadEcho } from './head-echo.js'
import type { OpenCuts } from './open-cuts.js'
import { lostOf } from './roll-call.js'
import { readSettings } from './run-settings.js'
import type { RunMonitor } from './run-monitor.js'
import { placeElsewhere, type PlacingRun } from './run-placing.js'
import { Standstill } from './standstill.js'

export interface MovesOptions {
  readonly context: ActorContext
  readonly store: ObjectStore
  readonly writer: HeadWriter
  readonly echo: HeadEcho
  readonly monitor: RunMonitor
  readonly cuts: Pick<OpenCuts, 'newest'>
  /** The whole run goes back to its newest checkpoint. */
  readonly goBack: (reason: string) => Promise<void>
  /** Whose words it waits for. */
  readonly awaited: () => Awaited | undefined
  /** It begins anew with another owner. @param from who had it before, if anybody */
  readonly moved: (vnode: string, from: string | undefined) => void
  readonly run: () => PlacingRun
  /** The newest one. */
  readonly manifest: () => Manifest | undefined
  /** A source that has just been given away has to know. */
  readonly pauseAgain: () => void
  readonly balance?: Partial<BalanceOptions>
  readonly standstillMs?: number
}

interface MoveOptions {
  /** When what moves was lost, or asked to go. Absent: it was nowhere. */
  readonly sinceMs?: number
  /** Followers that are lost. */
  readonly gone?: readonly string[]
  /** Nobody wanted it to move. */
  readonly wasLost?: boolean
}

export class Moves {
  /** Planned moves, while the run is under way. */
  readonly handover: Handover
  /** Who stands by. */
  readonly followers: Followers
  /** Sees to it that nobody waits for ever. */
  readonly standstill: Standstill
  readonly #options: MovesOptions
  /** The newest loss: the terms of the VNodes, and when it was heard of. */
  #loss: { readonly key: string; readonly atMs: number } | undefined

  constructor(options: MovesOptions) {
    this.#options = options
    const { context, store, run, echo, monitor, cuts, awaited, goBack, manifest, balance, standstillMs } = options
    this.followers = new Followers({
      context,
      store,
      run,
      place: (decisions, reason) => this.#move(decisions, reason),
      waits: (ids, reason) => monitor.waits(ids, reason),
      stop: (before) => echo.stop(before),
      dismiss: (ids) => this.dismiss(ids),
    })
    this.handover = new Handover({
      context,
      echo,
      run,
      move: (decisions, reason) => this.#move(decisions, reason, { sinceMs: context.clock.now() }),
      followers: this.followers,
      dismiss: (ids) => this.dismiss(ids),
      monitor,
      balance,
    })
    this.standstill = new Standstill({
      context,
      run,
      manifest,
      cuts,
      awaited,
      monitor,
      window: async () => (await readSettings(store, this.#head.run)).window,
      lost: (loss) => this.leave(loss),
      goBack,
      leastMs: standstillMs,
    })
  }

  /** Looks at intervals from now on whether something should move. */
  watch(): void {
    this.handover.watch()
    this.standstill.watch()
  }

  /** There is another PNode, or one may have VNodes again. */
  async joined(pnode: string): Promise<void> {
    this.standstill.joined()
    await this.handover.joined(pnode)
  }

  /** It applies one segment, and no more. */
  isAuditor(id: string): boolean {
    return this.#head.directory[id]?.audits !== undefined
  }

  /** VNodes in graph order, the source first; then followers. */
  get everybody(): string[] {
    const { network } = this.#options.run().definition
    return [SOURCE, ...network.vnodes.map(({ id }) => id), ...followersIn(this.#head)]
  }

  /**
   * Recovery one: of what is lost followers take over what they have followed; what nobody has followed is placed anew and restores from the
   * newest manifest. Until somebody takes it, the loss is told again and again.
   * @throws `placement.no-pnode` (retryable)
   */
  async relocate(loss: Loss): Promise<void> {
    const { context, echo, monitor, run } = this.#options
    const { pnode, what, reason } = loss
    const lost = lostOf(this.everybody, this.#head, loss)
    if (lost.length === 0) return
    const isNew = this.#loss?.key !== this.#termsOf(lost)
    if (isNew) monitor.emit({ type: 'lost', pnode, what, reason, vnodes: lost })
    const sinceMs = isNew ? context.clock.now() : this.#loss!.atMs
    const why = { pnode: `${pnode} was lost`, worker: `the worker of ${pnode} was lost`, standstill: `stood still on ${pnode}` }[what]
    const gone = lost.filter((id) => followed(id) !== undefined)
    const heirs = this.followers.promotions(lost)
    const rest = lost.filter((id) => !gone.includes(id) && heirs.every(({ vnode }) => vnode !== id))
    this.#loss = { key: this.#termsOf(rest), atMs: sinceMs }
    if (gone.length + heirs.length > 0) await this.#move(heirs, `${why}, and it stood by`, { sinceMs, gone, wasLost: true })
    if (rest.length > 0) {
      const decisions = await this.orSayWhyNot(rest, placeElsewhere(context, run(), rest, pnode))
      await this.#move(decisions, why, { sinceMs, wasLost: true })
    }
    this.followers.seek()
    if (rest.length + heirs.length === 0) return
    this.handover.interrupted()
    echo.toSource('cut')
  }

  /** Nobody but us says that they are lost: those who had the VNodes are there, and have to be told. */
  async leave(loss: Loss): Promise<void> {
    const ids = lostOf(this.everybody, this.#head, loss)
    const before = ids.map((vnode) => ({ vnode, ...this.#head.directory[vnode] }))
    await this.relocate(loss)
    this.#options.echo.stop(before)
  }

  /**
   * Followers go; others take their places when somebody has room for them.
   * @param hasFailed they could not go on: others may not, either
   * @param areToBlame their PNodes get nothing for a while
   */
  async dismiss(all: readonly string[], { hasFailed = false, areToBlame = false } = {}): Promise<void> {
    const { writer, echo } = this.#options
    const { directory } = this.#head
    const ids = all.filter((id) => id in directory)
    if (areToBlame) for (const id of ids) this.standstill.shun(directory[id].pnode)
    await writer.update((head) => placed(head, [], ids))
    echo.stop(ids.map((vnode) => ({ vnode, ...directory[vnode] })))
    if (hasFailed) this.followers.seekLater()
    else this.followers.seek()
  }

  /** Those who watch are to know why VNodes wait. */
  orSayWhyNot<T>(ids: readonly string[], placing: Promise<T>): Promise<T> {
    return placing.catch((error: unknown) => {
      if (isSwarmError(error, 'placement.no-pnode')) this.#options.monitor.waits(ids, error.message)
      throw error
    })
  }

  /** Those who watch hear of it. */
  placed({ vnode, pnode, candidates }: Decision, reason: string, move?: { from: string; lostAtMs: number }): void {
    const { monitor, manifest } = this.#options
    const { term } = this.#head.directory[vnode]
    monitor.placed(vnode, pnode, term, manifest()?.step ?? 0, move)
    monitor.emit({ type: 'placed', vnode, pnode, term, reason, candidates })
  }

  /** Who gets what it has followed is promoted. */
  async #move(decisions: readonly Decision[], reason: string, { sinceMs, gone = [], wasLost = false }: MoveOptions = {}): Promise<void> {
    const { writer, moved, echo, pauseAgain } = this.#options
    const before = this.#head.directory
    const { promoted, displaced } = leavingFor(this.#head, decisions)
    await writer.update((head) => placed(head, decisions, [...gone, ...promoted, ...displaced]))
    for (const decision of decisions) {
      const { vnode } = decision
      moved(vnode, before[vnode]?.pnode)
      // A standby that is new may be better off where somebody joins next.
      if (vnode in before) this.handover.moved(vnode, wasLost)
      this.placed(decision, reason, sinceMs === undefined ? undefined : { from: before[vnode].pnode, lostAtMs: sinceMs })
    }
    echo.stop(displaced.map((vnode) => ({ vnode, ...before[vnode] })))
    if (promoted.length + displaced.length > 0) this.followers.seek()
    void echo.grant(decisions.map(({ vnode }) => vnode)).then(pauseAgain)
  }

  get #head(): Head {
    return this.#options.writer.head
  }

  #termsOf(ids: readonly string[]): string {
    return ids.map((vnode) => this.#head.directory[vnode].term).join()
  }
}
