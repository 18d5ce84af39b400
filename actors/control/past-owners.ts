/** PNodes that still keep what is not theirs any more: they were away when it moved, or when its run ended. They are told to let go. */
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import type { Clock } from '../../runtime/clock.js'
import { isSwarmError } from '../../runtime/errors.js'
import { followed } from '../../runtime/followers.js'
import type { Head } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { actor, call, type Heartbeat } from '../calls.js'

export interface PastOwnersOptions {
  readonly system: Pick<ActorSystem, 'call'>
  readonly store: ObjectStore
  readonly clock: Clock
}

/** How often a run's head is looked at, and how long something may be kept too long, in ms: it is harmless, and costs memory. */
const LOOK_MS = 5_000
/** Runs whose heads are remembered, and VNodes of which it is remembered since when they are kept too long. */
const MAX_REMEMBERED = 4_096

export class PastOwners {
  readonly #options: PastOwnersOptions
  /** By `<pnode>/<run>/<vnode>`: since when. */
  readonly #keptSinceMs = new Map<string, number>()
  readonly #looks = new Map<string, { readonly atMs: number; readonly head: Promise<Head | undefined> }>()

  constructor(options: PastOwnersOptions) {
    this.#options = options
  }

  /**
   * Compares what a PNode says it has with where it is. What was granted after that is safe: `stop` is refused under a newer term.
   * @throws codes of the store and of calls; the next heartbeat tries again
   */
  async hear({ pnode, vnodes }: Heartbeat): Promise<void> {
    await Promise.all(vnodes.map((id) => this.#look(pnode, ...(id.split('/') as [string, string]))))
  }

  async #look(pnode: string, run: string, vnode: string): Promise<void> {
    const { system, clock } = this.#options
    const id = `${pnode}/${run}/${vnode}`
    if (lastPastTerm(await this.#head(run), vnode, pnode) === undefined) return void this.#keptSinceMs.delete(id)
    const sinceMs = this.#keptSinceMs.get(id)
    if (sinceMs === undefined) remember(this.#keptSinceMs, id, clock.now())
    // Whoever moved it away is about to tell it.
    if (sinceMs === undefined || clock.now() - sinceMs < LOOK_MS) return
    // What was remembered may be of another run of this name.
    this.#looks.delete(run)
    const term = lastPastTerm(await this.#head(run), vnode, pnode)
    if (term !== undefined) await call<'VNode', 'stop'>(system, actor.vnode(pnode, run, vnode), 'stop', { term })
    this.#keptSinceMs.delete(id)
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
    remember(this.#looks, run, { atMs: clock.now(), head })
    return head
  }
}

/** Up to which term a VNode is of the past on this PNode; undefined: it is where it should be, or nobody knows. */
function lastPastTerm(head: Head | undefined, vnode: string, pnode: string): number | undefined {
  const place = head?.directory[vnode]
  if (head && !place && followed(vnode) !== undefined) return head.termCounter
  if (!head || !place) return undefined
  if (head.status !== 'running') return place.term
  return place.pnode === pnode ? undefined : place.term - 1
}

/** The oldest ones are forgotten. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key)
  map.set(key, value)
  for (const oldest of map.keys()) {
    if (map.size <= MAX_REMEMBERED) break
    map.delete(oldest)
  }
}
