/**
 * Failures that nobody is believed of alone: what was put out before them has to be agreed upon first, and that it was read. Bounded in time: who has invented a place where
 * nobody is, or says nothing of what others have come to, has to leave what it has.
 */
import { canonicalJson } from '../../runtime/canonical-json.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { NetworkDefinition } from '../../components/definition.js'
import { vnodeOf } from '../../runtime/followers.js'
import type { Head } from '../../runtime/head.js'
import { actor, call } from '../calls.js'
import type { Failure } from '../reports.js'
import { rootsAnswer } from '../who-may.js'
import type { Misfed } from './feeding.js'
import { type Finding, type Opinion, Review } from './review.js'
import { areRootsOf } from '../run/odd-reports.js'
import { lineageOf } from '../run/run-definition.js'

export interface DoubtsOptions {
  readonly context: ActorContext
  readonly network: NetworkDefinition
  readonly head: () => Head
  /** Of those who were trusted when they said something. */
  readonly isStillTrusted: (pnode: string) => boolean
  /** How long it is waited for what others say, in ms; twice as long each time; Infinity: for ever. */
  readonly patienceMs: number
}

/** What somebody says of a step at which it failed; or what several say of an evaluation, and not the same. */
export interface Doubt {
  readonly key: string
  readonly failure?: Failure
  readonly step: number
  readonly position: number
  /** Nobody can have failed there. */
  readonly isOdd: boolean
  /** On what the VNode has read from, up to that position, and what it has read. */
  readonly review: Review
  /** The VNodes that it is about, in graph order. */
  readonly ancestors: readonly string[]
  readonly sinceMs: number
}

export type Judgement =
  | (Finding & { readonly type: 'dispute' })
  | Misfed
  /** What others have to say is not there yet. */
  | { readonly type: 'open' }
  /** It is not asked about any more. */
  | { readonly type: 'over' }
  /** The owner of this VNode says nothing of what others have come to. */
  | { readonly type: 'silent'; readonly vnode: string }
  /** @param isConfirmed two PNodes say so, of the same inputs */
  | { readonly type: 'believed'; readonly isConfirmed: boolean }

/** What is waited for in vain is waited for longer each time, so often. */
const MOST_DOUBLINGS = 6

export class Doubts {
  readonly #options: DoubtsOptions
  readonly #open = new Map<string, Doubt>()
  /** The newest failure of each VNode, and where it was met. */
  readonly #met = new Map<string, { readonly what: string; readonly pnodes: ReadonlySet<string> }>()
  /** How often it was waited in vain. */
  #times = 0

  constructor(options: DoubtsOptions) {
    this.#options = options
  }

  /** Those that nothing has followed from yet. */
  get open(): readonly Doubt[] {
    return [...this.#open.values()]
  }

  /** A VNode or a follower has stopped at a step. Of a follower it is no more than what confirms what its VNode says. */
  heard(failure: Failure, isOdd: boolean): void {
    const { context, network, head, isStillTrusted } = this.#options
    const { entry, error, read } = failure
    const vnode = vnodeOf(failure.vnode)
    const { pnode, isTrusted } = head().directory[failure.vnode]
    // It is a matter of the checkpoint, which is another one when the run has gone back.
    const start = error.code === 'checkpoint.damaged' ? `the start of ${failure.generation}` : 'the start'
    const what = `${error.code} at ${entry?.position ?? start} ${canonicalJson(read ?? {})}`
    const before = this.#met.get(vnode)
    if (!isOdd) this.#met.set(vnode, { what, pnodes: new Set([...(before?.what === what ? before.pnodes : []), pnode]) })
    if (failure.vnode !== vnode) return
    const lineage = lineageOf(network, vnode)
    const vnodes = network.vnodes.filter(({ id }) => lineage.includes(id) && (id !== vnode || read !== undefined))
    const review = new Review({ vnodes }, 2, { alone: vnode, isStillTrusted })
    const { step = 0, position = 0 } = entry ?? {}
    const roots = { output: '', inputs: read ?? {} }
    if (read) review.add(step, { vnode, id: vnode, pnode, position, hash: '', roots, ...(isTrusted && { isTrusted }) })
    const ancestors = vnodes.flatMap(({ id }) => (id === vnode ? [] : [id]))
    this.#open.set(vnode, { key: vnode, failure, step, position, isOdd, review, ancestors, sinceMs: context.clock.now() })
  }

  /** They say different things of what a VNode's head has answered: who has read what its producers have put out? */
  differ({ step, vnode, words }: { readonly step: number; readonly vnode: string; readonly words: readonly Opinion[] }): void {
    const { context, network } = this.#options
    const key = `${vnode} ${step}`
    const lineage = lineageOf(network, vnode)
    const vnodes = network.vnodes.filter(({ id }) => lineage.includes(id))
    const ancestors = vnodes.flatMap(({ id }) => (id === vnode ? [] : [id]))
    const [{ position }] = words
    const made: Doubt = {
      key,
      step,
      position,
      isOdd: false,
      review: new Review({ vnodes }, 2),
      ancestors,
      sinceMs: context.clock.now(),
    }
    const doubt = this.#open.get(key) ?? made
    for (const word of words) doubt.review.add(step, word)
    this.#open.set(key, doubt)
  }

  /** A VNode gets another owner. */
  moved(vnode: string): void {
    this.#open.delete(vnode)
    for (const { review } of this.#open.values()) review.forget(vnode)
  }

  /** A follower begins anew. */
  discard(opinion: Opinion): void {
    for (const { review } of this.#open.values()) review.discard(opinion)
  }

  clear(): void {
    this.#open.clear()
  }

  async consider(doubt: Doubt): Promise<Judgement> {
    const { key, position, step, isOdd, review, ancestors } = doubt
    if (!isOdd && position > 0) {
      for (const opinion of await this.#opinionsAt(position, ancestors)) review.add(step, opinion)
      if (this.#open.get(key) !== doubt) return { type: 'over' }
      const finding = review.finding(step)
      if (finding.type === 'open') return this.#waited(doubt)
      if (finding.type !== 'agreed') return finding
    }
    this.#open.delete(key)
    return { type: 'believed', isConfirmed: !isOdd && this.isMetByTwo(key) }
  }

  #waited(doubt: Doubt): Judgement {
    const { context, patienceMs, head } = this.#options
    const { key, step, review, ancestors, sinceMs, failure } = doubt
    const now = context.clock.now()
    if (now - sinceMs < patienceMs * (1 << Math.min(this.#times, MOST_DOUBLINGS))) return { type: 'open' }
    this.#times++
    const { directory } = head()
    const areSilent = ancestors.filter((id) => !review.has(step, { id, pnode: directory[id].pnode }))
    // Where nobody has come to, it has not failed either.
    const [silent] = areSilent.length < ancestors.length ? areSilent : []
    if (silent === undefined || (failure && !this.isMetByTwo(key))) {
      this.#open.delete(key)
      return { type: 'believed', isConfirmed: false }
    }
    this.#open.set(key, { ...doubt, sinceMs: now })
    return { type: 'silent', vnode: silent }
  }

  /** Whether two PNodes have failed at the same place of its log. */
  isMetByTwo(vnode: string): boolean {
    return (this.#met.get(vnode)?.pnodes.size ?? 0) > 1
  }

  /** What VNodes and their followers have read and put out up to a position, of those who are there. */
  async #opinionsAt(position: number, vnodes: readonly string[]): Promise<Opinion[]> {
    const { context, head, network } = this.#options
    const { run, directory } = head()
    const asked = Object.entries(directory).filter(([id]) => vnodes.includes(vnodeOf(id)))
    const pnodes = [...new Set(asked.map(([, { pnode }]) => pnode))]
    const answers = pnodes.map(async (pnode): Promise<Opinion[]> => {
      const here = asked.filter(([, place]) => place.pnode === pnode)
      const request = { run, position, vnodes: here.map(([id, { term }]) => [id, term] as const) }
      // Whoever does not answer, or not what was asked, has said nothing.
      const answer = await call<'PNode', 'roots'>(context, actor.pnode(pnode), 'roots', request, context.signal).catch(() => [])
      const { data: roots = [] } = rootsAnswer.safeParse(answer)
      return here.flatMap(([id, { isTrusted }], i) =>
        roots[i] && areRootsOf(network, id, roots[i])
          ? [{ vnode: vnodeOf(id), id, pnode, position, hash: '', roots: roots[i], ...(isTrusted && { isTrusted }) }]
          : [],
      )
    })
    return (await Promise.all(answers)).flat()
  }
}
