/** What was weighed for a VNode, as a table: the best first, then those that could not have it. */
import type { ChalkInstance } from 'chalk'
import type { Candidate } from '../../actors/events.js'
import { table } from './table.js'

export function candidateTable(candidates: readonly Candidate[], chosen: string, style: ChalkInstance): string {
  const ordered = candidates.toSorted((a, b) => (a.score ?? Infinity) - (b.score ?? Infinity))
  const rows = ordered.map(({ pnode, more, score, reason }) => [
    pnode === chosen ? style.green('✔') : '',
    more === undefined ? pnode : `${pnode} and ${more} more`,
    score === undefined ? '–' : score.toFixed(2),
    reason,
  ])
  return table([{ title: '' }, { title: 'PNode' }, { title: 'score', align: 'right' }, { title: 'reason' }], rows, style)
}
