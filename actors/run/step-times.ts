/** How long the steps of VNodes take where they are, as their PNodes tell it. */

/** What a VNode has worked since it was last asked for. */
export interface Spent {
  readonly steps: number
  /** Of the machine, all steps together, in ms. */
  readonly busyMs: number
}

/** The first steps on a PNode say little: its caches are cold. */
const WARM_UP_STEPS = 5

export class StepTimes {
  readonly #spent = new Map<string, { steps: number; busyMs: number; cold: number }>()

  add(vnode: string, busyMs: number): void {
    const spent = this.#spent.get(vnode) ?? { steps: 0, busyMs: 0, cold: WARM_UP_STEPS }
    this.#spent.set(vnode, spent)
    if (spent.cold-- > 0) return
    spent.steps++
    spent.busyMs += busyMs
  }

  /** It has another owner, who begins anew. */
  forget(vnode: string): void {
    this.#spent.delete(vnode)
  }

  /** By VNode, since this was called before. */
  take(): Map<string, Spent> {
    const taken = new Map<string, Spent>()
    for (const [vnode, spent] of this.#spent) {
      if (spent.steps > 0) taken.set(vnode, { steps: spent.steps, busyMs: spent.busyMs })
      spent.steps = 0
      spent.busyMs = 0
    }
    return taken
  }
}
