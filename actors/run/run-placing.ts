/** Asks the placement service where VNodes of a run should be, and says it plainly when only other kinds of PNodes are there. */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { followersIn, vnodeOf } from '../../runtime/followers.js'
import type { Head } from '../../runtime/head.js'
import { Timetable } from '../../runtime/timetable.js'
import { SOURCE } from '../../components/definition.js'
import { demandOf, demandOfSource } from '../placement/assignment.js'
import type { Look } from './balance.js'
import { constrained, type Constraints } from './constraints.js'
import type { Decision, Demand } from '../calls.js'
import { askPlaces, listMembers } from '../placement/parts.js'
import type { RunDefinition } from './run-definition.js'
import type { Trust } from '../trust/trust.js'

export interface PlacingRun {
  readonly definition: RunDefinition
  readonly constraints?: Constraints
  readonly head: Head
  /** Of its newest checkpoint: whoever goes on has to be of the same. */
  readonly computeClass: string | undefined
  /** It has nothing anywhere, and waits where there is no room. */
  readonly isBeginning?: boolean
  /** PNodes that get nothing as long as there is another. */
  readonly shunned?: readonly string[]
  /** PNodes that get nothing, whoever else there is. */
  readonly suspects?: readonly string[]
  /** Absent: whoever was trusted when it got something still is. */
  readonly trust?: Trust
}

/**
 * Places `ids`, anywhere but on `avoid`; everything else stays where it is, unless `isAll`. Followers make room where there is no other.
 * @param at vnode → pnode: there, if it may
 * @throws `placement.no-pnode` (retryable)
 */
export async function placeVNodes(
  context: ActorContext,
  run: PlacingRun,
  ids: readonly string[],
  avoid: readonly string[],
  isAll: boolean,
  at: ReadonlyMap<string, string> = new Map(),
): Promise<readonly Decision[]> {
  const attempts = [run, ...apart(run, isAll)].map((each) => () => placeTogether(context, each, { ids, avoid, isAll, at }))
  return firstThatFits(attempts)
}

/** Groups apart: better than nowhere. */
function apart(run: PlacingRun, isAll: boolean): PlacingRun[] {
  const { constraints } = run
  return isAll || !constraints?.together ? [] : [{ ...run, constraints: { ...constraints, together: [] } }]
}

/** As `placeVNodes`, with groups kept. */
function placeTogether(context: ActorContext, run: PlacingRun, asking: Omit<Asking, 'followers'>): Promise<readonly Decision[]> {
  const followers = asking.isAll ? [] : followersIn(run.head)
  const { shunned = [] } = run
  return firstThatFits(
    [...(shunned.length > 0 ? [[...asking.avoid, ...shunned]] : []), asking.avoid].flatMap((avoid) => [
      () => ask(context, run, { ...asking, avoid, followers }),
      ...(followers.length > 0 ? [() => placeOverFollowers(context, run, { ...asking, avoid, followers })] : []),
    ]),
  )
}

async function firstThatFits([attempt, ...others]: readonly (() => Promise<readonly Decision[]>)[]): Promise<readonly Decision[]> {
  try {
    return await attempt()
  } catch (error) {
    if (others.length === 0 || !isSwarmError(error, 'placement.no-pnode')) throw error
    return firstThatFits(others)
  }
}

/** As `ask`, where followers make room. */
async function placeOverFollowers(context: ActorContext, run: PlacingRun, asking: Asking): Promise<readonly Decision[]> {
  const { directory } = run.head
  const decisions = await ask(context, run, { ...asking, followers: [] })
  return decisions.map((decision) => ({ ...decision, displaces: asking.followers.filter((id) => directory[id].pnode === decision.pnode) }))
}

/**
 * Places followers, apart from whom they follow.
 * @param at follower → pnode: there, if it may
 * @returns undefined: there is no room for all of them
 */
export async function placeFollowers(
  context: ActorContext,
  run: PlacingRun,
  ids: readonly string[],
  at: ReadonlyMap<string, string> = new Map(),
): Promise<readonly Decision[] | undefined> {
  const followers = [...new Set([...followersIn(run.head), ...ids])]
  const asking = { ids, avoid: run.shunned ?? [], isAll: false, at, followers }
  try {
    // One by itself is rather apart from the others of its group than nowhere.
    return await firstThatFits([run, ...(ids.length === 1 ? apart(run, false) : [])].map((each) => () => ask(context, each, asking)))
  } catch (error) {
    if (!isSwarmError(error, 'placement.no-pnode')) throw error
    return undefined
  }
}

interface Asking {
  readonly ids: readonly string[]
  readonly avoid: readonly string[]
  readonly isAll: boolean
  readonly at: ReadonlyMap<string, string>
  readonly followers: readonly string[]
}

function ask(
  context: ActorContext,
  { definition, constraints, head, computeClass, isBeginning, suspects = [] }: PlacingRun,
  { ids, avoid, isAll, at, followers }: Asking,
): Promise<readonly Decision[]> {
  const { network } = definition
  const everybody = [SOURCE, ...network.vnodes.map(({ id }) => id), ...followers]
  const stays = isAll ? [] : everybody.filter((id) => !ids.includes(id))
  const staying = Object.fromEntries(stays.map((id) => [id, head.directory[id].pnode]))
  const demands = constrained(demandsOf(definition, followers), constraints).map((demand) =>
    at.has(demand.vnode) ? { ...demand, at: at.get(demand.vnode) } : demand,
  )
  const request = {
    run: head.run,
    demands,
    staying,
    avoid: [...avoid, ...(head.excluded ?? []), ...suspects],
    code: definition.bundles,
    ...(computeClass && { computeClass }),
    ...(isBeginning && { isBeginning }),
  }
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
  const asking = { ids, isAll: false, at: new Map() }
  return firstThatFits(
    [run, ...apart(run, false)].flatMap((each) => [
      () => placeTogether(context, each, { ...asking, avoid: [pnode] }),
      () => placeTogether(context, each, { ...asking, avoid: [] }),
    ]),
  )
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

/** Of the source, the VNodes and these followers: a follower needs what its VNode needs, on another machine. */
export function demandsOf(definition: RunDefinition, followers: readonly string[] = []): Demand[] {
  const { network, training } = definition
  const own = new Map(network.vnodes.map((vnode) => [vnode.id, demandOf(vnode, training)]))
  const areFollowed = new Set(followers.map(vnodeOf))
  const source = demandOfSource(definition)
  // Little, but not nothing: it is given to somebody by itself, and what costs nothing is not weighed.
  const audit = { ...source, cost: 1 }
  return [
    ...[source, ...own.values()].map((demand) => (areFollowed.has(demand.vnode) ? { ...demand, spread: demand.vnode } : demand)),
    ...followers.map((id) => ({ ...(own.get(vnodeOf(id)) ?? audit), vnode: id, near: undefined, spread: vnodeOf(id) })),
  ]
}

/** Whether a VNode could go anywhere but to `pnode` now. */
export function hasOther(context: ActorContext, run: PlacingRun, vnode: string, pnode: string): Promise<boolean> {
  return placeTogether(context, run, { ids: [vnode], avoid: [pnode], isAll: false, at: new Map() }).then(
    () => true,
    (error: unknown) => !isSwarmError(error, 'placement.no-pnode'),
  )
}

/** What there is to see of the PNodes of a run that is as far as `step`. @param seen spent since the last look */
export async function lookAt(
  context: ActorContext,
  { definition, constraints, head, computeClass, shunned = [], suspects = [] }: PlacingRun,
  { step, ...seen }: { readonly step: number } & Pick<Look, 'spent' | 'moving'>,
): Promise<Look> {
  const all = await listMembers(context)
  const members = all.map((member) =>
    [...shunned, ...suspects, ...(head.excluded ?? [])].includes(member.pnode) && member.state === 'ready'
      ? { ...member, state: 'suspect' as const }
      : member,
  )
  const { run, directory } = head
  const demands = constrained(demandsOf(definition, followersIn(head)), constraints)
  const [code, nowMs] = [definition.bundles, context.clock.now()]
  const stepsLeft = new Timetable(definition.timetable).totalSteps - step
  return { run, nowMs, members, demands, directory, ...seen, code, stepsLeft, ...(computeClass && { computeClass }) }
}
