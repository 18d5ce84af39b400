/** Names of followers: the n-th one of `block-2` is `block-2~n` (PROTOCOL.md rule 17). Names of VNodes have no `~`. */

/** Who has a place, by VNode and follower. */
interface Placing {
  readonly directory: { readonly [id: string]: unknown }
}

/** Followers of one VNode: each of them computes everything once more. */
export const MAX_REPLICAS = 8

/** @param n from 1 to `MAX_REPLICAS` */
export function followerOf(vnode: string, n: number): string {
  return `${vnode}~${n}`
}

/** 1 for the first follower of a VNode. */
export const numberOf = (follower: string): number => Number(follower.slice(follower.indexOf('~') + 1))

/** Whom a follower follows; undefined: it is none. */
export function followed(id: string): string | undefined {
  const at = id.indexOf('~')
  return at < 0 ? undefined : id.slice(0, at)
}

/** The VNode whose log it applies: its own, or of whom it follows. */
export function vnodeOf(id: string): string {
  return followed(id) ?? id
}

/** The followers of a VNode that have a place, in the order of their numbers. */
export function followersOf({ directory }: Placing, vnode: string): string[] {
  return Array.from({ length: MAX_REPLICAS }, (_, i) => followerOf(vnode, i + 1)).filter((id) => id in directory)
}

/** All followers of a run that have a place, by name. */
export function followersIn({ directory }: Placing): string[] {
  return Object.keys(directory)
    .filter((id) => followed(id) !== undefined)
    .toSorted()
}
