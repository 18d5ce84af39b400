/** PNodes that still keep what is not theirs any more: they were away when it moved, or when its run ended. They are told to let go. */
import type { ActorSystem } from '../runtime/actor-system/actor-system.js'
import type { Clock } from '../runtime/clock.js'
import { isSwarmError } from '../runtime/errors.js'
import type { Head } from '../runtime/head.js'
import { readHead } from '../runtime/head-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { actor, call, type Heartbeat } from './calls.js'

export interface PastOwnersOptions {
  readonly system: Pick<ActorSystem, 'call'>
  readonly store: ObjectStore
  readonly clock: Clock
}

/** How often a run's head is looked at, in ms: what is kept too long is harmless, and costs memory. */
const LOOK_MS = 5_000
/** Runs whose heads are remembered. */
const MAX_RUNS = 1_024

export class PastOwners {
  readonly #options: PastOwnersOptions
  readonly #looks = new Map<string, { readonly atMs: number; readonly head: Promise<Head | undefined> }>()

  constructor(options: PastOwnersOptions) {
    this.#options = options
  }

  /**
   * Compares what a PNode says it has with where it is. What was granted after that is safe: `stop` is refused under a newer term.
   * @throws codes of the store and of calls; the next heartbeat tries again
   */
  async hear({ pnode, vnodes }: Heartbeat): Promise<void> {
    await Promise.all(
      vnodes.map(async (id) => {
        const [run, vnode] = id.split('/')
        if (lastPastTerm(await this.#head(run), vnode, pnode) === undefined) return
        // What was remembered may be of another run of this name.
        this.#looks.delete(run)
        const term = lastPastTerm(await this.#head(run), vnode, pnode)
        if (term !== undefined) await call<'VNode', 'stop'>(this.#options.system, actor.vnode(pnode, run, vnode), 'stop', { term })
      }),
    )
  }

  #head(run: string): Promise<Head | undefined> {
    const { clock, store } = this.#options
    const known = this.#looks.get(run)
    if (known && clock.now() - known.atMs < LOOK_MS) return known.head
    const head = readHead(store, run).then(
      (read) => read.head,
      (error: unknown) => {
        if (isSwarmError(error, 'run.not-found', 'store.invalid-key')) return undefined
        throw error
      },
    )
    this.#looks.set(run, { atMs: clock.now(), head })
    for (const oldest of this.#looks.keys()) {
      if (this.#looks.size <= MAX_RUNS) break
      this.#looks.delete(oldest)
    }
    return head
  }
}

/** Up to which term a VNode is of the past on this PNode; undefined: it is where it should be, or nobody knows. */
function lastPastTerm(head: Head | undefined, vnode: string, pnode: string): number | undefined {
  const place = head?.directory[vnode]
  if (!head || !place) return undefined
  if (head.status !== 'running') return place.term
  return place.pnode === pnode ? undefined : place.term - 1
}
