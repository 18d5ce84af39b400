/** Whether those who have applied the same log agree on what it gives (PROTOCOL.md rules 17 and 24); pure. */
import { type NetworkDefinition, SOURCE } from '../../components/definition.js'
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
  | { readonly type: 'misfed'; readonly opinion: Opinion; readonly producer: string }

/** What is to be the same. */
export const valueOf = ({ position, hash, roots }: Opinion): string => `${position} ${hash} ${roots.output} ${roots.given ?? ''}`

export class Review {
  readonly #network: Pick<NetworkDefinition, 'vnodes'>
  readonly #redundancy: number
  readonly #isStillTrusted: (pnode: string) => boolean
  /** By step, then by who says so. */
  readonly #opinions = new Map<number, Map<string, Opinion>>()

  /** @param redundancy PNodes that have to agree on each VNode @param isStillTrusted of those who were when they said something. Default: they are */
  constructor(network: Pick<NetworkDefinition, 'vnodes'>, redundancy: number, isStillTrusted: (pnode: string) => boolean = () => true) {
    this.#network = network
    this.#redundancy = redundancy
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

  /** Whether it has said something, where it is now. */
  has(step: number, { id, pnode }: Pick<Opinion, 'id' | 'pnode'>): boolean {
    return this.#opinions.get(step)?.has(`${id} ${pnode}`) === true
  }

  /** In graph order: what is before a VNode is settled before anything is said about it. */
  finding(step: number): Finding {
    const right = new Map<string, string>([[SOURCE, this.#sourceRoot(step)]])
    const misfed: Finding[] = []
    for (const { id: vnode, inputs } of this.#network.vnodes) {
      const fed: Opinion[] = []
      for (const opinion of this.#of(step, vnode)) {
        const producer = inputs.find((input) => opinion.roots.inputs[input] !== right.get(input))
        if (producer === undefined) fed.push(opinion)
        else misfed.push({ type: 'misfed', opinion, producer })
      }
      if (new Set(fed.map(valueOf)).size > 1) return { type: 'dispute', vnode, opinions: fed }
      const own = misfed.find((finding) => finding.type === 'misfed' && finding.opinion.id === vnode)
      if (own) return own
      const isEnough =
        fed.some(({ isTrusted, pnode }) => isTrusted && this.#isStillTrusted(pnode)) ||
        new Set(fed.map(({ pnode }) => pnode)).size >= this.#redundancy
      const isComplete = fed.some(({ id }) => id === vnode) && isEnough
      if (!isComplete) return misfed[0] ?? { type: 'open' }
      right.set(vnode, fed[0].roots.output)
    }
    return misfed[0] ?? { type: 'agreed' }
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

  /** What most of those have read who read from the source: it commits to nothing itself. */
  #sourceRoot(step: number): string {
    const read = [...(this.#opinions.get(step)?.values() ?? [])].flatMap(({ roots }) => roots.inputs[SOURCE] ?? [])
    const counted = [...new Set(read)].toSorted().map((root) => [root, read.filter((other) => other === root).length] as const)
    return counted.toSorted((a, b) => b[1] - a[1])[0]?.[0] ?? ''
  }
}
