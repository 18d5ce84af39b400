/**
 * What a VNode was asked: to stand still behind its next cut, since it is about to move, or to go on. Word may come late and in another order than
 * it was sent, so each carries the last term of the run at that time: what is older than the newest word to go on asks for nothing.
 */
export class Standing {
  #heldAsOf = 0
  #releasedAsOf: number
  /** Where it stands, and as of when it was asked to. */
  #stood: { readonly at?: number; readonly asOf: number } = { asOf: 0 }

  /** @param term of its owner: whoever asks this one knows of it */
  constructor(term: number) {
    this.#releasedAsOf = term
  }

  /** It has another term, on the same PNode. */
  promoted(term: number): void {
    this.#releasedAsOf = Math.max(this.#releasedAsOf, term)
  }

  /** Asked to stand still. @returns whether that is news */
  hold(asOf: number): boolean {
    if (asOf < this.#releasedAsOf) return false
    this.#heldAsOf = Math.max(this.#heldAsOf, asOf)
    return true
  }

  /** Told to go on. @returns what its log is to hear: perhaps that it stands still at a later cut, since it was asked to after that */
  release(asOf: number): readonly ('release' | 'hold')[] {
    this.#releasedAsOf = Math.max(this.#releasedAsOf, asOf)
    const since = this.#stood.at === undefined ? this.#heldAsOf : this.#stood.asOf
    if (since >= this.#releasedAsOf) return []
    return this.#heldAsOf >= this.#releasedAsOf ? ['release', 'hold'] : ['release']
  }

  /** Where its log stands still now, if it does. */
  saw(at: number | undefined): void {
    if (at !== this.#stood.at) this.#stood = { at, asOf: this.#heldAsOf }
  }

  /** As of when it was asked to stand where it stands. */
  get asOf(): number {
    return this.#stood.asOf
  }
}
