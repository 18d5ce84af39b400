/** Brings pieces to the machine of the one that they read, where that costs no stage anything: what is sent there needs no network. */
import { type Division, REFUSAL } from './division.js'

/** Times that every piece is looked at. */
const MAX_ROUNDS = 3

/** Where a piece would like to be: with another piece, on a machine, or anywhere. */
export type Wish = { readonly piece: number } | { readonly machine: number } | undefined

/** What costs nothing moves there; others change places with one of equal cost, if more have what they wish afterwards. */
export function bringTogether(division: Division, wishes: readonly Wish[]): void {
  const fans = division.pieces.map((): number[] => [])
  wishes.forEach((wish, p) => {
    if (wish && 'piece' in wish && wish.piece !== p) fans[wish.piece].push(p)
  })
  const wanted = (p: number): number => {
    const wish = wishes[p]
    if (!wish) return -1
    return 'machine' in wish ? wish.machine : division.at[wish.piece]
  }
  const granted = (concerned: ReadonlySet<number>) => [...concerned].filter((p) => wanted(p) === division.at[p]).length
  const exchange = (p: number, q: number): void => {
    const [a, b] = [division.at[p], division.at[q]]
    division.take(p)
    division.take(q)
    division.put(p, b)
    division.put(q, a)
  }
  const mayExchange = (p: number, q: number): boolean => {
    const [a, b] = [division.at[p], division.at[q]]
    const isEqual = division.pieces[p].cost === division.pieces[q].cost && division.isAsGood(p, b) && division.isAsGood(q, a)
    if (!isEqual) return false
    division.take(p)
    division.take(q)
    const fits = division.refusal(p, b) === REFUSAL.none && division.refusal(q, a) === REFUSAL.none
    division.put(p, a)
    division.put(q, b)
    return fits
  }
  const gainOf = (p: number, q: number): number => {
    const concerned = new Set([p, q, ...fans[p], ...fans[q]])
    const before = granted(concerned)
    exchange(p, q)
    const gain = granted(concerned) - before
    exchange(p, q)
    return gain
  }
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let isChanged = false
    for (let p = 0; p < division.pieces.length; p++) {
      const m = wanted(p)
      if (m === -1 || m === division.at[p]) continue
      if (division.pieces[p].cost === 0) {
        if (division.refusal(p, m) !== REFUSAL.none || !division.isAsGood(p, m)) continue
        division.take(p)
        division.put(p, m)
        isChanged = true
        continue
      }
      let [other, most] = [-1, 0]
      for (const q of division.on(m).slice()) {
        const gain = mayExchange(p, q) ? gainOf(p, q) : 0
        if (gain > most) [other, most] = [q, gain]
      }
      if (other === -1) continue
      exchange(p, other)
      isChanged = true
    }
    if (!isChanged) return
  }
}
