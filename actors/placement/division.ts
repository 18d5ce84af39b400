/** Who does what, while it is being worked out: what each machine has, what fits where. Changes in place; no randomness, no time. */

/** What may get work. */
export interface Machine {
  /** Cost per unit of time, > 0. */
  readonly speed: number
  /** Cost of what it does already. */
  readonly load: number
  readonly freeBytes: number
  /** So many more VNodes. */
  readonly freeSlots: number
  readonly owner?: string
}

/** What goes to one machine as a whole: a VNode, or several that must be together. */
export interface Piece {
  readonly cost: number
  readonly bytes: number
  /** VNodes in it. */
  readonly slots: number
  /** By machine: 1 where it may be. Pieces that may be at the same machines share one. */
  readonly allowed: Uint8Array
  /** Of pieces with the same key no two are on one machine, and better not with one owner. */
  readonly apart: readonly string[]
}

/** Where something with a key of `Piece.apart` is: on one of the machines, or elsewhere (−1). */
export interface Holder {
  readonly machine: number
  readonly owner?: string
}

/** Why a piece cannot be on a machine. */
export const REFUSAL = { none: 0, allowed: 1, slots: 2, bytes: 3, apart: 4 } as const
export type Refusal = (typeof REFUSAL)[keyof typeof REFUSAL]

/** Sums of a few floating-point numbers differ by less: what is not better by more is not better. */
export const ALMOST = 1e-9

const NOBODY: readonly Holder[] = []
const NO_OWNERS: ReadonlySet<string> = new Set()

export class Division {
  readonly machines: readonly Machine[]
  readonly pieces: readonly Piece[]
  /** By piece: its machine, or −1. */
  readonly at: Int32Array
  readonly #speed: Float64Array
  readonly #load: Float64Array
  readonly #freeBytes: Float64Array
  readonly #freeSlots: Float64Array
  readonly #refusals: Uint8Array
  readonly #times: Float64Array
  readonly #on: number[][]
  readonly #holders: Map<string, readonly Holder[]>

  constructor(machines: readonly Machine[], pieces: readonly Piece[], holders: ReadonlyMap<string, readonly Holder[]> = new Map()) {
    this.machines = machines
    this.pieces = pieces
    this.at = new Int32Array(pieces.length).fill(-1)
    this.#speed = Float64Array.from(machines, ({ speed }) => speed)
    this.#load = Float64Array.from(machines, ({ load }) => load)
    this.#freeBytes = Float64Array.from(machines, ({ freeBytes }) => freeBytes)
    this.#freeSlots = Float64Array.from(machines, ({ freeSlots }) => freeSlots)
    this.#refusals = new Uint8Array(machines.length)
    this.#times = new Float64Array(machines.length)
    this.#on = machines.map(() => [])
    this.#holders = new Map(holders)
  }

  /** How long a step of all that machine `m` has takes, with `more` cost. */
  time(m: number, more = 0): number {
    return (this.#load[m] + more) / this.#speed[m]
  }

  /** The same for every machine; to be read before the next call. */
  times(more: number): Float64Array {
    const times = this.#times
    const load = this.#load
    const speed = this.#speed
    for (let m = 0; m < times.length; m++) times[m] = (load[m] + more) / speed[m]
    return times
  }

  load(m: number): number {
    return this.#load[m]
  }

  freeBytes(m: number): number {
    return this.#freeBytes[m]
  }

  freeSlots(m: number): number {
    return this.#freeSlots[m]
  }

  /** The pieces on a machine. */
  on(m: number): readonly number[] {
    return this.#on[m]
  }

  put(p: number, m: number): void {
    const { cost, bytes, slots, apart } = this.pieces[p]
    this.at[p] = m
    this.#load[m] += cost
    this.#freeBytes[m] -= bytes
    this.#freeSlots[m] -= slots
    this.#on[m].push(p)
    for (const key of apart) this.#holders.set(key, [...this.#held(key), { machine: m, owner: this.machines[m].owner }])
  }

  take(p: number): void {
    const m = this.at[p]
    const { cost, bytes, slots, apart } = this.pieces[p]
    this.at[p] = -1
    this.#load[m] -= cost
    this.#freeBytes[m] += bytes
    this.#freeSlots[m] += slots
    this.#on[m].splice(this.#on[m].lastIndexOf(p), 1)
    for (const key of apart) {
      const held = this.#held(key)
      const mine = held.findIndex(({ machine }) => machine === m)
      this.#holders.set(key, held.toSpliced(mine, 1))
    }
  }

  /** Why `p`, which is nowhere or elsewhere, cannot be on `m`. */
  refusal(p: number, m: number): Refusal {
    const { allowed, slots, bytes, apart } = this.pieces[p]
    if (allowed[m] === 0) return REFUSAL.allowed
    if (this.#freeSlots[m] < slots) return REFUSAL.slots
    if (this.#freeBytes[m] < bytes) return REFUSAL.bytes
    return apart.length > 0 && this.#isBeside(apart, m) ? REFUSAL.apart : REFUSAL.none
  }

  /** The same for every machine; to be read before the next call. */
  refusals(p: number): Uint8Array {
    const { allowed, slots, bytes, apart } = this.pieces[p]
    const refusals = this.#refusals
    const freeSlots = this.#freeSlots
    const freeBytes = this.#freeBytes
    for (let m = 0; m < refusals.length; m++) {
      if (allowed[m] === 0) refusals[m] = REFUSAL.allowed
      else if (freeSlots[m] < slots) refusals[m] = REFUSAL.slots
      else if (freeBytes[m] < bytes) refusals[m] = REFUSAL.bytes
      else refusals[m] = REFUSAL.none
    }
    if (new Set(apart).size < apart.length) refusals.fill(REFUSAL.apart)
    for (const key of apart)
      for (const { machine } of this.#held(key)) if (refusals[machine] === REFUSAL.none) refusals[machine] = REFUSAL.apart
    return refusals
  }

  /** Who has something, on another machine than p's, that should be apart from `p`. */
  ownersBeside(p: number): ReadonlySet<string> {
    const { apart } = this.pieces[p]
    if (apart.length === 0) return NO_OWNERS
    const holders = apart.flatMap((key) => this.#held(key)).filter(({ machine }) => machine !== this.at[p])
    return new Set(holders.flatMap(({ owner }) => owner ?? []))
  }

  /** Whether one of them is the owner of `m`. */
  isWithOwner(p: number, m: number): boolean {
    const { owner } = this.machines[m]
    return owner !== undefined && this.pieces[p].apart.length > 0 && this.ownersBeside(p).has(owner)
  }

  /** Whether `p` may be on `m` instead of where it is, room aside, and is no nearer there to what it should be apart from. */
  isAsGood(p: number, m: number): boolean {
    const { allowed, apart } = this.pieces[p]
    if (allowed[m] === 0) return false
    return apart.length === 0 || (!this.#isBeside(apart, m) && (!this.isWithOwner(p, m) || this.isWithOwner(p, this.at[p])))
  }

  /** The machine with the longest stage of those that have pieces; −1 if none has. */
  longest(): number {
    let longest = -1
    for (let m = 0; m < this.machines.length; m++) {
      if (this.#on[m].length > 0 && (longest === -1 || this.time(m) > this.time(longest))) longest = m
    }
    return longest
  }

  #isBeside(apart: readonly string[], m: number): boolean {
    return new Set(apart).size < apart.length || apart.some((key) => this.#held(key).some(({ machine }) => machine === m))
  }

  #held(key: string): readonly Holder[] {
    return this.#holders.get(key) ?? NOBODY
  }
}
