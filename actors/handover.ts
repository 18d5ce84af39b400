/** Planned moves: VNodes stand still at a checkpoint and go on just behind it elsewhere, so that no step is done twice (PROTOCOL.md rule 11). */
import { isSwarmError } from '../runtime/errors.js'
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
  /** VNodes that were told to stand still after the next checkpoint. */
  readonly #asked = new Set<string>()
  /** Those of them that do. */
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
    if (leaving.every((vnode) => vnode === SOURCE || this.#held.has(vnode))) return this.give()
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

  /** A checkpoint is complete: VNodes stand still behind it. */
  completed(commits: readonly Commit[]): void {
    for (const { vnode, isHeld } of commits) if (isHeld) this.#held.add(vnode)
  }

  /** A VNode has another owner, for whatever reason. */
  moved(vnode: string): void {
    this.#asked.delete(vnode)
    this.#held.delete(vnode)
  }

  /** Something was lost: the cut that VNodes were to stand still at may never come about. Whoever wants to go asks again. */
  interrupted(): void {
    if (this.#asked.size === 0) return
    this.#options.echo.release([...this.#asked])
    this.#asked.clear()
    this.#held.clear()
  }

  /** Everything is placed anew. */
  clear(): void {
    this.#leaving.clear()
    this.#asked.clear()
    this.#held.clear()
  }

  async #holdAtNextCut(vnodes: readonly string[]): Promise<void> {
    const { echo } = this.#options
    for (const vnode of vnodes) this.#asked.add(vnode)
    await echo.hold(vnodes)
    echo.toSource('cut')
  }

  /** Places what stands still. Where that fails it is tried again by whoever asks next. @throws `placement.no-pnode`, codes of calls */
  async give(): Promise<void> {
    const { context, run, echo, move } = this.#options
    const { directory } = run().head
    const isSourceLeaving = this.#leaving.has(directory[SOURCE]?.pnode)
    const vnodes = isSourceLeaving ? [SOURCE, ...this.#held] : [...this.#held]
    if (vnodes.length === 0) return
    const from = [...new Set(vnodes.map((vnode) => directory[vnode].pnode))]
    const decisions = await placeVNodes(context, run(), vnodes, from, false).catch((error: unknown) => {
      // Nobody else may have them now: better they work on where they are than nowhere. Whoever wants to go asks again.
      if (isSwarmError(error, 'placement.no-pnode')) this.interrupted()
      throw error
    })
    await move(decisions, `handed over by ${from.join(', ')}`)
    echo.stop(vnodes.map((vnode) => ({ vnode, ...directory[vnode] })))
  }
}
