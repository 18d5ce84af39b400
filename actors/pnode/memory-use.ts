/** What the VNodes of a PNode use of its memory. */
import { SOURCE } from '../../components/definition.js'
import type { Compute } from '../../runtime/compute/compute.js'
import { isSwarmError } from '../../runtime/errors.js'
import { vnodeOf } from '../../runtime/followers.js'
import type { DataAtHand } from './data-at-hand.js'
import { demandOf, demandOfSource } from '../placement/assignment.js'
import type { HostUse } from './host-limits.js'
import type { RunDefinition } from '../run/run-definition.js'

export class MemoryUse {
  readonly #compute: Compute
  readonly #data: Pick<DataAtHand, 'kept'>
  readonly #onError: (error: unknown) => void
  /** What each VNode was thought to need when it was placed, in bytes, by `<run>/<vnode>`. */
  readonly #needs = new Map<string, number>()
  #tensorBytes = 0
  #isAsking = false

  constructor(compute: Compute, data: Pick<DataAtHand, 'kept'>, onError: (error: unknown) => void) {
    this.#compute = compute
    this.#data = data
    this.#onError = onError
  }

  placed(id: string, definition: RunDefinition): void {
    const name = vnodeOf(id.slice(id.indexOf('/') + 1))
    const vnode = name === SOURCE ? undefined : definition.network.vnodes.find((one) => one.id === name)
    this.#needs.set(id, (vnode ? demandOf(vnode, definition.training) : demandOfSource(definition)).memoryBytes)
  }

  /** A follower has been promoted. */
  renamed(from: string, to: string): void {
    this.#needs.set(to, this.#needs.get(from) ?? 0)
    this.#needs.delete(from)
  }

  left(id: string): void {
    this.#needs.delete(id)
  }

  /** As of the last time that this was asked and the compute could answer. @param ids `<run>/<vnode>` of what is there */
  use(ids: readonly string[]): Pick<HostUse, 'tensorBytes' | 'placedBytes'> {
    const placedBytes = this.placedBytes(ids)
    if (placedBytes.size > 0) void this.#ask()
    return { tensorBytes: placedBytes.size > 0 ? this.#tensorBytes : 0, placedBytes }
  }

  /** What VNodes are thought to need, in bytes, by run. @param ids `<run>/<vnode>` */
  placedBytes(ids: readonly string[]): Map<string, number> {
    const placedBytes = new Map<string, number>()
    for (const id of ids) {
      const run = id.slice(0, id.indexOf('/'))
      placedBytes.set(run, (placedBytes.get(run) ?? 0) + (this.#needs.get(id) ?? 0))
    }
    const { kept } = this.#data
    // A data set that is kept for the next audit is memory as well.
    const isCounted = ids.some((id) => kept && id.startsWith(`${kept.run}/`) && vnodeOf(id.slice(kept.run.length + 1)) === SOURCE)
    if (kept && !isCounted) placedBytes.set(kept.run, (placedBytes.get(kept.run) ?? 0) + kept.memoryBytes)
    return placedBytes
  }

  /** A worker that is lost, or busy for long, answers later or never: nobody waits for it. */
  async #ask(): Promise<void> {
    if (this.#isAsking) return
    this.#isAsking = true
    try {
      this.#tensorBytes = (await this.#compute.memory()).bytes
    } catch (error) {
      if (!isSwarmError(error, 'compute.lost', 'compute.hung', 'compute.closed')) this.#onError(error)
    } finally {
      this.#isAsking = false
    }
  }
}
