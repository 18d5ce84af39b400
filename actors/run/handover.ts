/** Planned moves: VNodes stand still at a checkpoint and go on just behind it elsewhere, so that no step is done twice (PROTOCOL.md rule 11). */
import { SOURCE } from '../../components/definition.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { isSwarmError } from '../../runtime/errors.js'
import { followed, followersIn } from '../../runtime/followers.js'
import { vnodesOn } from '../../runtime/head.js'
import { Balance, type BalanceOptions, type Look } from './balance.js'
import { type Decision, isTransient, type Leaving } from '../calls.js'
import type { Followers } from './followers.js'
import type { HeadEcho } from './head-echo.js'
import type { Commit } from '../reports.js'
import type { Move } from './rebalance.js'
import type { RunMonitor } from './run-monitor.js'
import { lookAt, type PlacingRun, placeVNodes } from './run-placing.js'

export interface HandoverOptions {
  readonly context: ActorContext
  readonly echo: HeadEcho
  readonly run: () => PlacingRun
  /** One durable write, then the grants. */
  readonly move: (decisions: readonly Decision[], reason: string) => Promise<void>
  readonly followers: Pick<Followers, 'promotions' | 'seek' | 'move'>
  /** Followers are no more where they are: they have nothing to hand over. */
  readonly dismiss: (followers: readonly string[]) => Promise<void>
  /** Told when VNodes have nowhere to go; knows how long steps take, and how far the run is. */
  readonly monitor: Pick<RunMonitor, 'waits' | 'times' | 'step'>
  readonly balance?: Partial<BalanceOptions>
}

/** Handler of the Run actor, and its timer, for `Handover.look`. */
export const LOOK = 'balance'
/** A VNode that was asked to stand still at the next checkpoint is asked again after so long, in ms. */
const ASK_AGAIN_MS = 2_000
/** Who wants to go is told of every second; not to hear it for so long, in ms, means that it stays. */
const FORGET_MS = 10_000

export class Handover {
  readonly #options: HandoverOptions
  /** PNodes that want to go, and when that was last said. */
  readonly #leaving = new Map<string, { readonly isPatient: boolean; readonly atMs: number }>()
  /** VNodes that were asked to stand still, and when. */
  readonly #askedAtMs = new Map<string, number>()
  /** VNodes that stand still after the newest checkpoint. */
  readonly #held = new Set<string>()
  /** The last term when they were told to go on: who had been asked before does not stand still, whatever a checkpoint says. */
  #interruptedAsOf = 0
  /** Where VNodes go that move for balance; undefined: anywhere else, since their PNode lends less than they need. */
  readonly #planned = new Map<string, string | undefined>()
  readonly #balance: Balance

  constructor(options: HandoverOptions) {
    this.#options = options
    this.#balance = new Balance(options.balance)
  }

  /** A PNode wants to go: what it has moves at the next checkpoint. This is said again until nothing is left. @returns what is still there */
  async drain({ pnode, isPatient = false }: Leaving): Promise<string[]> {
    const all = this.#vnodesOn(pnode)
    if (all.length === 0) return []
    this.#leaving.set(pnode, { isPatient, atMs: this.#now })
    const here = all.filter((vnode) => followed(vnode) === undefined)
    if (here.length < all.length) await this.#options.dismiss(all.filter((vnode) => followed(vnode) !== undefined))
    if (here.length === 0) return []
    // What is held already found no place before. The source has no state: it is held at once.
    if (here.every((vnode) => vnode === SOURCE || this.#held.has(vnode))) await this.give()
    else if (!isPatient || (await this.#hasPlaceFor(here))) await this.#holdAtNextCut(here)
    return this.#vnodesOn(pnode)
  }

  /** Another PNode is there, may have VNodes again, or lends more or less: what has waited goes on, and the others are looked at. */
  async joined(pnode: string): Promise<void> {
    this.#leaving.delete(pnode)
    if (this.#held.size > 0) await this.give()
    this.#options.followers.seek()
    await this.#look((look) => this.#balance.lookAtOnce(look, pnode), new Map())
  }

  /** At intervals: what its PNode has no room for any more moves, and what makes the longest stage shorter. */
  async look(): Promise<void> {
    const { context, run } = this.#options
    if (run().head.status !== 'running') return context.clearTimer(LOOK)
    try {
      if (this.#held.size > 0) await this.give()
      await this.#look((look) => this.#balance.look(look), this.#options.monitor.times.take())
    } catch (error) {
      // The next look comes soon.
      if (!isTransient(error)) throw error
    }
  }

  /** Looks at intervals from now on. */
  watch(): void {
    const { everyMs } = this.#balance
    this.#options.context.setTimer(LOOK, LOOK, { afterMs: everyMs, everyMs })
  }

  async #look(balance: (look: Look) => readonly Move[], spent: Look['spent']): Promise<void> {
    const { context, run, monitor, followers } = this.#options
    // Whoever wanted to go and was asked to stand still, and has said no more since, stays.
    for (const [vnode, atMs] of this.#askedAtMs) if (this.#now - atMs > FORGET_MS) this.#askedAtMs.delete(vnode)
    const going = [...this.#held, ...this.#planned.keys(), ...this.#askedAtMs.keys()]
    const moving = new Map(going.map((vnode) => [vnode, this.#planned.get(vnode)]))
    const look = await lookAt(context, run(), { step: monitor.step, spent, moving })
    const moves = balance(look)
    const over = await this.#withoutFollowers(this.#balance.overLimit(look))
    for (const vnode of over) this.#planned.set(vnode, undefined)
    if (over.length === 0) {
      const standing = moves.filter(({ vnode }) => followed(vnode) !== undefined)
      if (standing.length > 0) await followers.move(standing)
      // Whoever was refused there is not asked for again at once, so that others are.
      const { directory } = run().head
      for (const { vnode, to } of standing) if (directory[vnode]?.pnode !== to) this.#balance.moved(vnode, this.#now, true)
      for (const { vnode, to } of moves) if (!standing.some((move) => move.vnode === vnode)) this.#planned.set(vnode, to)
    }
    if (this.#planned.size > 0) await this.#holdAtNextCut([...this.#planned.keys()])
  }

  /** Where there is too little room, those who stand by go first, and at once. */
  async #withoutFollowers(over: readonly string[]): Promise<readonly string[]> {
    const { directory } = this.#options.run().head
    const pnodes = new Set(over.map((vnode) => directory[vnode].pnode))
    const standing = followersIn({ directory }).filter((id) => pnodes.has(directory[id].pnode))
    if (standing.length === 0) return over
    await this.#options.dismiss(standing)
    return []
  }

  /** A checkpoint is complete: VNodes stand still behind it, those that have not been told to go on since. */
  completed(commits: readonly Commit[]): void {
    for (const { vnode, heldAsOf = -1 } of commits) if (heldAsOf >= this.#interruptedAsOf) this.#held.add(vnode)
  }

  /** A VNode has another owner, for whatever reason. */
  moved(vnode: string, wasLost: boolean): void {
    this.#held.delete(vnode)
    this.#askedAtMs.delete(vnode)
    this.#planned.delete(vnode)
    this.#balance.moved(vnode, this.#now, wasLost)
  }

  /**
   * Something was lost, or the source has moved: the cut that VNodes stand still at, or were to, may never come about. They all go on, those too
   * that an owner before this one has asked; whoever wants to go asks again.
   */
  interrupted(): void {
    const { run, echo } = this.#options
    this.#interruptedAsOf = run().head.termCounter
    echo.release(Object.keys(run().head.directory).filter((vnode) => vnode !== SOURCE && followed(vnode) === undefined))
    this.#askedAtMs.clear()
    this.#planned.clear()
    this.#held.clear()
  }

  /** Everything is placed anew. */
  clear(): void {
    this.#leaving.clear()
    this.#askedAtMs.clear()
    this.#planned.clear()
    this.#held.clear()
    this.#balance.clear()
  }

  get #now(): number {
    return this.#options.context.clock.now()
  }

  #vnodesOn(pnode: string): string[] {
    return vnodesOn(this.#options.run().head.directory, pnode)
  }

  async #holdAtNextCut(vnodes: readonly string[]): Promise<void> {
    const { echo } = this.#options
    const now = this.#now
    if (vnodes.every((vnode) => this.#held.has(vnode) || now - (this.#askedAtMs.get(vnode) ?? -Infinity) < ASK_AGAIN_MS)) return
    for (const vnode of vnodes) this.#askedAtMs.set(vnode, now)
    await echo.hold(vnodes)
    echo.toSource('cut')
  }

  /** Everything that stands still, and a source whose PNode wants to go, gets another owner. Where that fails, whoever asks next tries again. */
  async give(): Promise<void> {
    const { run, echo, move } = this.#options
    const { directory } = run().head
    const isSourceGoing = this.#isLeaving(directory[SOURCE]?.pnode) || this.#planned.has(SOURCE)
    const held = [...this.#held].filter((vnode) => !this.#waitsForOthers(vnode))
    const vnodes = isSourceGoing ? [SOURCE, ...held] : held
    if (vnodes.length === 0) return
    const decisions = await this.#place(vnodes)
    if (decisions.length === 0) return
    const moving = decisions.map(({ vnode }) => ({ vnode, ...directory[vnode] }))
    const from = [...new Set(moving.map(({ pnode }) => pnode))]
    await move(decisions, `handed over by ${from.join(', ')}`)
    echo.stop(moving)
    if (isSourceGoing) this.interrupted()
  }

  /** Others of its group go as well, and stand still at a later checkpoint. */
  #waitsForOthers(vnode: string): boolean {
    const { constraints, head } = this.#options.run()
    const group = constraints?.together?.find((ids) => ids.includes(vnode)) ?? []
    const { pnode } = head.directory[vnode]
    const isGoing = (id: string) => this.#askedAtMs.has(id) || this.#planned.has(id)
    return group.some((id) => head.directory[id]?.pnode === pnode && !this.#held.has(id) && isGoing(id))
  }

  /** Where they go; where nobody can take them, what may go on where it is does, from just behind the checkpoint. */
  async #place(vnodes: readonly string[]): Promise<readonly Decision[]> {
    const { context, run, monitor, followers } = this.#options
    const leaving = [...this.#leaving.keys()].filter((pnode) => this.#isLeaving(pnode))
    const at = new Map([...this.#planned].flatMap(([vnode, pnode]) => (pnode === undefined ? [] : [[vnode, pnode] as const])))
    try {
      return await placeVNodes(context, run(), vnodes, leaving, false, at)
    } catch (error) {
      if (!isSwarmError(error, 'placement.no-pnode')) throw error
      // Better there than nowhere.
      const heirs = followers.promotions(vnodes)
      if (heirs.length > 0) return heirs
      monitor.waits(vnodes, error.message)
      const { directory } = run().head
      const mustGo = (vnode: string) => this.#isLeaving(directory[vnode].pnode, 'at once') || (this.#planned.has(vnode) && !at.has(vnode))
      const staying = vnodes.filter((vnode) => vnode !== SOURCE && !mustGo(vnode))
      return staying.map((vnode) => ({ vnode, ...directory[vnode], candidates: [] }))
    }
  }

  async #hasPlaceFor(vnodes: readonly string[]): Promise<boolean> {
    const { context, run, monitor } = this.#options
    try {
      await placeVNodes(context, run(), vnodes, [...new Set(vnodes.map((vnode) => run().head.directory[vnode].pnode))], false)
      return true
    } catch (error) {
      if (!isSwarmError(error, 'placement.no-pnode')) throw error
      monitor.waits(vnodes, error.message)
      return false
    }
  }

  #isLeaving(pnode: string | undefined, when?: 'at once'): boolean {
    const leaving = this.#leaving.get(pnode ?? '')
    if (!leaving || this.#now - leaving.atMs > FORGET_MS) return false
    return when === undefined || !leaving.isPatient
  }
}
