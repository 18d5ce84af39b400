/**
 * Reputation of a host: what is known of its honesty, and apart from it of its presence (M27). A laptop that closes is not a liar, and who is always there
 * may be one. It decides how much is checked and who is asked first, never what is accepted. Pure, and by events, not by the clock: nobody becomes honest by waiting.
 */
import { canonicalJson } from '../../runtime/canonical-json.js'
import { invariant, SwarmError } from '../../runtime/errors.js'

export const REPUTATION_VERSION = 1

/** What is kept of a host. */
export interface Reputation {
  readonly v: typeof REPUTATION_VERSION
  /** Evidence beyond the prior, decayed: integrity is Beta(1 + kept, 1 + broken). From 0. */
  readonly kept: number
  readonly broken: number
  /** Segments that somebody else has found right, since the last conviction. */
  readonly verified: number
  readonly convictions: number
  /** Exponential moving average, 0 to 1: how often it did what was waited for. */
  readonly availability: number
}

/** What happened to a host. */
export type ReputationEvent =
  /** A segment of its own was found right, or what it said of another's. */
  | 'verified'
  /** It was found to have told something false, of its own segment or of another's. */
  | 'convicted'
  /** It did in time what was waited for. */
  | 'delivered'
  /** It was lost, started again, withheld inputs, or sent no commitment. Costs no integrity. */
  | 'missed'

export interface ReputationRules {
  /** Segments that are all verified before a host is believed, 1 to 1,000: twice as many after each conviction. */
  readonly probationSegments: number
  /** What is left of older evidence after each event that bears on integrity. Above 0, below 1. */
  readonly decay: number
  /** Verified segments that a conviction weighs as much as, at the prior. From 1. */
  readonly convictionWeight: number
  /** Weight of the newest event in availability. Above 0, at most 1. */
  readonly availabilityGain: number
  /** Share of audited segments after probation. Above 0, at most 1. */
  readonly auditShare: number
  /** The same for hosts with a trusted descriptor. Above 0, at most `auditShare`. */
  readonly trustedAuditShare: number
}

/**
 * 20 segments at p = 1 find who cheats in a seventh of them with 95 %; 0.03 finds who always cheats within 99 segments (LEARNING.md). With 0.99 the last
 * hundred events count. A conviction weighs ten segments, which are then forgotten, so that nobody saves up honesty to spend it.
 */
export const DEFAULT_REPUTATION_RULES: ReputationRules = {
  probationSegments: 20,
  decay: 0.99,
  convictionWeight: 10,
  availabilityGain: 0.1,
  auditShare: 0.03,
  trustedAuditShare: 0.01,
}

/** Doubling of probation ends here: 64 times as many. */
const MOST_DOUBLINGS = 6
/** One success and one failure that nobody has seen: a host that nothing is known of is as likely honest as not. */
const PRIOR = 1
/** Of a host that nothing is known of. */
const UNKNOWN_AVAILABILITY = 0.5

/** Of a host that nothing is known of. */
export const NEW_REPUTATION: Reputation = {
  v: REPUTATION_VERSION,
  kept: 0,
  broken: 0,
  verified: 0,
  convictions: 0,
  availability: UNKNOWN_AVAILABILITY,
}

/** The reputation after one event more. */
export function afterEvent(reputation: Reputation, event: ReputationEvent, rules: ReputationRules = DEFAULT_REPUTATION_RULES): Reputation {
  checkRules(rules)
  const { kept, broken, verified, convictions, availability } = reputation
  const { decay, convictionWeight, availabilityGain } = rules
  switch (event) {
    case 'verified':
      return { ...reputation, kept: kept * decay + 1, broken: broken * decay, verified: verified + 1 }
    case 'convicted':
      return { ...reputation, kept: 0, broken: broken * decay + convictionWeight, verified: 0, convictions: convictions + 1 }
    case 'delivered':
      return { ...reputation, availability: availability + availabilityGain * (1 - availability) }
    case 'missed':
      return { ...reputation, availability: availability - availabilityGain * availability }
  }
}

/** The mean of what is believed of its honesty: above 0, below 1; 0.5 where nothing is known. */
export function integrityOf({ kept, broken }: Reputation): number {
  return (PRIOR + kept) / (PRIOR + kept + PRIOR + broken)
}

/** Whether all of its segments are still looked at. */
export function isOnProbation(reputation: Reputation, { probationSegments }: ReputationRules = DEFAULT_REPUTATION_RULES): boolean {
  let needed = probationSegments
  for (let i = 0; i < Math.min(reputation.convictions, MOST_DOUBLINGS); i++) needed *= 2
  return reputation.verified < needed
}

/** What else is known of a host. */
export interface Standing {
  /** It has a descriptor that control has signed, and that is not revoked. */
  readonly isTrusted: boolean
  /** It has the source, from which everything follows (PROTOCOL.md rule 28). */
  readonly isSource?: boolean
}

/**
 * The share of its segments to audit: above 0, at most 1, never 0. 1 on probation, and for the source on a host that is not trusted. A trusted host has no
 * probation until it is convicted: its descriptor stands for that.
 */
export function auditShare(
  reputation: Reputation,
  { isTrusted, isSource = false }: Standing,
  rules: ReputationRules = DEFAULT_REPUTATION_RULES,
): number {
  checkRules(rules)
  const isVouchedFor = isTrusted && reputation.convictions === 0
  if (!isVouchedFor && isOnProbation(reputation, rules)) return 1
  if (isTrusted) return rules.trustedAuditShare
  return isSource ? 1 : rules.auditShare
}

/** Of two hosts that are equal otherwise, the one with the larger weight gets more: above 0, below 1. */
export function placementWeight(reputation: Reputation): number {
  return integrityOf(reputation) * reputation.availability
}

/** As it is stored: canonical JSON. */
export function encodeReputation({ kept, broken, verified, convictions, availability }: Reputation): string {
  return canonicalJson({ v: REPUTATION_VERSION, kept, broken, verified, convictions, availability } satisfies Reputation)
}

/** @throws `reputation.version`, `reputation.damaged` */
export function decodeReputation(text: string): Reputation {
  let read: Partial<Reputation> | null
  try {
    read = JSON.parse(text) as Partial<Reputation> | null
  } catch (cause) {
    throw new SwarmError('reputation.damaged', { what: 'a reputation that is no JSON', got: text.slice(0, 60), cause })
  }
  if (read?.v !== REPUTATION_VERSION) {
    const fix = 'Use the version of swarmgrad that wrote it'
    throw new SwarmError('reputation.version', {
      what: 'reputation of an unknown version',
      expected: REPUTATION_VERSION,
      got: String(read?.v),
      fix,
    })
  }
  const { v, kept, broken, verified, convictions, availability } = read as Reputation
  const isShare = Number.isFinite(availability) && availability >= 0 && availability <= 1
  const areWeights = [kept, broken].every((value) => Number.isFinite(value) && value >= 0)
  const areCounts = [verified, convictions].every((value) => Number.isSafeInteger(value) && value >= 0)
  if (!isShare || !areWeights || !areCounts)
    throw new SwarmError('reputation.damaged', { what: 'numbers of a reputation out of range', got: text.slice(0, 200) })
  return { v, kept, broken, verified, convictions, availability }
}

function checkRules(rules: ReputationRules): void {
  const { decay, convictionWeight, availabilityGain, auditShare: share, trustedAuditShare, probationSegments } = rules
  const isValid =
    decay > 0 &&
    decay < 1 &&
    convictionWeight >= 1 &&
    availabilityGain > 0 &&
    availabilityGain <= 1 &&
    trustedAuditShare > 0 &&
    trustedAuditShare <= share &&
    share <= 1 &&
    probationSegments >= 1 &&
    probationSegments <= 1_000
  invariant(isValid, () => `rules of reputation: ${canonicalJson(rules)}`)
}
