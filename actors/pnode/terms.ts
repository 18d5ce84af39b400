/** Which terms VNodes have had in this process: what ended here cannot go on under the same term. */
import { SwarmError } from '../../runtime/errors.js'
import type { Grant } from '../../runtime/grant.js'

/** VNodes that are remembered; of an older one a late grant would start anew, and be fenced by its neighbours. */
const MAX_REMEMBERED = 65_536

export class Terms {
  /** The newest of each VNode, by `<run>/<vnode>`: terms only grow, over all generations. */
  readonly #newest = new Map<string, number>()

  /**
   * Admits a grant to this process.
   * @param id of the actor that it came to
   * @param isHere the VNode has a driver here now
   * @throws `grant.refused`: it is for somebody else; `host.restarted`: it is for a process before this one, or what had its term is gone, with its worker or by order
   */
  admit(id: string, grant: Grant, here: { readonly pnode: string; readonly incarnation?: string }, isHere: boolean): void {
    const { pnode, vnode, term, incarnation: meant } = grant
    if (pnode !== here.pnode || `${grant.run}/${vnode}` !== id) {
      const [expected, got] = [`${id} on ${here.pnode}`, `${grant.run}/${vnode} on ${pnode}`]
      throw new SwarmError('grant.refused', { what: 'grant for somebody else', expected, got })
    }
    if (meant !== undefined && meant !== here.incarnation)
      throw new SwarmError('host.restarted', { what: `${pnode} was started again since ${vnode} was placed there` })
    const newest = this.#newest.get(id) ?? 0
    if (term < newest || (term === newest && !isHere))
      throw new SwarmError('host.restarted', { what: `term ${term} of ${vnode} is over on ${pnode}` })
    this.over(id, term)
  }

  /** Nothing up to this term begins here any more. */
  over(id: string, term: number): void {
    const newest = Math.max(term, this.#newest.get(id) ?? 0)
    this.#newest.delete(id)
    this.#newest.set(id, newest)
    for (const oldest of this.#newest.keys()) {
      if (this.#newest.size <= MAX_REMEMBERED) break
      this.#newest.delete(oldest)
    }
  }
}
