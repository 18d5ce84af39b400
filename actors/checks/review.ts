/** Whether those who have applied the same log agree on what it gives (PROTOCOL.md rules 17 and 24); pure. */
import { type NetworkDefinition, SOURCE } from '../../components/definition.js'
import { canonicalJson } from '../../runtime/canonical-json.js'
import type { Roots } from '../../runtime/log-root.js'

/** What one PNode says of a VNode after a cut. */
export interface Opinion {
  readonly vnode: string
  /** The VNode itself, or the follower, under which it says so. */
  readonly id: string
  readonly pnode: string
  readonly position: number
  /** Of the state. */
  readonly hash: string
  readonly roots: Roots
  /** Whoever runs the cluster answers for the PNode: it needs nobody to agree. */
  readonly isTrusted?: true
}

export type Finding =
  /** So many as there are to be agree on every VNode. */
  | { readonly type: 'agreed' }
  /** Somebody has not said anything yet. */
  | { readonly type: 'open' }
  /** They have read the same and made something else of it. */
  | { readonly type: 'dispute'; readonly vnode: string; readonly opinions: readonly Opinion[] }
  /** It has read something else than its producer has put out: whatever it makes of that says nothing about it. */
  | {
      readonly type: 'misfed'
      readonly opinion: Opinion
      readonly producer: string
      /** Where the source is the producer: who says that he has read something else from it. */
      readonly otherwise: readonly Opinion[]
    }

/** What is to be the same. */
export const valueOf = ({ position, hash, roots: { output, given = '', due = '' } }: Opinion): string =>
  `${position} ${hash} ${output} ${given} ${due}`

/** What they have to have read, all of it, for that. */
export const readOf = ({ inputs, feedback }: Roots): string => canonicalJson(feedback ? { inputs, feedback } : inputs)

export interface ReviewOptions {
  /** A VNode of which only what its owner has read is looked at. */
  readonly alone?: string
  /** Of those who were trusted when they said something. Default: they are. */
  readonly isStillTrusted?: (pnode: string) => boolean
}

export class Review {
  readonly #network: Pick<NetworkDefinition, 'vnodes'>
  readonly #redundancy: number
  readonly #alone: string | undefined
  readonly #isStillTrusted: (pnode: string) => boolean
  /** By step, then by who says so. */
  readonly #opinions = new Map<number, Map<string, Opinion>>()

  /** @param redundancy PNodes that have to agree on each VNode */
  constructor(network: Pick<NetworkDefinition, 'vnodes'>, redundancy: number, { alone, isStillTrusted = () => true }: ReviewOptions = {}) {
    this.#network = network
    this.#redundancy = redundancy
    this.#alone = alone
    this.#isStillTrusted = isStillTrusted
  }

  /** Steps that somebody has said something about, the oldest first. */
  get steps(): number[] {
    return [...this.#opinions.keys()].toSorted((a, b) => a - b)
  }

  /** The first word counts: nobody takes it back. */
  add(step: number, opinion: Opinion): void {
    const opinions = this.#opinions.get(step) ?? new Map<string, Opinion>()
    this.#opinions.set(step, opinions)
    const key = `${opinion.id} ${opinion.pnode}`
    if (!opinions.has(key)) opinions.set(key, opinion)
  }

  /** All that was said after a step. */
  said(step: number): readonly Opinion[] {
    return [...(this.#opinions.get(step)?.values() ?? [])]
  }

  /** Whether it has said something, where it is now. */
  has(step: number, { id, pnode }: Pick<Opinion, 'id' | 'pnode'>): boolean {
    return this.#opinions.get(step)?.has(`${id} ${pnode}`) === true
  }

  /** In graph order: what is before a VNode is settled before anything is said about it. */
  finding(step: number): Finding {
    const right = new Map<string, string | undefined>([[SOURCE, this.#sourceRoot(step)]])
    const misfed: (Finding & { readonly type: 'misfed' })[] = []
    for (const { id: vnode, inputs, feedback } of this.#network.vnodes) {
      const fed: Opinion[] = []
      for (const opinion of this.#of(step, vnode)) {
        const feeder = inputs.find((input) => right.get(input) === undefined || opinion.roots.inputs[input] !== right.get(input))
        const giver = feeder === undefined ? feedback?.from.find((each) => this.#isMisled(step, opinion, each)) : undefined
        const contests = giver === undefined ? [] : this.#contestsOf(step, giver)
        if (contests.length > 0) return { type: 'dispute', vnode: giver!, opinions: contests }
        const producer = feeder ?? giver
        if (producer === undefined) fed.push(opinion)
        else misfed.push({ type: 'misfed', opinion, producer, otherwise: producer === SOURCE ? this.#otherwise(step, opinion) : [] })
      }
      if (new Set(fed.map(valueOf)).size > 1) {
        // Who gives them feedback has not said yet what it was.
        const gotBy = ({ roots }: Opinion) => canonicalJson((feedback?.from ?? []).map((giver) => roots.feedback?.[giver] ?? ''))
        const areFedAlike = new Set(fed.map(gotBy)).size === 1
        return areFedAlike ? { type: 'dispute', vnode, opinions: fed } : (misfed[0] ?? { type: 'open' })
      }
      const own = misfed.find(({ opinion }) => opinion.id === vnode)
      // Of as many who say one thing and who say another, a follower begins anew: that costs least, and is one word more.
      const isTie = own?.producer === SOURCE && right.get(SOURCE) === undefined
      if (own) return (isTie && misfed.find(({ opinion }) => opinion.id !== opinion.vnode)) || own
      const trusts = vnode === this.#alone || fed.some(({ isTrusted, pnode }) => isTrusted && this.#isStillTrusted(pnode))
      const isEnough = trusts || new Set(fed.map(({ pnode }) => pnode)).size >= this.#redundancy
      const isComplete = fed.some(({ id }) => id === vnode) && isEnough
      if (!isComplete) return misfed[0] ?? { type: 'open' }
      right.set(vnode, fed[0].roots.output)
    }
    return misfed[0] ?? { type: 'agreed' }
  }

  /** Whether it has got other feedback than its giver says it has given, which does not depend on what is right. */
  #isMisled(step: number, { roots: { feedback } }: Opinion, giver: string): boolean {
    const own = this.#ownOf(step, giver)
    return own !== undefined && feedback?.[giver] !== own.roots.due
  }

  /** Those who say something else of a giver, and have read the same as it: then it is not clear what it has given. */
  #contestsOf(step: number, giver: string): Opinion[] {
    const own = this.#ownOf(step, giver)
    const inputs = this.#network.vnodes.find(({ id }) => id === giver)?.inputs ?? []
    const outputOf = (input: string) => (input === SOURCE ? this.#sourceRoot(step) : this.#ownOf(step, input)?.roots.output)
    if (!own || inputs.some((input) => outputOf(input) !== own.roots.inputs[input])) return []
    const alike = this.#of(step, giver).filter(({ roots }) => readOf(roots) === readOf(own.roots))
    return new Set(alike.map(valueOf)).size > 1 ? alike : []
  }

  #ownOf(step: number, vnode: string): Opinion | undefined {
    return this.#of(step, vnode).find(({ id }) => id === vnode)
  }

  /** What was said about a VNode; about those who read from the source, if it is the source. */
  about(step: number, vnode: string): Opinion[] {
    return vnode === SOURCE ? this.#readersOf(step) : this.#of(step, vnode)
  }

  /** A VNode has another owner, which says for itself what it has. */
  forget(vnode: string): void {
    for (const opinions of this.#opinions.values()) for (const [key, { id }] of opinions) if (id === vnode) opinions.delete(key)
  }

  /** A follower has read something that its producer has not put out: it begins anew. */
  discard({ id, pnode }: Opinion): void {
    for (const opinions of this.#opinions.values()) opinions.delete(`${id} ${pnode}`)
  }

  /** A cut is complete: those before it will never be needed. */
  close(step: number): void {
    for (const open of this.#opinions.keys()) if (open <= step) this.#opinions.delete(open)
  }

  clear(): void {
    this.#opinions.clear()
  }

  /** Of each PNode its own word as the owner, or else the first one as a follower. */
  #of(step: number, vnode: string): Opinion[] {
    const all = [...(this.#opinions.get(step)?.values() ?? [])].filter((opinion) => opinion.vnode === vnode)
    const sorted = all.toSorted((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))
    return sorted.filter(({ pnode }, i) => sorted.findIndex((other) => other.pnode === pnode) === i)
  }

  /** Who has read something else from the source than this. */
  #otherwise(step: number, { roots }: Opinion): Opinion[] {
    const own = roots.inputs[SOURCE]
    return this.#readersOf(step).filter((other) => own !== undefined && other.roots.inputs[SOURCE] !== own)
  }

  #readersOf(step: number): Opinion[] {
    return [...(this.#opinions.get(step)?.values() ?? [])].filter(({ roots }) => roots.inputs[SOURCE] !== undefined)
  }

  /**
   * What those have read who read from the source, which commits to nothing itself: what more PNodes say than say anything else, each of them once; if there are any
   * that are trusted, what more of those say. Undefined: as many say something else.
   */
  #sourceRoot(step: number): string | undefined {
    const readers = this.#readersOf(step)
    const trusted = readers.filter(({ isTrusted }) => isTrusted)
    const heard = trusted.length > 0 ? trusted : readers
    const roots = [...new Set(heard.map((opinion) => opinion.roots.inputs[SOURCE]))]
    const votes = roots.map((root) => {
      const pnodes = heard.flatMap((opinion) => (opinion.roots.inputs[SOURCE] === root ? [opinion.pnode] : []))
      return { root, count: new Set(pnodes).size }
    })
    const [first, second] = votes.toSorted((a, b) => b.count - a.count)
    return first?.count === second?.count ? undefined : first.root
  }
}
