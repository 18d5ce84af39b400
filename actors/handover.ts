/** Planned moves: VNodes stand still at a checkpoint and go on just behind it elsewhere, so that no step is done twice (PROTOCOL.md rule 11). */
import { SOURCE } from '../components/definition.js'
import type { ActorContext } from '../runtime/actor-system/actor-system.js'
import type { Decision } from './calls.js'
import type { HeadEcho } from './head-echo.js'
import type { Commit } from './reports.js'
import { dueToNewcomer, type PlacingRun, placeVNodes } from './run-placing.js'

export interface HandoverOptions {
  readonly context: ActorContext
  readonly echo: HeadEcho
  readonly run: () => PlacingRun
  /** One durable write, then the grants. */
  readonly move: (decisions: readonly Decision[], reason: string) => Promise<void>
}

/** VNodes do not move again for balance within this time, in ms. */
const BALANCE_HOLD_MS = 30_000

export class Handover {
  readonly #options: HandoverOptions
  /** PNodes that want to go. */
  readonly #leaving = new Set<string>()
  /** VNodes that stand still after the newest checkpoint. */
  readonly #held = new Set<string>()
  #balancedAtMs = -Infinity

  constructor(options: HandoverOptions) {
    this.#options = options
  }

  /** A PNode wants to go: what it has moves at the next checkpoint. It asks again until nothing is left. */
  async drain(pnode: string): Promise<void> {
    const { directory } = this.#options.run().head
    const leaving = Object.keys(directory).filter((vnode) => directory[vnode].pnode === pnode)
    if (leaving.length === 0) return
    this.#leaving.add(pnode)
    // What is held already found no place before. The source has no state: it is held at once.
    if (leaving.every((vnode) => vnode === SOURCE || this.#held.has(vnode))) return this.#give()
    await this.#holdAtNextCut(leaving)
  }

  /** Another PNode is there: what would make the longest stage shorter moves there at the next checkpoint. */
  async joined(pnode: string): Promise<void> {
    const { context, run } = this.#options
    const now = context.clock.now()
    if (this.#held.size > 0 || now - this.#balancedAtMs < BALANCE_HOLD_MS) return
    const due = await dueToNewcomer(context, run(), pnode)
    if (due.length === 0) return
    this.#balancedAtMs = now
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
  }

  /** Everything is placed anew. */
  clear(): void {
    this.#leaving.clear()
    this.#held.clear()
  }

  async #holdAtNextCut(vnodes: readonly string[]): Promise<void> {
    const { echo } = this.#options
    await echo.hold(vnodes)
    echo.toSource('cut')
  }

  async #give(): Promise<void> {
    const { context, run, echo, move } = this.#options
    const { directory } = run().head
    const isSourceLeaving = this.#leaving.has(directory[SOURCE]?.pnode)
    const vnodes = isSourceLeaving ? [SOURCE, ...this.#held] : [...this.#held]
    if (vnodes.length === 0) return
    const from = [...new Set(vnodes.map((vnode) => directory[vnode].pnode))]
    const decisions = await placeVNodes(context, run(), vnodes, from, false)
    await move(decisions, `handed over by ${from.join(', ')}`)
    echo.stop(vnodes.map((vnode) => ({ vnode, ...directory[vnode] })))
  }
}
