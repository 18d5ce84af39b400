/** Whether a run has all its standbys, as its events tell. */
import { SOURCE } from '../../components/definition.js'
import type { RunEvent } from '../../index.js'
import { followed, vnodeOf } from '../../runtime/followers.js'

export class StandbyCount {
  readonly #vnodes = new Set<string>()
  /** By follower. */
  readonly #pnodes = new Map<string, string>()

  /** @param replicas of each VNode */
  isFull(replicas: number): boolean {
    return this.#pnodes.size === this.#vnodes.size * replicas
  }

  see(event: RunEvent): void {
    if (event.type === 'snapshot') for (const { vnode } of event.vnodes) this.#vnodes.add(vnode)
    if (event.type === 'lost') for (const id of event.vnodes) this.#pnodes.delete(id)
    if (event.type !== 'placed' || event.vnode === SOURCE) return
    this.#vnodes.add(vnodeOf(event.vnode))
    if (followed(event.vnode) !== undefined) this.#pnodes.set(event.vnode, event.pnode)
    // Who takes over stands by no more.
    else for (const [id, pnode] of this.#pnodes) if (followed(id) === event.vnode && pnode === event.pnode) this.#pnodes.delete(id)
  }
}
