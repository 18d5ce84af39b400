/** Names of followers: the n-th one of `block-2` is `block-2~n` (PROTOCOL.md rule 17). Names of VNodes have no `~`. */

/** @param n from 1 */
export function followerOf(vnode: string, n: number): string {
  return `${vnode}~${n}`
}

/** Whom a follower follows; undefined: it is none. */
export function followed(id: string): string | undefined {
  const at = id.indexOf('~')
  return at < 0 ? undefined : id.slice(0, at)
}

/** The VNode whose log it applies: its own, or of whom it follows. */
export function vnodeOf(id: string): string {
  return followed(id) ?? id
}
