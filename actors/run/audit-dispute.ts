/** An audit as a dispute (trust/dispute.ts): what its owner has said, against those who are asked. */
import { canonicalJson } from '../../runtime/canonical-json.js'
import type { OpenAudit } from '../../runtime/head.js'
import type { Membership } from '../calls.js'
import { type Claim, type Dispute, openDispute } from '../trust/dispute.js'
import { type Opinion, valueOf } from './review.js'

/** Of all that are open another one for each. */
export const keyOf = ({ vnode, from, to }: OpenAudit): string => `${vnode} ${from} ${to}`

/** With what the owner has said, and nobody else. */
export function disputeOver({ vnode, from, to }: OpenAudit, own: Opinion, members: readonly Membership[]): Dispute {
  const hosts = members.filter(({ state }) => state === 'ready').length
  return openDispute({
    segment: { vnode, from, to },
    hasArbiter: members.some(({ isTrusted, state }) => isTrusted && state !== 'lost'),
    population: { hosts: Math.max(1, hosts), liars: Math.max(0, Math.floor((hosts - 1) / 2)) },
    owners: claimOf(own, members),
  })
}

export function claimOf(opinion: Opinion, members: readonly Membership[]): Claim {
  const { pnode, roots } = opinion
  const { owner = pnode, computeClass = '' } = members.find((member) => member.pnode === pnode) ?? {}
  return { host: pnode, owner, computeClass, inputs: canonicalJson(roots.inputs), root: valueOf(opinion) }
}

/** Who is not asked: PNodes and owners that have had their say, or whose it is. */
export function excludedFrom(
  { claims, silent, verdict }: Dispute,
  { pnode: own }: OpenAudit,
  members: readonly Membership[],
): ReadonlySet<string> {
  const owners = members.flatMap(({ pnode, owner = pnode }) => (pnode === own ? [owner] : []))
  const heard = [...claims, ...(verdict ? [verdict] : [])]
  return new Set([own, ...owners, ...heard.flatMap(({ host, owner }) => [host, owner]), ...silent.map(({ host }) => host)])
}
