/** Planned moves: VNodes stand still at a checkpoint and go on just behind it elsewhere, so that no step is done twice (PROTOCOL.md rule 11). */
import { SOURCE } from '../components/definition.js'
import type { ActorContext } from '../runtime/actor-system/actor-system.js'
import { isSwarmError } from '../runtime/errors.js'
import type { Decision, Leaving } from './calls.js'
import type { HeadEcho } from './head-echo.js'
import type { Commit } from './reports.js'
import { dueToNewcomer, type PlacingRun, placeVNodes } from './run-placing.js'

export interface HandoverOptions {
  readonly context: ActorContext
  readonly echo: HeadEcho
  readonly run: () => PlacingRun
  /** One durable write, then the grants. */
  readonly move: (decisions: readonly Decision[], reason: string) => Promise<void>
  /** Told when VNodes have nowhere to go. */
  readonly waits: (vnodes: readonly string[], reason: string) => void
}

/** VNodes do not move again for balance within this time, in ms. */
const BALANCE_HOLD_MS = 30_000
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
  #balancedAtMs = -Infinity

  constructor(options: HandoverOptions) {
    this.#options = options
  }

  /** A PNode wants to go: what it has moves at the next checkpoint. This is said again until nothing is left. @returns what is still there */
  async drain({ pnode, isPatient = false }: Leaving): Promise<string[]> {
    const here = this.#vnodesOn(pnode)
    if (here.length === 0) return []
    this.#leaving.set(pnode, { isPatient, atMs: this.#now })
    // What is held already found no place before. The source has no state: it is held at once.
    if (here.every((vnode) => vnode === SOURCE || this.#held.has(vnode))) await this.#give()
    else if (!isPatient || (await this.#hasPlaceFor(here))) await this.#holdAtNextCut(here)
    return this.#vnodesOn(pnode)
  }

  /** Another PNode is there, or may have VNodes again: what has waited goes on, and what makes the longest stage shorter moves there. */
  async joined(pnode: string): Promise<void> {
    const { context, run } = this.#options
    this.#leaving.delete(pnode)
    if (this.#held.size > 0) return this.#give()
    if (this.#now - this.#balancedAtMs < BALANCE_HOLD_MS) return
    const due = await dueToNewcomer(context, run(), pnode)
    if (due.length === 0) return
    this.#balancedAtMs = this.#now
    await this.#holdAtNextCut(due)
  }

  /** A checkpoint is complete. */
  async completed(commits: readonly Commit[]): Promise<void> {
    for (const { vnode, isHeld } of commits) if (isHeld) this.#held.add(vnode)
    await this.#give()
  }

  /** A VNode has another owner, for whatever reason. */
  moved(vnode: string): void {
    this.#held.delete(vnode)
    this.#askedAtMs.delete(vnode)
  }

  /** Everything is placed anew. */
  clear(): void {
    this.#leaving.clear()
    this.#askedAtMs.clear()
    this.#held.clear()
  }

  get #now(): number {
    return this.#options.context.clock.now()
  }

  #vnodesOn(pnode: string): string[] {
    const { directory } = this.#options.run().head
    return Object.keys(directory).filter((vnode) => directory[vnode].pnode === pnode)
  }

  async #holdAtNextCut(vnodes: readonly string[]): Promise<void> {
    const { echo } = this.#options
    const now = this.#now
    if (vnodes.every((vnode) => this.#held.has(vnode) || now - (this.#askedAtMs.get(vnode) ?? -Infinity) < ASK_AGAIN_MS)) return
    for (const vnode of vnodes) this.#askedAtMs.set(vnode, now)
    await echo.hold(vnodes)
    echo.toSource('cut')
  }

  /** Everything that stands still, and a source whose PNode wants to go, gets another owner. */
  async #give(): Promise<void> {
    const { run, echo, move } = this.#options
    const { directory } = run().head
    const vnodes = this.#isLeaving(directory[SOURCE]?.pnode) ? [SOURCE, ...this.#held] : [...this.#held]
    if (vnodes.length === 0) return
    const decisions = await this.#place(vnodes)
    if (decisions.length === 0) return
    const moving = decisions.map(({ vnode }) => ({ vnode, ...directory[vnode] }))
    const from = [...new Set(moving.map(({ pnode }) => pnode))]
    await move(decisions, `handed over by ${from.join(', ')}`)
    echo.stop(moving)
  }

  /** Where they go; where nobody can take them, what may go on where it is does, from just behind the checkpoint. */
  async #place(vnodes: readonly string[]): Promise<readonly Decision[]> {
    const { context, run, waits } = this.#options
    const leaving = [...this.#leaving.keys()].filter((pnode) => this.#isLeaving(pnode))
    try {
      return await placeVNodes(context, run(), vnodes, leaving, false)
    } catch (error) {
      if (!isSwarmError(error, 'placement.no-pnode')) throw error
      waits(vnodes, error.message)
      const { directory } = run().head
      const staying = vnodes.filter((vnode) => vnode !== SOURCE && !this.#isLeaving(directory[vnode].pnode, 'at once'))
      return staying.map((vnode) => ({ vnode, pnode: directory[vnode].pnode, candidates: [] }))
    }
  }

  async #hasPlaceFor(vnodes: readonly string[]): Promise<boolean> {
    const { context, run, waits } = this.#options
    try {
      await placeVNodes(context, run(), vnodes, [...new Set(vnodes.map((vnode) => run().head.directory[vnode].pnode))], false)
      return true
    } catch (error) {
      if (!isSwarmError(error, 'placement.no-pnode')) throw error
      waits(vnodes, error.message)
      return false
    }
  }

  #isLeaving(pnode: string | undefined, when?: 'at once'): boolean {
    const leaving = this.#leaving.get(pnode ?? '')
    if (!leaving || this.#now - leaving.atMs > FORGET_MS) return false
    return when === undefined || !leaving.isPatient
  }
}
