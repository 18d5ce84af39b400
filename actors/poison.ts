/** Tells a step that fails wherever it is tried from a host that fails (PROTOCOL.md rule 15): the first must not be relocated for ever. */
import type { Failure } from './reports.js'

/** A machine may take its worker down for reasons of the host's; so often at the same step, it is the step. */
export const MAX_CRASHES = 5

export class Poison {
  readonly #hungAt = new Map<string, number>()
  readonly #crashes = new Map<string, { readonly step: number; readonly count: number }>()

  /** True if the same step of the same VNode has hung before, on another worker. */
  hangsAgain({ vnode, error, step }: Failure): boolean {
    if (error.code !== 'compute.hung' || step === undefined) return false
    const before = this.#hungAt.get(vnode)
    this.#hungAt.set(vnode, step)
    return before === step
  }

  /**
   * Counts the loss of a worker that nobody killed.
   * @param step the last one that the VNode had applied when it was lost
   * @returns true when MAX_CRASHES workers in a row ended after the same step
   */
  crashesAgain(vnode: string, step: number): boolean {
    const before = this.#crashes.get(vnode)
    const count = before?.step === step ? before.count + 1 : 1
    this.#crashes.set(vnode, { step, count })
    return count >= MAX_CRASHES
  }
}
