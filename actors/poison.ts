/** Tells a step that fails wherever it is tried from a host that fails (PROTOCOL.md rule 15): the first must not be relocated for ever. */
import { SwarmError } from '../runtime/errors.js'
import type { Failure } from './reports.js'

/** A machine may take its worker down for reasons of the host's; so often at the same step, it is the step. */
const MAX_CRASHES = 5
/** How a compute tells of a worker that ended by itself. */
const CRASH = /: (exited with code|crashed: )/

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
   * Counts the loss of a worker that ended by itself.
   * @param stepOf the last step that a VNode had applied when it was lost
   * @returns the error that ends the run when MAX_CRASHES workers in a row ended after the same step
   */
  verdict(vnodes: readonly string[], stepOf: (vnode: string) => number, reason: string): SwarmError | undefined {
    if (!CRASH.test(reason)) return undefined
    const culprits = vnodes.filter((vnode) => this.#crashesAgain(vnode, stepOf(vnode)))
    if (culprits.length === 0) return undefined
    return new SwarmError('compute.lost', {
      what: `${MAX_CRASHES} workers ended one after another at the same place: ${reason}`,
      where: culprits.map((vnode) => `${vnode} after step ${stepOf(vnode)}`).join(', '),
      fix: 'Look for what ends the process or takes all its memory in the code of this VNode',
    })
  }

  #crashesAgain(vnode: string, step: number): boolean {
    const before = this.#crashes.get(vnode)
    const count = before?.step === step ? before.count + 1 : 1
    this.#crashes.set(vnode, { step, count })
    return count >= MAX_CRASHES
  }
}
