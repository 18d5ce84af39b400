/** Who is missed by a run. */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { Head, Place } from '../../runtime/head.js'
import { actor, call, isTransient, type Loss, type Membership, untilHeard } from '../calls.js'
import { listMembers } from '../placement/parts.js'
import { RETRY_MS } from '../relocation.js'

export interface RollCallOptions {
  readonly context: ActorContext
  readonly head: () => Head
  readonly lost: (loss: Loss) => Promise<void>
  readonly onError: (error: unknown) => void
}

/** Handler of the Run actor, and its timer, for `RollCall.call`. */
export const ROLL_CALL = 'roll call'

export class RollCall {
  readonly #options: RollCallOptions
  /** The last term that an owner before this one drew. */
  #termsBefore = 0

  constructor(options: RollCallOptions) {
    this.#options = options
  }

  /**
   * Whoever is lost from now on is told to the run; who was lost before is missed a little later. Not awaited: Relocation itself may wait for the run.
   * @param termsBefore up to there an owner before this one has given VNodes away
   */
  watch(afterMs: number, termsBefore: number): void {
    this.#termsBefore = termsBefore
    const { context, head, onError } = this.#options
    const watch = () => call<'Relocation', 'watch'>(context, actor.relocation, 'watch', { run: head().run })
    untilHeard(context.clock, context.signal, watch)
      .then(() => context.setTimer(ROLL_CALL, ROLL_CALL, { afterMs }))
      .catch(onError)
  }

  async call(): Promise<void> {
    const { context, head, lost } = this.#options
    try {
      for (const loss of missingAt(await listMembers(context), head(), this.#termsBefore)) await lost(loss)
    } catch (error) {
      if (!isTransient(error)) throw error
      context.setTimer(ROLL_CALL, ROLL_CALL, { afterMs: RETRY_MS })
    }
  }
}

/**
 * What the directory names and is gone: its PNode is, or is in quarantine, or was started again, or does not say that it has it.
 * @param upToTerm later ones were given by the owner itself a moment ago: what a PNode says of them may be older
 */
export function missingAt(members: readonly Membership[], { run, directory }: Head, upToTerm: number): Loss[] {
  const here = new Map(members.filter(({ state }) => state !== 'lost' && state !== 'quarantined').map((member) => [member.pnode, member]))
  const isMissing = (vnode: string, { pnode, term, incarnation }: Place) => {
    const member = here.get(pnode)
    if (!member || (incarnation !== undefined && member.incarnation !== incarnation)) return true
    return term <= upToTerm && !member.vnodes.includes(`${run}/${vnode}`)
  }
  const missing = Object.entries(directory).filter(([vnode, place]) => isMissing(vnode, place))
  return [...new Set(missing.map(([, { pnode }]) => pnode))].toSorted().map((pnode) => {
    const vnodes = missing.filter(([, place]) => place.pnode === pnode).map(([vnode]) => `${run}/${vnode}`)
    return { pnode, what: here.has(pnode) ? 'worker' : 'pnode', reason: 'not there when its run got a new owner', vnodes }
  })
}

/** VNodes of a run, of those given, that a loss concerns. */
export function lostOf(ids: readonly string[], { run, directory }: Head, { pnode, incarnation, vnodes }: Loss): string[] {
  return ids.filter((id) => {
    const place = directory[id]
    if (place?.pnode !== pnode || (vnodes && !vnodes.includes(`${run}/${id}`))) return false
    return incarnation === undefined || (place.incarnation ?? incarnation) === incarnation
  })
}
