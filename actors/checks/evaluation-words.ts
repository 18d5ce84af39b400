/** What PNodes say that heads have answered over an evaluation: it counts when so many agree as on a checkpoint; pure. */
import type { NetworkDefinition } from '../../components/definition.js'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { type Opinion, Review } from './review.js'

export class EvaluationWords {
  readonly #heads: Review
  /** By step, as they were said. */
  readonly #words = new Map<number, Opinion[]>()

  constructor({ vnodes }: Pick<NetworkDefinition, 'vnodes'>, redundancy: number) {
    // What they have read is compared as a part of what they say.
    this.#heads = new Review(
      { vnodes: vnodes.filter(({ hasHead }) => hasHead).map((vnode) => ({ ...vnode, inputs: [], feedback: undefined })) },
      redundancy,
    )
  }

  add(step: number, opinion: Opinion): void {
    if (this.has(step, opinion)) return
    this.#words.set(step, [...(this.#words.get(step) ?? []), opinion])
    const { hash, roots } = opinion
    // Feedback is none of an evaluation: what was lied about there shows at the next cut.
    this.#heads.add(step, { ...opinion, hash: `${hash} ${canonicalJson(roots.inputs)}`, roots: { output: roots.output, inputs: {} } })
  }

  has(step: number, who: Pick<Opinion, 'id' | 'pnode'>): boolean {
    return this.#heads.has(step, who)
  }

  /** 0: there is none. */
  get newestStep(): number {
    return this.#heads.steps.at(-1) ?? 0
  }

  agreesOn(step: number): boolean {
    return this.#heads.finding(step).type === 'agreed'
  }

  /** Where they say different things: all that was said about the first VNode of which they do. */
  get differences(): { readonly step: number; readonly vnode: string; readonly words: readonly Opinion[] }[] {
    return this.#heads.steps.flatMap((step) => {
      const finding = this.#heads.finding(step)
      if (finding.type !== 'dispute') return []
      const { vnode } = finding
      return [{ step, vnode, words: this.#words.get(step)!.filter((word) => word.vnode === vnode) }]
    })
  }

  /** A VNode has another owner. */
  forget(vnode: string): void {
    this.#heads.forget(vnode)
    for (const [step, words] of this.#words)
      this.#words.set(
        step,
        words.filter(({ id }) => id !== vnode),
      )
  }

  /** A follower begins anew. */
  discard(opinion: Opinion): void {
    this.#heads.discard(opinion)
    const { id, pnode } = opinion
    for (const [step, words] of this.#words)
      this.#words.set(
        step,
        words.filter((word) => word.id !== id || word.pnode !== pnode),
      )
  }

  /** What is before this step is done. */
  close(before: number): void {
    this.#heads.close(before - 1)
    for (const step of this.#words.keys()) if (step < before) this.#words.delete(step)
  }

  clear(): void {
    this.close(Infinity)
  }
}
