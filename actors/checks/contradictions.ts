/**
 * PNodes of which one says that it was sent what the other says it has not put out, or something else than the other of one segment. One of two lies, and nobody else
 * knows which: so neither is convicted, but at least one of them gets nothing more of the run, or both are looked at more closely. Two that are honest never contradict each other; therefore whoever is contradicted by most is the likeliest, and who was
 * only paired with it is free again. So many rollbacks as there are pairs with a liar are the most that can be had by it. Pure.
 */
export class Contradictions {
  /** In the order in which they came, who says it first. */
  readonly #pairs: (readonly [string, string])[] = []

  /** @param says that it was misfed @returns whether they had not contradicted each other before */
  add(says: string, other: string): boolean {
    const isNew = this.#pairs.every((pair) => !(pair.includes(says) && pair.includes(other)))
    if (isNew) this.#pairs.push([says, other])
    return isNew
  }

  /** All of them, but for who has contradicted nobody but those whose lies are known. */
  partiesBeside(convicted: readonly string[]): ReadonlySet<string> {
    // Of a pair of one the other is not known: it may be any of those.
    const isKnown = ([a, b]: readonly [string, string]) => (a === b ? convicted.length > 0 : convicted.includes(a) || convicted.includes(b))
    return new Set(this.#pairs.filter((pair) => !isKnown(pair)).flat())
  }

  /** Without them nobody contradicts anybody: in turn who has part in most of what is left, of equals who said so first. */
  get suspects(): string[] {
    const suspects: string[] = []
    for (let left = [...this.#pairs]; left.length > 0; left = left.filter((pair) => !pair.includes(suspects.at(-1)!))) {
      const timesOf = (pnode: string) => left.filter((pair) => pair.includes(pnode)).length
      const [worst] = [...new Set(left.flat())].toSorted((a, b) => timesOf(b) - timesOf(a))
      suspects.push(worst)
    }
    return suspects.toSorted()
  }
}
