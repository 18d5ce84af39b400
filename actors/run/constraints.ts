/** What whoever starts a run asks of the places of its VNodes. None of it changes a bit of the result; pure. */
import { type NetworkDefinition, SOURCE } from '../../components/definition.js'
import { suggest } from '../../components/suggest.js'
import { SwarmError } from '../../runtime/errors.js'
import { followed, vnodeOf } from '../../runtime/followers.js'
import type { Demand } from '../calls.js'
import type { Tier } from '../placement/admission.js'

export interface Constraints {
  /** Only on PNodes of this tier or a better one; 1 is the best. For all VNodes, or for some, by their ids. Default: any. */
  readonly minTier?: Tier | { readonly [vnode: string]: Tier }
  /**
   * Ids of VNodes that are to be on one PNode, so that what they send each other needs no network. No PNode with room for all of them: the run does not begin.
   * Once it has begun, what was lost is rather apart than nowhere.
   */
  readonly together?: readonly (readonly string[])[]
  /** Who follows a VNode (`redundancy`, `replicas`) is on a PNode whose word settles disputes; what is on such a one itself needs no follower. Default: anywhere. */
  readonly areFollowersTrusted?: boolean
}

const isTier = (value: unknown): value is Tier => value === 1 || value === 2 || value === 3

/** @returns nothing, if nothing is asked. @throws `usage` a tier that there is not, or a VNode that the network does not have, or that is in two groups */
export function checkedConstraints(
  { vnodes }: Pick<NetworkDefinition, 'vnodes'>,
  { minTier, together = [], areFollowersTrusted }: Constraints = {},
): { readonly constraints?: Constraints } {
  const ids = vnodes.map(({ id }) => id)
  const tiers = typeof minTier === 'object' ? Object.entries(minTier) : minTier === undefined ? [] : [[undefined, minTier] as const]
  for (const [vnode, tier] of tiers) {
    if (vnode !== undefined) checkId(vnode, 'minTier', ids)
    if (!isTier(tier))
      throw new SwarmError('usage', { what: 'tier', where: vnode, expected: '1, 2 or 3; 1 is the best', got: String(tier) })
  }
  const seen = new Set<string>()
  for (const vnode of together.flat()) {
    checkId(vnode, 'together', ids)
    if (seen.has(vnode))
      throw new SwarmError('usage', { what: `VNode ${vnode} twice`, where: 'together', fix: 'Make one group of the two' })
    seen.add(vnode)
  }
  const constraints = {
    ...(minTier !== undefined && { minTier }),
    ...(together.length > 0 && { together }),
    ...(areFollowersTrusted && { areFollowersTrusted }),
  }
  return Object.keys(constraints).length > 0 ? { constraints } : {}
}

function checkId(vnode: string, where: string, ids: readonly string[]): void {
  if (ids.includes(vnode)) return
  throw new SwarmError('usage', {
    what: `no VNode '${vnode}'`,
    where,
    expected: 'an id that `swarmgrad check` shows',
    fix: suggest(vnode, ids),
  })
}

/** Those of VNodes and followers, with what is asked of their places. Followers of a group are a group: they take over together. */
export function constrained(demands: readonly Demand[], { minTier, together = [], areFollowersTrusted }: Constraints = {}): Demand[] {
  const groups = new Map(together.flatMap((vnodes) => vnodes.map((vnode) => [vnode, vnodes.join('+')])))
  return demands.map((demand) => {
    const own = vnodeOf(demand.vnode)
    const isForTrusted = areFollowersTrusted && followed(demand.vnode) !== undefined
    if (own === SOURCE) return isForTrusted ? { ...demand, isForTrusted } : demand
    const tier = typeof minTier === 'object' ? minTier[own] : minTier
    const group = groups.get(own)
    const number = followed(demand.vnode) && demand.vnode.slice(own.length + 1)
    return {
      ...demand,
      ...(tier !== undefined && { minTier: tier }),
      ...(isForTrusted && { isForTrusted }),
      ...(group !== undefined && { group: number === undefined ? group : `${group}~${number}` }),
    }
  })
}
