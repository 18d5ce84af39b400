/** How placement regards hosts, whether they are there or not: who gets nothing, and how much of the others' speed counts. As the quarantine service says. */
import type { Membership, Regard } from '../calls.js'
import { NEW_REPUTATION, placementWeight } from '../trust/reputation.js'

const UNKNOWN_WEIGHT = placementWeight(NEW_REPUTATION)
/** Weights are compared in quarters of the best: a single miss, or one segment more, is no reason to divide work anew. */
const LEVELS = 4
/** The least that counts of a host's speed: nobody is to be idle for what is not known of him, and who lies is in quarantine. */
const LEAST_WORTH = 0.5

export class Regards {
  readonly #known: Map<string, Regard>

  constructor(known: readonly Regard[]) {
    this.#known = new Map(known.map((regard) => [regard.pnode, regard]))
  }

  /** What has to be kept: of whom nothing is to be remarked, nothing is. */
  get all(): readonly Regard[] {
    return [...this.#known.values()]
  }

  /** This holds from now on. */
  take(regard: Regard): void {
    const { pnode, weight, quarantine } = regard
    if (quarantine || weight !== UNKNOWN_WEIGHT) this.#known.set(pnode, regard)
    else this.#known.delete(pnode)
  }

  quarantineOf(pnode: string): Regard['quarantine'] {
    return this.#known.get(pnode)?.quarantine
  }

  /** Names of those in quarantine. */
  get quarantined(): string[] {
    return this.all.flatMap(({ pnode, quarantine }) => (quarantine ? [pnode] : []))
  }

  /** Those whose time is over are in quarantine no more. @returns their names */
  expire(nowMs: number): string[] {
    const over = this.all.filter(({ quarantine }) => quarantine && quarantine.untilMs <= nowMs)
    for (const { pnode, weight } of over) this.take({ pnode, weight })
    return over.map(({ pnode }) => pnode)
  }

  /** The same members; with how much of their speed counts, for those who are regarded less than the best who is ready. */
  weighed(members: readonly Membership[]): Membership[] {
    const weightOf = (pnode: string) => this.#known.get(pnode)?.weight ?? UNKNOWN_WEIGHT
    const best = members.reduce((most, { pnode, state }) => (state === 'ready' ? Math.max(most, weightOf(pnode)) : most), 0)
    return members.map((member) => {
      const level = best > 0 ? Math.min(LEVELS, Math.round((LEVELS * weightOf(member.pnode)) / best)) : LEVELS
      return level === LEVELS ? member : { ...member, worth: LEAST_WORTH + (1 - LEAST_WORTH) * (level / LEVELS) }
    })
  }
}
