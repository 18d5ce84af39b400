/** An audit as a dispute (trust/dispute.ts): what its owner has said, against those who are asked. */
import { SOURCE } from '../../components/definition.js'
import type { Manifest, OpenAudit } from '../../runtime/head.js'
import type { Roots } from '../../runtime/log-root.js'
import type { Membership } from '../calls.js'
import { type Claim, type Dispute, type DisputeAction, openDispute } from '../trust/dispute.js'
import { type Opinion, readOf, valueOf } from './review.js'
import { sourceRootsOf } from './source-audits.js'

/** What is known of an audit. */
export interface Looked {
  readonly audit: OpenAudit
  readonly dispute: Dispute
  /** Of those that were asked. */
  readonly opinions: readonly Opinion[]
  /** Since when whoever is at it has been at it, or nobody has. */
  readonly sinceMs: number
  /** The follower that applies it. */
  readonly id?: string
  /** Who was asked and was lost, or failed, each time. */
  readonly lost: readonly string[]
  /** Who could not read the state that it begins with. */
  readonly damagedFor: readonly string[]
  /** Since when nobody of those who could be asked has been there. */
  readonly aloneSinceMs?: number
  /** They agree, and one whose word counts more was asked. */
  readonly isChecked?: true
  readonly isOver?: true
  /** There was nobody for it. */
  readonly isUnsettled?: true
}

export type Outcome = Extract<DisputeAction, { readonly type: 'settled' | 'undecided' }>

/** Of all that are open another one for each. */
export const keyOf = ({ vnode, from, to }: OpenAudit): string => `${vnode} ${from} ${to}`

/** With what the owner has said, and nobody else. */
export function disputeOver({ vnode, from, to }: OpenAudit, own: Opinion, members: readonly Membership[]): Dispute {
  const hosts = members.filter(({ state }) => state === 'ready').length
  return openDispute({
    segment: { vnode, from, to },
    // One that is lost is waited for: without it those who lie together may be a majority.
    hasArbiter: members.some(({ isTrusted }) => isTrusted),
    population: { hosts: Math.max(1, hosts), liars: Math.max(0, Math.floor((hosts - 1) / 2)) },
    owners: claimOf(own, members),
  })
}

export function claimOf(opinion: Opinion, members: readonly Membership[]): Claim {
  const { pnode, roots } = opinion
  const { owner = pnode, computeClass = '' } = members.find((member) => member.pnode === pnode) ?? {}
  return { host: pnode, owner, computeClass, inputs: readOf(roots), root: valueOf(opinion) }
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

/**
 * The producer that has put out something else than was read here, as it says itself. What the source was to send is known once that was verified: then who sends something else to an auditor is wrong.
 * @param manifest of what was said @param read what an auditor has read
 */
export function feederOf(manifest: Manifest, { inputs, feedback = {} }: Roots, isSourceVerified: boolean): string | undefined {
  const differs = (producer: string, own: Roots | undefined) =>
    own !== undefined &&
    ((producer in inputs && own.output !== inputs[producer]) ||
      (producer in feedback && own.due !== undefined && own.due !== feedback[producer]))
  const found = manifest.vnodes.find(({ vnode, roots }) => differs(vnode, roots))?.vnode
  return found ?? (isSourceVerified && differs(SOURCE, sourceRootsOf(manifest)) ? SOURCE : undefined)
}
