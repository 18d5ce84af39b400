/**
 * Whether a host sends far more than its readers can use: pure. Faults explain some of what is refused: what is on its way twice, what was asked for again and came after
 * all, what is of a time before. So it is compared with what was taken and what was asked for. A flood harms nobody's bits; it is told, and decides nothing.
 */

/** So much more than this is no fault: refused messages for each that was taken or asked for, and as many in any case. */
const [MOST_PER_USEFUL, LEAST_REFUSED] = [4, 1_000]

export class FloodWatch {
  /** By PNode: messages since it was heard of first. */
  readonly #senders = new Map<string, { taken: number; refused: number }>()
  /** Messages that were asked for again, from each. */
  #asked = 0

  /** This many messages may come again from each of them. */
  asked(count: number): void {
    this.#asked += count
  }

  /** A message has come. @returns whether there was far too much from there by now */
  heard(pnode: string, isTaken: boolean): boolean {
    const sender = this.#senders.get(pnode) ?? { taken: 0, refused: 0 }
    this.#senders.set(pnode, sender)
    if (isTaken) sender.taken++
    else sender.refused++
    return !isTaken && sender.refused > LEAST_REFUSED + MOST_PER_USEFUL * (sender.taken + this.#asked)
  }
}
