/** What a PNode that joins a run under way should take over. */
import type { Demand, Membership } from './calls.js'

/** The longest stage must become shorter by this share, or nobody moves: a move costs a checkpoint and a restore. */
const LEAST_GAIN = 0.25

/**
 * VNodes that make the longest stage of the pipeline shortest if the newcomer has them; none if that is not worth it.
 * @param directory vnode → pnode, of this run
 */
export function worthMoving(
  newcomer: string,
  members: readonly Membership[],
  demands: readonly Demand[],
  directory: { readonly [vnode: string]: { readonly pnode: string } },
): string[] {
  const speed = new Map(members.map(({ pnode, gflops }) => [pnode, Math.max(gflops, 1e-3)]))
  const place = new Map<string, string | undefined>(demands.map(({ vnode }) => [vnode, directory[vnode]?.pnode]))
  const loads = () => {
    const cost = new Map<string | undefined, number>()
    for (const demand of demands) {
      const pnode = place.get(demand.vnode)
      cost.set(pnode, (cost.get(pnode) ?? 0) + demand.cost)
    }
    return [...cost].map(([pnode, total]) => ({ pnode, ms: total / (speed.get(pnode ?? '') ?? 1e-3) }))
  }
  const longest = () => loads().reduce((most, load) => (load.ms > most.ms ? load : most), { pnode: undefined as string | undefined, ms: 0 })
  const before = longest()
  const moved: string[] = []
  for (let best = before; ;) {
    const stage = best.pnode
    if (stage === newcomer) break
    const candidates = demands.filter(({ vnode, cost }) => cost > 0 && place.get(vnode) === stage)
    const tried = candidates.map(({ vnode }) => {
      place.set(vnode, newcomer)
      const { ms } = longest()
      place.set(vnode, stage)
      return { vnode, ms }
    })
    const [winner] = tried.toSorted((a, b) => a.ms - b.ms || (a.vnode < b.vnode ? -1 : 1))
    if (!winner || winner.ms >= best.ms) break
    place.set(winner.vnode, newcomer)
    moved.push(winner.vnode)
    best = longest()
  }
  return longest().ms <= before.ms * (1 - LEAST_GAIN) ? moved : []
}
