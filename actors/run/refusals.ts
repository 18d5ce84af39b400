/**
 * Who has refused whose frames as what no honest producer makes (`frame-checks.ts`). One of the two lies, and nobody else knows which: nobody is convicted of it. But a run
 * that stands still needs no more patience to see why, and whoever is in more such pairs is the likelier one, since two that are honest never make one. Pure.
 */
import { SOURCE } from '../../components/definition.js'
import type { Head } from '../../runtime/head.js'
import { CONTENT_REASONS, type ContentReason, type FrameSuspicion } from '../pnode/frame-checks.js'

/** Of these the very same is taken when it comes again: nothing stands still for them. */
const ODD: readonly string[] = ['batch', 'norm'] satisfies ContentReason[]

export interface Refusal {
  readonly producer: string
  readonly term: number
  readonly pnode: string
  readonly reason: string
  /** The VNode that reads it. */
  readonly by: string
  readonly byPnode: string
}

export class Refusals {
  /** By producer, reader and their PNodes: as many as there are edges, for each pair of PNodes. */
  readonly #refusals = new Map<string, Refusal>()

  /** @param byPnode has the VNode that says so */
  add(suspicion: Omit<FrameSuspicion, 'reason'> & { readonly reason: string }, by: string, byPnode: string): void {
    const { producer, pnode, term, reason } = suspicion
    if (ODD.includes(reason) || !(CONTENT_REASONS as readonly string[]).includes(reason)) return
    // Data may have such numbers.
    if (producer === SOURCE && reason === 'finite') return
    this.#refusals.set(`${producer} ${by} ${pnode} ${byPnode}`, { producer, term, pnode, reason, by, byPnode })
  }

  /** What is between those who have both VNodes now. */
  openIn(directory: Head['directory']): Refusal[] {
    return [...this.#refusals.values()].filter(({ producer, term, pnode, by, byPnode }) => {
      const owner = directory[producer]
      return owner?.term === term && owner.pnode === pnode && directory[by]?.pnode === byPnode
    })
  }

  /** With how many others it is in such a pair. */
  opponentsOf(pnode: string): number {
    const others = [...this.#refusals.values()].flatMap((refusal) => {
      if (refusal.pnode === pnode) return [refusal.byPnode]
      return refusal.byPnode === pnode ? [refusal.pnode] : []
    })
    return new Set(others).size
  }
}
