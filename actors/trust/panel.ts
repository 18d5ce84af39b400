/** What panels of hosts find, and what that is worth: pure functions (M25, PROTOCOL.md rule 26). */
import { invariant } from '../../runtime/errors.js'

/** Members of the first and the second panel. */
export const PANELS = [3, 5] as const

/**
 * The probability that more than half of a panel lies, where its members are drawn from all hosts at random: exact, hypergeometric.
 * With 7 liars in 16, a panel of five has a lying majority in 36.5 % of cases.
 * @param liars from 0 to `hosts`
 * @param size odd, at most `hosts`
 */
export function panelWorth(liars: number, hosts: number, size: number): number {
  const areCounts = [liars, hosts, size].every((count) => Number.isSafeInteger(count) && count >= 0)
  invariant(areCounts && liars <= hosts && size <= hosts && size % 2 === 1, () => `panel of ${size}: ${liars} liars in ${hosts} hosts`)
  let lying = 0n
  for (let count = (size + 1) / 2; count <= size; count++) lying += choose(liars, count) * choose(hosts - liars, size - count)
  return quotient(lying, choose(hosts, size))
}

/** n over k. */
function choose(n: number, k: number): bigint {
  if (k < 0 || k > n) return 0n
  let ways = 1n
  for (let i = 0n; i < BigInt(k); i++) ways = (ways * (BigInt(n) - i)) / (i + 1n)
  return ways
}

/** a / b, 0 to 1, to the last digit but one. */
function quotient(a: bigint, b: bigint): number {
  const digits = 2 ** 60
  return Number((2n * a * BigInt(digits) + b) / (2n * b)) / digits
}

/**
 * The one group that has a majority of a full panel, and of which each agrees with each. Undefined: there is none, or several, as may be where what is compared
 * within a tolerance is a chain: a like b, b like c, a not like c.
 * @param size of the full panel; the members may be fewer
 */
export function majorityOf<T>(members: readonly T[], size: number, isSame: (a: T, b: T) => boolean): readonly T[] | undefined {
  invariant(members.length <= PANELS[1], () => `${members.length} members of a panel`)
  let largest: T[][] = [[]]
  // All subsets: 32 at most.
  for (let chosen = 1; chosen < 1 << members.length; chosen++) {
    const group = members.filter((_, i) => (chosen >> i) % 2 === 1)
    if (group.length < largest[0].length || !group.every((a, i) => group.slice(i + 1).every((b) => isSame(a, b)))) continue
    largest = group.length > largest[0].length ? [group] : [...largest, group]
  }
  return largest.length === 1 && largest[0].length * 2 > size ? largest[0] : undefined
}
