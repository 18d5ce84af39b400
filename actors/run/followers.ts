/** Standbys of a run (PROTOCOL.md rule 17): which followers there are to be, where, and who takes over when a VNode is lost. */
import { followerOf, followersIn, followersOf, MAX_REPLICAS, numberOf, vnodeOf } from '../../runtime/followers.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { Placed } from '../../runtime/grant.js'
import type { Head, SegmentRef } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { type Decision, isTransient } from '../calls.js'
import type { Move } from './rebalance.js'
import { type PlacingRun, placeFollowers } from './run-placing.js'
import { readSettings } from './run-settings.js'

export interface FollowersOptions {
  readonly context: ActorContext
  readonly store: ObjectStore
  readonly run: () => PlacingRun
  /** One durable write, then the grants. */
  readonly place: (decisions: readonly Decision[], reason: string) => Promise<void>
  /** Nobody has room for those that have to agree: the run waits. */
  readonly waits: (ids: readonly string[], reason: string) => void
  /** They are no more where they were. */
  readonly stop: (before: readonly Placed[]) => void
  /** They go; others are sought. */
  readonly dismiss: (ids: readonly string[]) => Promise<void>
}

/** Handler of the Run actor, and its timer, for `Followers.fill`. */
export const STANDBYS = 'standbys'
/** How soon after one that could not go on, or had no place, it is tried again, in ms. */
const TRY_AGAIN_MS = 5_000
/** Questions to the placement service in one go: who finds no place is asked for again later. */
const MAX_TRIES = 16

export class Followers {
  readonly #options: FollowersOptions
  /** Followers of each VNode; undefined: not read yet. */
  #replicas: number | undefined
  /** PNodes that have to apply each VNode. */
  #redundancy = 1

  constructor(options: FollowersOptions) {
    this.#options = options
  }

  /** What is missing is placed in a turn of its own: nobody waits for a standby. @param afterMs how soon */
  seek(afterMs = 0): void {
    if (this.#replicas !== 0) this.#options.context.setTimer(STANDBYS, STANDBYS, { afterMs })
  }

  /** One of them could not go on: it begins anew, but not at once. */
  seekLater(): void {
    this.seek(TRY_AGAIN_MS)
  }

  /**
   * Who takes over what is lost: the follower with the lowest number of those that are left. It need not be there any more: then its PNode restores
   * the VNode as any other would, or is lost itself.
   * @param lost VNodes and followers
   */
  promotions(lost: readonly string[]): Decision[] {
    const { head } = this.#options.run()
    return lost.flatMap((vnode): Decision[] => {
      // Who audits is far behind.
      const heir = followersOf(head, vnode).find((id) => !lost.includes(id) && !head.directory[id].audits)
      if (heir === undefined) return []
      const { pnode, incarnation, isTrusted } = head.directory[heir]
      return [{ vnode, pnode, ...(incarnation && { incarnation }), ...(isTrusted && { isTrusted }), candidates: [] }]
    })
  }

  /** Followers stand by elsewhere: they have nothing to hand over, and begin anew there. */
  async move(moves: readonly Move[]): Promise<void> {
    const { context, run, place, stop } = this.#options
    const { directory } = run().head
    const ids = moves.map(({ vnode }) => vnode)
    const at = new Map(moves.map(({ vnode, to }) => [vnode, to]))
    const found =
      (await placeFollowers(
        context,
        run(),
        ids.filter((id) => !directory[id]?.audits),
        at,
      )) ?? []
    // Anywhere else they are no better off than here.
    const decisions = found.filter(({ vnode, pnode }) => pnode === at.get(vnode))
    if (decisions.length === 0) return
    await place(decisions, 'stands by there instead')
    stop(decisions.map(({ vnode }) => ({ vnode, ...directory[vnode] })))
  }

  /** Places those that are missing, as far as there is room for them. */
  async fill(): Promise<void> {
    const { context, run, place, waits, store, dismiss } = this.#options
    try {
      await run().trust?.refresh()
      const distrusted = this.#distrusted
      if (distrusted.length > 0) return await dismiss(distrusted)
      if (this.#replicas === undefined) {
        const { replicas = 0, redundancy = 1 } = await readSettings(store, run().head.run)
        this.#replicas = Math.max(replicas, redundancy - 1)
        this.#redundancy = redundancy
      }
      let missing = this.#missing()
      for (let tries = 0, size = missing.length; missing.length > 0 && tries < MAX_TRIES; tries++) {
        const decisions = await placeFollowers(context, run(), missing.slice(0, size))
        if (decisions) await place(decisions, 'stands by')
        // Half of those that do not fit together; of one that does not fit at all, the others.
        if (decisions || size === 1) missing = missing.slice(size)
        size = decisions || size === 1 ? missing.length : Math.ceil(size / 2)
      }
      const lacking = this.#missing().filter((id) => numberOf(id) < this.#redundancy)
      if (lacking.length === 0) return
      waits(lacking, `no PNode for ${lacking.join(', ')}: ${this.#redundancy} have to apply each VNode`)
      // Nobody tells of whoever is heard again, or has room again.
      this.seekLater()
    } catch (error) {
      if (!isTransient(error)) throw error
      this.seekLater()
    }
  }

  /** One more of a VNode, on this PNode. @param audits all that it applies; absent: it goes on to the end @returns undefined if it cannot be there */
  async another(vnode: string, pnode: string, reason: string, audits?: SegmentRef): Promise<string | undefined> {
    const { context, run, place } = this.#options
    const numbers = Array.from({ length: MAX_REPLICAS }, (_, i) => MAX_REPLICAS - i).filter((n) => n > (this.#replicas ?? 0))
    const id = numbers.map((n) => followerOf(vnode, n)).find((each) => !(each in run().head.directory))
    const decisions = id === undefined ? undefined : await placeFollowers(context, { ...run(), shunned: [] }, [id], new Map([[id, pnode]]))
    if (decisions?.[0].pnode !== pnode) return undefined
    await place(
      decisions.map((decision) => ({ ...decision, audits })),
      reason,
    )
    return id
  }

  /** Those who have to be trusted, and are not any more. */
  get #distrusted(): string[] {
    const { head, constraints } = this.#options.run()
    return constraints?.areFollowersTrusted ? followersIn(head).filter((id) => !this.#isTrusted(id)) : []
  }

  /** As of when it was placed there, and as of now. */
  #isTrusted(id: string): boolean {
    const { head, trust } = this.#options.run()
    const { pnode, isTrusted = false } = head.directory[id]
    return isTrusted && (!trust || trust.isTrusted(pnode))
  }

  /** Every first one before any second. */
  #missing(): string[] {
    const { head, definition, constraints } = this.#options.run()
    // Where the followers have to be trusted, whoever is needs none.
    const isFollowed = (id: string) => id in head.directory && !(constraints?.areFollowersTrusted && this.#isTrusted(id))
    const vnodes = definition.network.vnodes.filter(({ id }) => isFollowed(id))
    return Array.from({ length: this.#replicas ?? 0 }, (_, i) => vnodes.map(({ id }) => followerOf(id, i + 1)))
      .flat()
      .filter((id) => !(id in head.directory))
  }
}

/** Followers that are to go when VNodes are given away: those that are promoted, and those that make room. */
export function leavingFor(head: Pick<Head, 'directory'>, decisions: readonly Decision[]): { promoted: string[]; displaced: string[] } {
  const isPromoted = (id: string) => decisions.some(({ vnode, pnode }) => vnode === vnodeOf(id) && head.directory[id].pnode === pnode)
  const promoted = followersIn(head).filter(isPromoted)
  const displaced = [...new Set(decisions.flatMap(({ displaces = [] }) => displaces))].filter((id) => !promoted.includes(id))
  return { promoted, displaced }
}
