/** `swarmgrad explain`: the last decision about a VNode, with what was weighed; or why there is none. */
import type { RunEvent } from '../../actors/events.js'
import { readDefinition } from '../../actors/run/run-definition.js'
import { vnodeOf } from '../../runtime/followers.js'
import { suggest } from '../../components/suggest.js'
import { SwarmError } from '../../runtime/errors.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace } from '../place.js'
import { lastEvent } from '../read-run.js'
import { findRun } from '../run-list.js'
import { candidateTable } from '../view/candidates.js'
import { dateAndTime } from '../view/format.js'

type Placed = RunEvent & { type: 'placed' }
type Waiting = RunEvent & { type: 'waiting' }

export async function explain(context: CommandContext, vnode: string): Promise<ExitStatus> {
  const { output, settings } = context
  const place = await openPlace(context)
  const { store } = place
  const run = await findRun(place, settings.run ?? 'latest')
  const { network } = await readDefinition(store, run)
  const ids = network.vnodes.map(({ id }) => id)
  if (!ids.includes(vnodeOf(vnode))) {
    throw new SwarmError('usage', { what: `run ${run} has no VNode '${vnode}'`, expected: ids.join(', '), fix: suggest(vnode, ids) })
  }
  const concerns = (event: RunEvent): event is Placed | Waiting =>
    event.type === 'placed' ? event.vnode === vnode : event.type === 'waiting' && event.vnodes.includes(vnode)
  const last = await lastEvent(store, run, concerns)
  if (!last) throw new SwarmError('run.changed', { what: `VNode ${vnode} of run ${run} has not been placed yet` })
  output.record({ ...last })
  const { style } = output
  const { reason, atMs } = last
  if (last.type === 'waiting') {
    output.result(`${style.bold(vnode)} of ${run} waits since ${dateAndTime(atMs)}: ${reason}`)
    return EXIT.done
  }
  const { pnode, term, candidates } = last
  output.result(`${style.bold(vnode)} of ${run} is on ${style.bold(pnode)} since ${dateAndTime(atMs)} (term ${term}): ${reason}\n`)
  output.result(candidateTable(candidates, pnode, style))
  return EXIT.done
}
