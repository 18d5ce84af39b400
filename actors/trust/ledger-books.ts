/** What a ledger adds up to, and what may be booked next. Pure; the same for whoever writes entries and for whoever verifies them. */
import { type ErrorParts, SwarmError } from '../../runtime/errors.js'
import {
  type BookedEntry,
  type Forfeit,
  type LedgerBody,
  type LedgerEntry,
  micropointsOf,
  NO_ENTRY,
  type VerifiedWork,
} from './ledger-entry.js'

/** What one host of one owner has: a name that was given back and taken by somebody else begins at zero. */
export interface Balance {
  readonly host: string
  readonly owner: string
  /** Verified steps, of each VNode. */
  readonly steps: number
  /** Millionths of a point. */
  readonly earned: number
  readonly forfeited: number
}

/** What is to be booked. `all`: whatever the host has. */
export type Booking = VerifiedWork | (Omit<Forfeit, 'micropoints'> & { readonly micropoints: number | 'all' })

/** Longest texts, in characters. */
const LONGEST = { run: 64, vnode: 200, host: 100, owner: 100, reason: 500, evidence: 512 } as const

/** Sums over all entries so far; or, as a draft, over some more that may never be written. */
export class Books {
  count = 0
  hash = NO_ENTRY
  readonly #base: Books | undefined
  readonly #balances = new Map<string, Balance>()
  /** The last step that is booked, of each VNode in each generation of each run. */
  readonly #steps = new Map<string, number>()
  readonly #forfeits = new Set<string>()

  constructor(base?: Books) {
    this.#base = base
    if (base) [this.count, this.hash] = [base.count, base.hash]
  }

  /** The last step of a VNode in a generation of a run that is booked; 0: none. What is booked next begins behind it. */
  bookedThrough(run: string, generation: number, vnode: string): number {
    const key = `${run}/${generation}/${vnode}`
    return this.#steps.get(key) ?? this.#base?.bookedThrough(run, generation, vnode) ?? 0
  }

  balanceOf({ host, owner }: Pick<Balance, 'host' | 'owner'>): Balance {
    const key = JSON.stringify([host, owner])
    return this.#balances.get(key) ?? this.#base?.balanceOf({ host, owner }) ?? { host, owner, steps: 0, earned: 0, forfeited: 0 }
  }

  /** By owner, then host. */
  balances(): Balance[] {
    const all = (this.#base?.balances() ?? []).filter(({ host, owner }) => !this.#balances.has(JSON.stringify([host, owner])))
    const byName = (a: Balance, b: Balance) => compare(a.owner, b.owner) || compare(a.host, b.host)
    return [...all, ...this.#balances.values()].toSorted(byName)
  }

  /** Whether all of it is in the ledger already, whoever booked it. */
  isBooked(booking: Booking): boolean {
    if (booking.kind === 'forfeit') return this.#hasForfeited(booking)
    return booking.lastStep <= this.bookedThrough(booking.run, booking.generation, booking.vnode)
  }

  /** What is written of a booking: what it takes and gives in numbers. @throws `ledger.invalid` */
  worthOf(booking: Booking): LedgerBody {
    const body = this.#bodyOf(booking)
    const problem = shapeOf(body)
    if (problem) throw new SwarmError('ledger.invalid', problem)
    return body
  }

  /** Takes in the next entry. @param hash its own @throws `ledger.invalid` it says what no ledger may; nothing is changed then */
  add(entry: LedgerEntry, hash: string): void {
    const problem = shapeOf(entry) ?? this.#contradiction(entry)
    if (problem) throw new SwarmError('ledger.invalid', problem)
    if (entry.kind !== 'key') this.#sum(entry)
    this.count++
    this.hash = hash
  }

  #sum(entry: BookedEntry): void {
    const before = this.balanceOf(entry)
    const key = JSON.stringify([entry.host, entry.owner])
    if (entry.kind === 'verified') {
      const { run, generation, vnode, firstStep, lastStep, micropoints } = entry
      this.#steps.set(`${run}/${generation}/${vnode}`, lastStep)
      const steps = before.steps + lastStep - firstStep + 1
      this.#balances.set(key, { ...before, steps, earned: before.earned + micropoints })
    } else {
      this.#forfeits.add(forfeitKey(entry))
      this.#balances.set(key, { ...before, forfeited: before.forfeited + entry.micropoints })
    }
  }

  /** Takes over a draft whose entries were written: the newest one that was begun on these books as they are. */
  accept(draft: Books): void {
    for (const [key, balance] of draft.#balances) this.#balances.set(key, balance)
    for (const [key, step] of draft.#steps) this.#steps.set(key, step)
    for (const key of draft.#forfeits) this.#forfeits.add(key)
    this.count = draft.count
    this.hash = draft.hash
  }

  #bodyOf(booking: Booking): LedgerBody {
    if (booking.kind !== 'forfeit') return { ...booking, micropoints: micropointsOf(booking.multiplyAdds) }
    const { earned, forfeited } = this.balanceOf(booking)
    const asked = booking.micropoints === 'all' ? earned : booking.micropoints
    return { ...booking, micropoints: Math.min(asked, earned - forfeited) }
  }

  #hasForfeited(forfeit: Pick<Forfeit, 'host' | 'owner' | 'evidence'>): boolean {
    return (
      this.#forfeits.has(forfeitKey(forfeit)) ||
      (this.#base?.isBooked({ ...forfeit, kind: 'forfeit', reason: '', micropoints: 0 }) ?? false)
    )
  }

  #contradiction(entry: LedgerEntry): ErrorParts | undefined {
    if (entry.kind === 'key') return undefined
    if (entry.kind === 'forfeit') {
      if (this.#hasForfeited(entry)) return { what: `${entry.host} has forfeited for this already`, got: entry.evidence }
      const { earned, forfeited } = this.balanceOf(entry)
      if (entry.micropoints <= earned - forfeited) return undefined
      return { what: `${entry.host} forfeits more than it has`, expected: `at most ${earned - forfeited} µpoints`, got: entry.micropoints }
    }
    const { run, generation, vnode, firstStep } = entry
    const last = this.bookedThrough(run, generation, vnode)
    if (firstStep > last) return undefined
    return { what: `steps of ${vnode} that are booked already`, where: run, expected: `steps after ${last}`, got: firstStep }
  }
}

/** What is wrong with an entry by itself. */
function shapeOf(entry: LedgerEntry | LedgerBody): ErrorParts | undefined {
  const isCount = (value: number, least: number) => Number.isSafeInteger(value) && value >= least
  // Whoever reads it has looked at what it says (decodeEntry).
  if (entry.kind === 'key') return undefined
  if (entry.kind !== 'verified' && entry.kind !== 'forfeit') {
    return { what: 'an entry of an unknown kind', expected: 'verified, forfeit or key', got: String((entry as { kind: unknown }).kind) }
  }
  for (const name of Object.keys(LONGEST) as (keyof typeof LONGEST)[]) {
    const value: unknown = (entry as { readonly [name in keyof typeof LONGEST]?: unknown })[name]
    if (value === undefined && !NEEDED[entry.kind].includes(name)) continue
    if (typeof value === 'string' && value.length <= LONGEST[name] && (value !== '' || name === 'owner')) continue
    return {
      what: `${name} of an entry`,
      expected: `a text of up to ${LONGEST[name]} characters`,
      got: JSON.stringify(value)?.slice(0, 60),
    }
  }
  if (!isCount(entry.micropoints, 0)) return { what: 'points of an entry', expected: 'an integer ≥ 0', got: String(entry.micropoints) }
  if (entry.kind === 'forfeit') return undefined
  const { generation, firstStep, lastStep, multiplyAdds, micropoints } = entry
  if (!isCount(generation, 1) || !isCount(firstStep, 1) || !isCount(lastStep, firstStep)) {
    const got = `generation ${generation}, steps ${firstStep} to ${lastStep}`
    return { what: 'steps of an entry', expected: 'generation ≥ 1, 1 ≤ first ≤ last', got }
  }
  if (!isCount(multiplyAdds, 0)) return { what: 'multiply-adds of an entry', expected: 'an integer ≥ 0', got: String(multiplyAdds) }
  if (micropoints !== micropointsOf(multiplyAdds)) {
    return { what: 'points that are not those of the work', expected: micropointsOf(multiplyAdds), got: micropoints }
  }
}

const NEEDED = {
  verified: ['run', 'vnode', 'host', 'owner'],
  forfeit: ['host', 'owner', 'reason', 'evidence'],
} as const satisfies { [Kind in LedgerBody['kind']]: readonly (keyof typeof LONGEST)[] } as {
  readonly [Kind in LedgerBody['kind']]: readonly string[]
}

const forfeitKey = ({ host, owner, evidence }: Pick<Forfeit, 'host' | 'owner' | 'evidence'>): string =>
  JSON.stringify([host, owner, evidence])

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
