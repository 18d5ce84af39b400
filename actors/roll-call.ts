/** Who is missed by a run. */
import type { Head, Place } from '../runtime/head.js'
import type { Loss, Membership } from './calls.js'

/**
 * What the directory names and is gone: its PNode is, or was started again, or does not say that it has it.
 * @param upToTerm later ones were given by the owner itself a moment ago: what a PNode says of them may be older
 */
export function missingAt(members: readonly Membership[], { run, directory }: Head, upToTerm: number): Loss[] {
  const here = new Map(members.filter(({ state }) => state !== 'lost').map((member) => [member.pnode, member]))
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
