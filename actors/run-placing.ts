/** Asks the placement service where VNodes of a run should be, and says it plainly when only other kinds of PNodes are there. */
import type { ActorContext } from '../runtime/actor-system/actor-system.js'
import { SwarmError, isSwarmError } from '../runtime/errors.js'
import type { Head } from '../runtime/head.js'
import { SOURCE } from '../components/definition.js'
import { demandOf, demandOfSource } from './assignment.js'
import type { Decision, Demand } from './calls.js'
import { askPlaces, listMembers } from './parts.js'
import { worthMoving } from './rebalance.js'
import type { RunDefinition } from './run-definition.js'

export interface PlacingRun {
  readonly definition: RunDefinition
  readonly head: Head
  /** Of its newest checkpoint: whoever goes on has to be of the same. */
  readonly computeClass: string | undefined
}

/**
 * Places `ids`, anywhere but on `avoid`; everything else stays where it is, unless `isAll`.
 * @throws `placement.no-pnode` (retryable), `checkpoint.class`
 */
export async function placeVNodes(
  context: ActorContext,
  { definition, head, computeClass }: PlacingRun,
  ids: readonly string[],
  avoid: readonly string[],
  isAll: boolean,
): Promise<readonly Decision[]> {
  const { network } = definition
  const staying = isAll
    ? {}
    : Object.fromEntries(
        [SOURCE, ...network.vnodes.map(({ id }) => id)].filter((id) => !ids.includes(id)).map((id) => [id, head.directory[id].pnode]),
      )
  const demands = demandsOf(definition)
  const request = { run: head.run, demands, staying, avoid, code: definition.bundles, ...(computeClass && { computeClass }) }
  try {
    return await askPlaces(context, request, head.writer)
  } catch (error) {
    if (!computeClass || !isSwarmError(error, 'placement.no-pnode')) throw error
    const members = await listMembers(context)
    const ready = members.filter(({ state }) => state === 'ready').map((member) => member.computeClass)
    if (ready.length === 0 || ready.includes(computeClass)) throw error
    const fix = 'Resume it with the version and backend that it was started with'
    throw new SwarmError('checkpoint.class', { what: 'checkpoint of another compute class', expected: computeClass, got: ready[0], fix })
  }
}

function demandsOf(definition: RunDefinition): Demand[] {
  const { network, training } = definition
  return [demandOfSource(definition), ...network.vnodes.map((vnode) => demandOf(vnode, training.batchSize))]
}

/** VNodes that a newcomer should take over at the next checkpoint, and would be given. */
export async function dueToNewcomer(context: ActorContext, run: PlacingRun, newcomer: string): Promise<string[]> {
  const members = await listMembers(context)
  const ids = worthMoving(newcomer, members, demandsOf(run.definition), run.head.directory)
  if (ids.length === 0) return []
  const from = [...new Set(ids.map((id) => run.head.directory[id].pnode))]
  const decisions = await placeVNodes(context, run, ids, from, false)
  return decisions.filter(({ pnode }) => pnode === newcomer).map(({ vnode }) => vnode)
}
