/** Branch and bound over the divisions of a few pieces among a few machines. */
import { ALMOST, type Division, REFUSAL } from './division.js'

/** With an owner who has one already, a machine counts as so many times slower: it takes others' being twice as slow to choose it. */
export const SAME_OWNER = 2

export interface SearchOptions {
  /** Where they may go. */
  readonly machines: readonly number[]
  /** The dearest first; on these machines, or nowhere yet. */
  readonly pieces: readonly number[]
  /** Partial divisions that are looked at. */
  readonly maxNodes: number
  /** What is to be improved upon: what has an owner for itself there keeps one. Default: the division itself. */
  readonly like?: Division
}

export class Search {
  readonly #division: Division
  readonly #machines: readonly number[]
  readonly #pieces: readonly number[]
  readonly #maxNodes: number
  /** Cost from the i-th piece on. */
  readonly #rest: Float64Array
  /** What is with an owner who has one already may be so again. */
  readonly #mayBeWithOwner: readonly boolean[]
  #best: Int32Array | undefined
  #bound = Infinity
  #nodes = 0

  constructor(division: Division, { machines, pieces, maxNodes, like = division }: SearchOptions) {
    this.#division = division
    this.#machines = machines
    this.#pieces = pieces
    this.#maxNodes = maxNodes
    this.#rest = new Float64Array(pieces.length + 1)
    for (let i = pieces.length - 1; i >= 0; i--) this.#rest[i] = this.#rest[i + 1] + division.pieces[pieces[i]].cost
    this.#mayBeWithOwner = pieces.map((p) => like.at[p] === -1 || like.isWithOwner(p, like.at[p]))
  }

  /** Partial divisions that were looked at. */
  get nodes(): number {
    return this.#nodes
  }

  /** Puts the pieces where the longest stage of these machines is shorter than `bound`, the shortest that is found. False: all is as it was. */
  isShorterThan(bound: number): boolean {
    const division = this.#division
    const before = this.#pieces.map((p) => division.at[p])
    for (const p of this.#pieces) if (division.at[p] !== -1) division.take(p)
    this.#bound = bound * (1 - ALMOST)
    this.#visit(0, 0)
    const after = this.#best ?? before
    this.#pieces.forEach((p, i) => after[i] !== -1 && division.put(p, after[i]))
    return this.#best !== undefined
  }

  #visit(i: number, longest: number): void {
    if (i === this.#pieces.length) {
      this.#best = Int32Array.from(this.#pieces, (p) => this.#division.at[p])
      this.#bound = longest * (1 - ALMOST)
      return
    }
    if (++this.#nodes > this.#maxNodes || this.#room() <= this.#rest[i]) return
    const division = this.#division
    const p = this.#pieces[i]
    const { cost } = division.pieces[p]
    for (const { m } of this.#ranked(i)) {
      const time = division.time(m, cost)
      // A division that has been found meanwhile is better.
      if (time >= this.#bound) continue
      division.put(p, m)
      this.#visit(i + 1, Math.max(longest, time))
      division.take(p)
    }
  }

  /** Cost that the machines may still get without a stage of the length that is to be beaten. */
  #room(): number {
    let room = 0
    for (const m of this.#machines) room += Math.max(0, this.#bound * this.#division.machines[m].speed - this.#division.load(m))
    return room
  }

  /** Where the i-th piece may go, the shortest stage first. */
  #ranked(i: number): { readonly m: number; readonly rank: number }[] {
    const division = this.#division
    const p = this.#pieces[i]
    const { cost } = division.pieces[p]
    const ranked: { m: number; rank: number }[] = []
    for (const m of this.#machines) {
      const time = division.time(m, cost)
      if (time >= this.#bound || division.refusal(p, m) !== REFUSAL.none) continue
      const isWithOwner = division.isWithOwner(p, m)
      if (isWithOwner && !this.#mayBeWithOwner[i]) continue
      ranked.push({ m, rank: isWithOwner ? time * SAME_OWNER : time })
    }
    return ranked.sort((a, b) => a.rank - b.rank || a.m - b.m)
  }
}
