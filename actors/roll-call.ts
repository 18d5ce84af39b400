/** Who is missed by a run whose owner has just begun. */
import type { Head } from '../runtime/head.js'
import type { Loss, Membership } from './calls.js'

/**
 * What the directory names and nobody says that it has.
 * @param upToTerm later ones were given by the owner itself, which hears of their loss
 */
export function missingAt(members: readonly Membership[], { run, directory }: Head, upToTerm: number): Loss[] {
  const here = new Map(members.filter(({ state }) => state !== 'lost').map(({ pnode, vnodes }) => [pnode, vnodes]))
  const places = Object.entries(directory).filter(([, { term }]) => term <= upToTerm)
  return [...new Set(places.map(([, { pnode }]) => pnode))].toSorted().flatMap((pnode) => {
    const named = places.filter(([, place]) => place.pnode === pnode).map(([vnode]) => `${run}/${vnode}`)
    const vnodes = named.filter((id) => !here.get(pnode)?.includes(id))
    if (vnodes.length === 0) return []
    return [{ pnode, what: here.has(pnode) ? 'worker' : 'pnode', reason: 'not there when its run got a new owner', vnodes }]
  })
}
