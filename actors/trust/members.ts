/** Members, with what holds now of whom whoever runs the swarm answers for. */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { Membership } from '../calls.js'
import { listMembers } from '../placement/parts.js'
import type { Trust } from './trust.js'

/** @param trust absent: as placement says */
export async function membersAsTrusted(context: ActorContext, trust: Trust | undefined): Promise<readonly Membership[]> {
  const members = await listMembers(context)
  if (!trust) return members
  await trust.refresh()
  return members.map(({ isTrusted: _isTrusted, ...member }) => ({
    ...member,
    ...(trust.isTrusted(member.pnode) && { isTrusted: true as const }),
  }))
}
