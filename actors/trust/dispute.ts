/**
 * Who is right about a segment (M25, PROTOCOL.md rule 26): a pure state machine over what hosts say that it ends with. It is told what was said and who was
 * silent, and says what to do next. It sends nothing, and reads no clock.
 *
 * 1. The owner's claim is there from the beginning; another host is asked to apply the segment too. Where the two agree, that is all.
 * 2. Where they do not, a trusted host applies it: the arbiter. Whoever differs from it is convicted: the owner for its claim, another for slander.
 * 3. A run without an arbiter asks a third host, and then a fourth and a fifth, none of them of an owner that has been asked. Only a majority of a full panel of three or five
 *    convicts, and only who differs from all of it.
 *
 * Silence convicts nobody. Claims that nobody asked for, that come twice, or late, or about other inputs, change nothing: who packs a panel or floods it wins nothing.
 */
import { isBitwise } from '../../components/backends.js'
import type { Segment } from '../../runtime/commitment.js'
import { invariant } from '../../runtime/errors.js'
import { majorityOf, PANELS, panelWorth } from './panel.js'

/** What a host says, after it has opened its commitment. */
export interface Claim {
  /** The PNode. */
  readonly host: string
  /** Whose machine it is: hosts of one owner are one voice. */
  readonly owner: string
  readonly computeClass: string
  /** `inputsRootOf` what it applied, in hex. */
  readonly inputs: string
  /** `rootOf` all that it vouches for, in hex: equal for equal bits. */
  readonly root: string
}

/** Whether two claims of different classes, or of one that promises no equal bits, are the same within tolerance (comparison.ts). Has to be symmetric. */
export type SameWithinTolerance = (a: Claim, b: Claim) => boolean

/** Who is asked. */
export interface Asked {
  readonly host: string
  readonly owner: string
  readonly isArbiter: boolean
}

/** What panels are drawn from. */
export interface Population {
  /** That could have been asked. */
  readonly hosts: number
  /** Of them, as many as may lie together: what a panel is worth follows from it. */
  readonly liars: number
}

export interface Dispute {
  readonly segment: Segment
  /** Whether the run has a trusted host that can be asked. Then no panel ever convicts. */
  readonly hasArbiter: boolean
  readonly population: Population
  /** The owner's first, then in the order in which they came, without the arbiter's. */
  readonly claims: readonly Claim[]
  readonly verdict?: Claim
  /** Who is applying the segment just now. */
  readonly asked?: Asked
  /** Who was asked and gave no answer, or none that can be compared. */
  readonly silent: readonly Asked[]
  /** There is nobody else to be asked: of trusted hosts, of others. */
  readonly exhausted: readonly ('arbiters' | 'hosts')[]
}

export type DisputeEvent =
  /** Somebody was asked, as the action said. */
  | ({ readonly type: 'asked' } & Asked)
  | { readonly type: 'claimed'; readonly claim: Claim }
  /** Who was asked did not answer in time, was lost, or could not. */
  | { readonly type: 'silent'; readonly host: string }
  /** Nobody is left who could be asked as the action said. */
  | { readonly type: 'exhausted'; readonly of: 'arbiters' | 'hosts' }

export interface Conviction {
  readonly host: string
  /** `claim`: of its own segment. `slander`: of another's. */
  readonly for: 'claim' | 'slander'
}

/** Who must not be asked. */
export interface Excluded {
  readonly hosts: readonly string[]
  readonly owners: readonly string[]
}

export type DisputeAction =
  | { readonly type: 'wait'; readonly for: string }
  /** Draw one at random from all others; of the class that is preferred where there is one, since only there equal bits are promised. */
  | { readonly type: 'ask another host'; readonly excluded: Excluded; readonly preferredClass: string }
  | { readonly type: 'ask arbiter'; readonly excluded: Excluded; readonly preferredClass: string }
  | {
      readonly type: 'settled'
      /** What the segment ends with. */
      readonly right: Claim
      readonly convicted: readonly Conviction[]
      readonly by: 'agreement' | 'arbiter' | 'panel'
      /** Of a panel: the probability that a panel of its size has a lying majority. Else 0. */
      readonly wrongWith: number
    }
  | {
      readonly type: 'undecided'
      /**
       * `nobody left`: too few answered. `no majority`: five did, and no three agree. `no arbiter`: none of the trusted hosts answered. `within tolerance`: the
       * arbiter's class is another, and it cannot tell apart what differs.
       */
      readonly why: 'nobody left' | 'no majority' | 'no arbiter' | 'within tolerance'
      /** As for what is settled, for a panel of those that have answered. */
      readonly wrongWith: number
    }

/** Silent trusted hosts that are put up with, and silent others: what is asked for ever may as well never end. */
const MAX_SILENT = { arbiters: 5, hosts: 16 } as const

export interface DisputeOptions extends Pick<Dispute, 'segment' | 'hasArbiter' | 'population'> {
  readonly owners: Claim
  /** What followers that have applied the same log say (PROTOCOL.md rule 17): up to four. Default: none. */
  readonly others?: readonly Claim[]
}

/** A segment that somebody looks at. */
export function openDispute({ segment, hasArbiter, population, owners, others = [] }: DisputeOptions): Dispute {
  const { hosts, liars } = population
  invariant(hosts >= 1 && liars >= 0 && liars <= hosts, () => `${liars} liars in ${hosts} hosts`)
  const opened: Dispute = { segment, hasArbiter, population, claims: [owners], silent: [], exhausted: [] }
  return others.slice(0, PANELS[1] - 1).reduce((dispute, claim) => {
    const { host, owner } = claim
    const { hosts: excludedHosts, owners: excludedOwners } = excludedFrom(dispute)
    if (excludedHosts.includes(host) || excludedOwners.includes(owner)) return dispute
    return afterDisputeEvent({ ...dispute, asked: { host, owner, isArbiter: false } }, { type: 'claimed', claim })
  }, opened)
}

/** The dispute after one event more. What nobody waits for changes nothing. */
export function afterDisputeEvent(dispute: Dispute, event: DisputeEvent): Dispute {
  const { asked, claims, silent } = dispute
  switch (event.type) {
    case 'asked': {
      const { host, owner, isArbiter } = event
      const { hosts, owners } = excludedFrom(dispute)
      const isFree = asked === undefined && !hosts.includes(host) && !owners.includes(owner)
      invariant(isFree, () => `${host} of ${owner} asked about ${dispute.segment.vnode} for a second time`)
      return { ...dispute, asked: { host, owner, isArbiter } }
    }
    case 'claimed': {
      const { claim } = event
      if (asked === undefined || claim.host !== asked.host) return dispute
      const { asked: _asked, ...rest } = dispute
      // Whose it is was known when it was asked: what it says of that does not count. What was made from other inputs says nothing of these.
      if (claim.inputs !== claims[0].inputs) return { ...rest, silent: [...silent, asked] }
      const heard = { ...claim, owner: asked.owner }
      return asked.isArbiter ? { ...rest, verdict: heard } : { ...rest, claims: [...claims, heard] }
    }
    case 'silent': {
      if (asked === undefined || event.host !== asked.host) return dispute
      const { asked: _asked, ...rest } = dispute
      return { ...rest, silent: [...silent, asked] }
    }
    case 'exhausted':
      return asked === undefined ? { ...dispute, exhausted: [...dispute.exhausted, event.of] } : dispute
  }
}

/** What to do next: a function of what was told. */
export function nextAction(dispute: Dispute, sameWithinTolerance: SameWithinTolerance): DisputeAction {
  const { claims, asked, verdict, hasArbiter } = dispute
  const [owners] = claims
  const isSame = (a: Claim, b: Claim): boolean => a.root === b.root || (!arePromisedEqual(a, b) && sameWithinTolerance(a, b))
  if (asked !== undefined) return { type: 'wait', for: asked.host }
  if (verdict !== undefined) return byArbiter(claims, verdict, isSame)
  if (claims.length > 1 && areAllSame(claims, isSame))
    return { type: 'settled', right: owners, convicted: [], by: 'agreement', wrongWith: 0 }
  const request = { excluded: excludedFrom(dispute), preferredClass: owners.computeClass }
  const isGivenUp = (of: 'arbiters' | 'hosts'): boolean =>
    dispute.exhausted.includes(of) || dispute.silent.filter(({ isArbiter }) => isArbiter === (of === 'arbiters')).length >= MAX_SILENT[of]
  // Where there is no other host at all, the trusted ones look at the segment themselves.
  if (hasArbiter && (claims.length > 1 || isGivenUp('hosts'))) {
    if (!isGivenUp('arbiters')) return { type: 'ask arbiter', ...request }
    return { type: 'undecided', why: 'no arbiter', wrongWith: 0 }
  }
  const size = PANELS.find((full) => claims.length <= full) ?? PANELS[1]
  if (claims.length === size) {
    const majority = majorityOf(claims, size, isSame)
    if (majority !== undefined) return byPanel(dispute, majority, isSame)
    if (size === PANELS[1]) return { type: 'undecided', why: 'no majority', wrongWith: worthOf(dispute, size) }
  }
  if (!isGivenUp('hosts')) return { type: 'ask another host', ...request }
  return { type: 'undecided', why: 'nobody left', wrongWith: worthOf(dispute, claims.length) }
}

function byArbiter(claims: readonly Claim[], right: Claim, isSame: SameWithinTolerance): DisputeAction {
  const agree = areAllSame(claims, isSame)
  const wrong = claims.filter((claim) => !isSame(claim, right))
  // Claims of one class that differ, and of which both are near to the arbiter's: one of them is no honest one, but it does not say which.
  if (wrong.length === 0 && !agree) return { type: 'undecided', why: 'within tolerance', wrongWith: 0 }
  return {
    type: 'settled',
    right: wrong.includes(claims[0]) ? right : claims[0],
    convicted: convictionsOf(claims, wrong),
    by: 'arbiter',
    wrongWith: 0,
  }
}

const areAllSame = (claims: readonly Claim[], isSame: SameWithinTolerance): boolean =>
  claims.every((a, i) => claims.slice(i + 1).every((b) => isSame(a, b)))

function byPanel(dispute: Dispute, majority: readonly Claim[], isSame: SameWithinTolerance): DisputeAction {
  const { claims } = dispute
  const wrong = claims.filter((claim) => majority.every((right) => !isSame(claim, right)))
  const right = majority.includes(claims[0]) ? claims[0] : majority[0]
  const wrongWith = worthOf(dispute, claims.length)
  return { type: 'settled', right, convicted: convictionsOf(claims, wrong), by: 'panel', wrongWith }
}

function convictionsOf([owners]: readonly Claim[], wrong: readonly Claim[]): Conviction[] {
  return wrong.map((claim) => ({ host: claim.host, for: claim === owners ? 'claim' : 'slander' }))
}

/** Whoever is silent may have been an honest one: the liars that there are may all be among the others. */
function worthOf({ population, silent }: Dispute, answered: number): number {
  const size = answered % 2 === 1 ? answered : answered - 1
  const hosts = Math.max(size, population.hosts - silent.length)
  return panelWorth(Math.min(population.liars, hosts), hosts, size)
}

/** In one class that promises equal bits nothing but equal bits are the same. */
function arePromisedEqual(a: Claim, b: Claim): boolean {
  return a.computeClass === b.computeClass && isBitwise(a.computeClass)
}

/** Who has been asked, and everybody of the same owners; of who was silent only the host, since the others may be there. */
function excludedFrom({ claims, silent, verdict, asked }: Dispute): Excluded {
  const heard = [...claims, ...(verdict ? [verdict] : []), ...(asked ? [asked] : [])]
  return { hosts: [...heard, ...silent].map(({ host }) => host), owners: [...new Set(heard.map(({ owner }) => owner))] }
}
