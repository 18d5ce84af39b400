/** Asks the placement service where VNodes of a run should be, and says it plainly when only other kinds of PNodes are there. */
import type { ActorContext } from '../runtime/actor-system/actor-system.js'
import { SwarmError, isSwarmError } from '../runtime/errors.js'
import type { Head } from '../runtime/head.js'
import { Timetable } from '../runtime/timetable.js'
import { SOURCE } from '../components/definition.js'
import { demandOf, demandOfSource } from './assignment.js'
import type { Look } from './balance.js'
import type { Decision, Demand } from './calls.js'
import { askPlaces, listMembers } from './parts.js'
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
 * @throws `placement.no-pnode` (retryable)
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
  return askPlaces(context, request, head.writer)
}

/** Places everything, on PNodes of one compute class: that of the checkpoint to go on from, or whichever is best. @throws `placement.no-pnode` (retryable) */
export async function placeAll(
  context: ActorContext,
  run: PlacingRun,
): Promise<{ readonly decisions: readonly Decision[]; readonly computeClass: string | undefined }> {
  const ids = run.definition.network.vnodes.map(({ id }) => id)
  const decisions = await placeVNodes(context, run, [SOURCE, ...ids], [], true)
  return { decisions, computeClass: decisions.find(({ vnode }) => vnode === ids[0])?.computeClass }
}

/**
 * Places what a PNode has lost. One that lost its worker has to warm another, one that was killed may be back already: better somebody else, if
 * there is somebody. @throws `placement.no-pnode` (retryable)
 */
export async function placeElsewhere(
  context: ActorContext,
  run: PlacingRun,
  ids: readonly string[],
  pnode: string,
): Promise<readonly Decision[]> {
  try {
    return await placeVNodes(context, run, ids, [pnode], false)
  } catch (error) {
    if (!isSwarmError(error, 'placement.no-pnode')) throw error
    return placeVNodes(context, run, ids, [], false)
  }
}

/** Why a run cannot begin, if that is plainer than `error`: only PNodes of another compute class are there. */
export async function plainly(context: ActorContext, { computeClass }: PlacingRun, error: unknown): Promise<unknown> {
  if (!computeClass || !isSwarmError(error, 'placement.no-pnode')) return error
  const members = await listMembers(context)
  const ready = members.filter(({ state }) => state === 'ready').map((member) => member.computeClass)
  if (ready.length === 0 || ready.includes(computeClass)) return error
  const fix = 'Resume it with the version and backend that it was started with'
  return new SwarmError('checkpoint.class', { what: 'checkpoint of another compute class', expected: computeClass, got: ready[0], fix })
}

export function demandsOf(definition: RunDefinition): Demand[] {
  const { network, training } = definition
  return [demandOfSource(definition), ...network.vnodes.map((vnode) => demandOf(vnode, training))]
}

/** Whether a VNode could go anywhere but to `pnode` now. */
export function hasOther(context: ActorContext, run: PlacingRun, vnode: string, pnode: string): Promise<boolean> {
  return placeVNodes(context, run, [vnode], [pnode], false).then(
    () => true,
    (error: unknown) => !isSwarmError(error, 'placement.no-pnode'),
  )
}

/** What there is to see of the PNodes of a run that is as far as `step`. @param spent since the last look */
export async function lookAt(
  context: ActorContext,
  { definition, head, computeClass }: PlacingRun,
  { step, spent }: { readonly step: number } & Pick<Look, 'spent'>,
): Promise<Look> {
  const members = await listMembers(context)
  const { run, directory } = head
  const [demands, code, nowMs] = [demandsOf(definition), definition.bundles, context.clock.now()]
  const stepsLeft = new Timetable(definition.timetable).totalSteps - step
  return { run, nowMs, members, demands, directory, spent, code, stepsLeft, ...(computeClass && { computeClass }) }
}
