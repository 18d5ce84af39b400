/** Asks the placement service where VNodes of a run should be, and says it plainly when only other kinds of PNodes are there. */
import type { ActorContext } from '../runtime/actor-system/actor-system.js'
import { SwarmError, isSwarmError } from '../runtime/errors.js'
import type { Head } from '../runtime/head.js'
import { Timetable } from '../runtime/timetable.js'
import { SOURCE } from '../components/definition.js'
import { actor, call, type Decision, type Demand } from './calls.js'
import { demandOf, demandOfSource } from './placement.js'
import type { Look } from './balance.js'
import type { RunDefinition } from './run-definition.js'

export interface PlacingRun {
  readonly definition: RunDefinition
  readonly head: Head
  /** Of its newest checkpoint: whoever goes on has to be of the same. */
  readonly computeClass: string | undefined
}

/**
 * Places `ids`, anywhere but on `avoid`; everything else stays where it is, unless `isAll`.
 * @param at vnode → pnode: there, if it may
 * @throws `placement.no-pnode` (retryable), `checkpoint.class`
 */
export async function placeVNodes(
  context: ActorContext,
  { definition, head, computeClass }: PlacingRun,
  ids: readonly string[],
  avoid: readonly string[],
  isAll: boolean,
  at: ReadonlyMap<string, string> = new Map(),
): Promise<readonly Decision[]> {
  const { network } = definition
  const staying = isAll
    ? {}
    : Object.fromEntries(
        [SOURCE, ...network.vnodes.map(({ id }) => id)].filter((id) => !ids.includes(id)).map((id) => [id, head.directory[id].pnode]),
      )
  const demands = demandsOf(definition).map((demand) => (at.has(demand.vnode) ? { ...demand, at: at.get(demand.vnode) } : demand))
  const request = { run: head.run, demands, staying, avoid, code: definition.bundles, ...(computeClass && { computeClass }) }
  try {
    return await call<'Placement', 'place'>(context, actor.placement, 'place', request)
  } catch (error) {
    if (!computeClass || !isSwarmError(error, 'placement.no-pnode')) throw error
    const members = await call<'Placement', 'list'>(context, actor.placement, 'list', null)
    const ready = members.filter(({ state }) => state === 'ready').map((member) => member.computeClass)
    if (ready.length === 0 || ready.includes(computeClass)) throw error
    const fix = 'Resume it with the version and backend that it was started with'
    throw new SwarmError('checkpoint.class', { what: 'checkpoint of another compute class', expected: computeClass, got: ready[0], fix })
  }
}

export function demandsOf(definition: RunDefinition): Demand[] {
  const { network, training } = definition
  return [demandOfSource(definition), ...network.vnodes.map((vnode) => demandOf(vnode, training.batchSize))]
}

/** What there is to see of the PNodes of a run that is as far as `step`. @param spent since the last look */
export async function lookAt(
  context: ActorContext,
  { definition, head, computeClass }: PlacingRun,
  { step, spent }: { readonly step: number } & Pick<Look, 'spent'>,
): Promise<Look> {
  const members = await call<'Placement', 'list'>(context, actor.placement, 'list', null)
  const { run, directory } = head
  const [demands, code, nowMs] = [demandsOf(definition), definition.bundles, context.clock.now()]
  const stepsLeft = new Timetable(definition.timetable).totalSteps - step
  return { run, nowMs, members, demands, directory, spent, code, stepsLeft, ...(computeClass && { computeClass }) }
}
