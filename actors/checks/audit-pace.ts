/** How long somebody who audits a segment may take for it, and how long there has been nobody. */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { Head, Manifest, OpenAudit, SegmentRef } from '../../runtime/head.js'
import { actor, call } from '../calls.js'
import type { Whereabouts } from '../reports.js'

/** How much longer than the run for a segment somebody may take for it. */
const SLOWER = 4
/** For how many times as long as anybody is waited for somebody may stand still; may take in any case; and may take as long as nobody knows how fast the run is. */
const [MOST_STILL, LEAST_WHOLE, MOST_UNKNOWN] = [2.5, 2.5, 9]

export interface AuditPaceOptions {
  readonly context: ActorContext
  readonly head: () => Head
  /** How long anybody is waited for, in ms. */
  readonly patienceMs: number
}

/** How far somebody who was asked has come, and since when. */
interface Progress {
  readonly term: number
  readonly applied: number
  readonly sinceMs: number
}

export class AuditPace {
  readonly #options: AuditPaceOptions
  /** When the newest manifest came, and how long a step of the run takes at its best, in ms. */
  #pace: { readonly atMs: number; readonly stepMs: number } | undefined
  /** By name of the follower. */
  readonly #progress = new Map<string, Progress>()
  /** Terms of those who are being asked. */
  readonly #asked = new Set<number>()
  /** Since when there has been nobody who could be asked, by who could not. */
  readonly #nobody = new Map<string, number>()

  constructor(options: AuditPaceOptions) {
    this.#options = options
  }

  clear(): void {
    this.#pace = undefined
    this.#progress.clear()
    this.forgetNobody()
  }

  /** Whether there is anybody is not known. */
  forgetNobody(): void {
    this.#nobody.clear()
  }

  /** A checkpoint is complete. @param before the one before it; undefined: the seed */
  opened({ step }: Manifest, before: Manifest | undefined, atMs: number): void {
    const stepMs = this.#pace && (atMs - this.#pace.atMs) / (step - (before?.step ?? 0))
    this.#pace = { atMs, stepMs: Math.min(stepMs ?? 0, this.#pace?.stepMs || Infinity) }
  }

  /**
   * Who has not come on for as long is not waited for, nor who takes too long for all of it. In ms.
   *
   * Whoever does in addition what others do needs more time than they.
   */
  patienceMs({ from, to }: SegmentRef): { readonly stillMs: number; readonly wholeMs: number } {
    const { patienceMs } = this.#options
    const usualMs = SLOWER * (this.#pace?.stepMs ?? 0) * (to - from)
    const wholeMs = usualMs > 0 ? Math.max(LEAST_WHOLE * patienceMs, usualMs) : MOST_UNKNOWN * patienceMs
    return { stillMs: Math.min(Math.max(patienceMs / 2, usualMs), MOST_STILL * patienceMs), wholeMs }
  }

  /** Whether nobody waits any more for whoever was asked. @param id of the follower @param askedMs when it was asked */
  isLate(id: string, audit: OpenAudit, askedMs: number): boolean {
    const { context, head } = this.#options
    const now = context.clock.now()
    const { stillMs, wholeMs } = this.patienceMs(audit)
    const { term } = head().directory[id]
    const known = this.#progress.get(id)
    const movedMs = known?.term === term ? known.sinceMs : askedMs
    if (now - movedMs > stillMs / 2) this.#ask(id, term)
    return now - movedMs > stillMs || now - askedMs > wholeMs
  }

  /** In the background: the turns of a run are short. */
  #ask(vnode: string, term: number): void {
    if (this.#asked.has(term)) return
    this.#asked.add(term)
    void this.#hasComeTo(vnode)
      .then(({ applied, isHeldUp }) => {
        const known = this.#progress.get(vnode)
        const before = known?.term === term ? known.applied : 0
        if (applied > before || isHeldUp) this.#progress.set(vnode, { term, applied, sinceMs: this.#options.context.clock.now() })
      })
      // Who says nothing has not come on.
      .catch(() => undefined)
      .finally(() => this.#asked.delete(term))
  }

  /** @returns whether it waits for a VNode that has not come any further itself, since it was restored meanwhile */
  async #hasComeTo(vnode: string): Promise<{ applied: number; isHeldUp: boolean }> {
    const { directory } = this.#options.head()
    const said = await this.#whereIs(vnode)
    if (!said) return { applied: 0, isHeldUp: false }
    const { applied, wants } = said
    const awaited: { readonly [producer: string]: number } = {
      ...Object.fromEntries((wants.inputs ?? []).map((producer) => [producer, applied + 1])),
      ...wants.feedback,
    }
    const producers = Object.keys(directory).filter((id) => id in awaited)
    const theirs = await Promise.all(producers.map((producer) => this.#whereIs(producer)))
    return { applied, isHeldUp: theirs.some((their, i) => their && their.applied < awaited[producers[i]]) }
  }

  async #whereIs(vnode: string): Promise<Whereabouts | null> {
    const { context, head } = this.#options
    const { run, directory } = head()
    const { pnode, term } = directory[vnode]
    const argument = { run, vnodes: [[vnode, term] as const] }
    const [said] = await call<'PNode', 'whereabouts'>(context, actor.pnode(pnode), 'whereabouts', argument, context.signal)
    return said
  }

  /**
   * Since when there has been nobody in the whole cluster who could be asked, not even somebody who is lost: nobody is waited for anew for each segment.
   * @param of what is asked, and who cannot be
   */
  nobodySinceMs(of: readonly (string | boolean)[], isAnybody: boolean, now: number): number | undefined {
    const key = JSON.stringify(of)
    if (isAnybody) this.#nobody.delete(key)
    else if (!this.#nobody.has(key)) this.#nobody.set(key, now)
    return this.#nobody.get(key)
  }
}
