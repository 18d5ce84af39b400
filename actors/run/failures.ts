/** What follows when a VNode or a follower stops by itself. */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { type Head, rolledBack } from '../../runtime/head.js'
import type { ErrorRecord } from '../../runtime/errors.js'
import { followed } from '../../runtime/followers.js'
import type { Failure } from '../reports.js'
import { listMembers } from '../placement/parts.js'
import type { DeadLetters } from './dead-letters.js'
import type { Moves } from './moves.js'
import { type Poison, SUSPICIOUS } from './poison.js'
import { ALONE_MS } from '../checks/audits.js'
import type { Checks } from '../checks/checks.js'
import type { RunEnding } from './run-ending.js'
import { hasOther, type PlacingRun } from './run-placing.js'

export interface FailuresOptions {
  readonly context: ActorContext
  readonly run: () => PlacingRun
  readonly poison: Poison
  readonly deadLetters: DeadLetters
  readonly ending: RunEnding
  /** A VNode goes elsewhere. */
  readonly lost: (vnode: string, reason: string) => Promise<void>
  /** To the checkpoint before the one that is restored from, which is damaged; undefined: there is none at all, and the same would happen again. */
  readonly goBehind: () => ((reason: string) => Promise<void>) | undefined
  /** A step is given up, as is durable once `bury` has said why. */
  readonly goBack: (bury: () => Promise<string>, change?: (head: Head) => Head) => Promise<void>
}

/** How far somebody is believed. */
export interface Belief {
  /** More than one PNode has met it, where nobody is believed alone. */
  readonly isConfirmed: boolean
  /** It cannot be true. */
  readonly isOdd: boolean
}

/** Where segments are audited and nobody is trusted so many have to say that the run cannot go on, each of another owner; or all that there are. */
const VOICES = 5

export class Failures {
  readonly #options: FailuresOptions
  /** Who has said of each VNode that it cannot go on, and why: the newest reason. */
  readonly #said = new Map<string, { readonly why: string; readonly owners: Set<string> }>()

  /** Until then there may be others, of whom placement does not know yet: it may have been started again just now, as we were. */
  readonly #untilMs: number

  constructor(options: FailuresOptions) {
    this.#options = options
    this.#untilMs = options.context.clock.now() + ALONE_MS
  }

  get #mayHaveOthers(): boolean {
    return this.#options.context.clock.now() < this.#untilMs
  }

  /** Somebody says so under a term that is the VNode's. @param isOdd nobody can have failed there */
  async failed(
    failure: Failure,
    { checks: { reviews, audits }, moves }: { readonly checks: Checks; readonly moves: Moves },
    isOdd: boolean,
  ): Promise<void> {
    const { vnode } = failure
    const isAuditor = moves.isAuditor(vnode)
    if (reviews.isOn && !isAuditor) await reviews.failed(failure, isOdd)
    const damagedFrom = failure.error.code === 'checkpoint.damaged' ? audits.damaged(vnode) : undefined
    if (damagedFrom !== undefined)
      return this.#options.goBack(
        async () => failure.error.message,
        (head) => rolledBack(head, ({ step }) => step < damagedFrom),
      )
    if (followed(vnode) !== undefined) {
      // Its VNode may go on, and nobody can follow it from there: two of them are believed.
      const isDamaged = failure.error.code === 'checkpoint.damaged' && reviews.isMetByTwo(vnode)
      const goBehind = isDamaged ? this.#options.goBehind() : undefined
      if (goBehind) return goBehind(failure.error.message)
      // Whoever else meets it says so.
      return moves.dismiss([vnode], { hasFailed: true, areToBlame: reviews.isOn })
    }
    if (reviews.isOn) return
    if (!audits.areOn || isTriedElsewhere(failure.error)) return this.believe(failure, moves, { isConfirmed: true, isOdd: false })
    const isConfirmed = await this.#isConfirmed(failure)
    if (isConfirmed) moves.standstill.forgive()
    await this.believe(failure, moves, { isConfirmed, isOdd })
  }

  /** Nobody ends a run alone, but for one who is trusted. */
  async #isConfirmed({ vnode, error, entry }: Failure): Promise<boolean> {
    const { context, run } = this.#options
    const { head, trust } = run()
    const { pnode, isTrusted = false } = head.directory[vnode]
    if (isTrusted && (!trust || trust.isTrusted(pnode))) return true
    const members = (await listMembers(context)).filter(({ state }) => state === 'ready')
    const ownerOf = (name: string) => members.find((member) => member.pnode === name)?.owner ?? name
    const why = `${entry?.position ?? ''} ${error.code}`
    const before = this.#said.get(vnode)
    const owners = before?.why === why ? before.owners : new Set<string>()
    this.#said.set(vnode, { why, owners: owners.add(ownerOf(pnode)) })
    return owners.size >= VOICES || (!this.#mayHaveOthers && members.every((member) => owners.has(ownerOf(member.pnode))))
  }

  async believe(failure: Failure, { standstill }: Moves, { isConfirmed, isOdd }: Belief): Promise<void> {
    const { context, run, poison, deadLetters, ending, lost, goBack, goBehind: goBehindDamaged } = this.#options
    const { vnode, error } = failure
    const { pnode } = run().head.directory[vnode]
    const hasElsewhere = () => hasOther(context, run(), vnode, pnode)
    if (isOdd || (!isConfirmed && (this.#mayHaveOthers || (await hasElsewhere())))) {
      standstill.shun(pnode)
      return lost(vnode, error.message)
    }
    const goBehind = error.code === 'checkpoint.damaged' ? goBehindDamaged() : undefined
    if (goBehind) return goBehind(error.message)
    const verdict = await poison.judge(failure, pnode, hasElsewhere)
    if (verdict.type === 'fail') return ending.fail(error)
    if (verdict.type === 'move') return lost(vnode, error.message)
    // Durable first; then nobody applies that entry again, nor has applied it.
    await goBack(() => deadLetters.bury(failure, verdict.attempts))
  }
}

/** By `poison.ts`, before anything follows from it. */
function isTriedElsewhere({ code, retryable }: ErrorRecord): boolean {
  return retryable || SUSPICIOUS.has(code)
}
