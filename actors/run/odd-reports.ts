/** Reports that no honest host sends: they are dropped and counted, whoever sent them. What is kept of reports is bounded by this; pure. */
import { isDeepStrictEqual } from 'node:util'
import type { Manifest } from '../../runtime/head.js'
import type { Timetable } from '../../runtime/timetable.js'
import type { Roots } from '../../runtime/log-root.js'
import { vnodeOf } from '../../runtime/followers.js'
import type { NetworkDefinition } from '../../components/definition.js'
import type { Claim, Commit, Evaluated, Failure } from '../reports.js'

/** What there can be reports of. */
export interface Reach {
  readonly network: Pick<NetworkDefinition, 'vnodes'>
  readonly timetable: Timetable
  /** The newest one. */
  readonly manifest: Pick<Manifest, 'position'> | undefined
  /** How far anybody can be ahead of it, in positions. Default: any number. */
  readonly maxAhead: number | undefined
}

/**
 * Whether these are roots of a VNode, or a follower: of all that it reads and gives, and of nothing else. What has more in it could be compared with nobody's.
 */
export function areRootsOf({ vnodes }: Pick<NetworkDefinition, 'vnodes'>, id: string, { inputs, feedback, given, due }: Roots): boolean {
  // The source reads nothing.
  const { inputs: producers = [], feedback: { from = [], to = [] } = {} } = vnodes.find((vnode) => vnode.id === vnodeOf(id)) ?? {}
  const areOf = (names: readonly string[], roots: object) => isDeepStrictEqual(new Set(Object.keys(roots)), new Set(names))
  const doesGive = given !== undefined && due !== undefined
  const isSilent = given === undefined && due === undefined
  return areOf(producers, inputs) && areOf(from, feedback ?? {}) && (to.length > 0 ? doesGive : isSilent)
}

/** A cut is behind a step of the timetable, at its place, and no further ahead than the source runs. */
export function isOddCut(
  { step, position }: Pick<Commit, 'step' | 'position'>,
  { timetable, manifest, maxAhead = Infinity }: Reach,
): boolean {
  if (step < 1 || step > timetable.totalSteps || position !== timetable.positionOf(step)) return true
  return position > (manifest?.position ?? 0) + maxAhead
}

/** A state that others could not go on from, or that cannot be compared. @param computeClass of the run */
export function isOddCommit(
  commit: Pick<Commit, 'vnode' | 'step' | 'position' | 'computeClass' | 'roots'>,
  reach: Reach,
  { computeClass, isReviewed }: { readonly computeClass: string | undefined; readonly isReviewed: boolean },
): boolean {
  const isOfAnotherClass = computeClass !== undefined && commit.computeClass !== computeClass
  return isOddCut(commit, reach) || isOfAnotherClass || (isReviewed && !hasItsRoots(commit, reach))
}

/** A claim is compared with others, or it is nothing. */
export const isOddClaim = (claim: Claim, reach: Reach): boolean => isOddCut(claim, reach) || !hasItsRoots(claim, reach)

const hasItsRoots = ({ vnode, roots }: Pick<Commit, 'vnode' | 'roots'>, { network }: Reach): boolean =>
  roots !== undefined && areRootsOf(network, vnode, roots)

/** An evaluation of which the timetable knows nothing, or that cannot be compared. */
export function isOddEvaluation(
  result: Pick<Evaluated, 'vnode' | 'step' | 'position' | 'roots'>,
  reach: Reach,
  { isReviewed }: { readonly isReviewed: boolean },
): boolean {
  const { step, position } = result
  const { timetable, manifest, maxAhead = Infinity } = reach
  const batches = step > timetable.totalSteps ? 0 : timetable.evaluationsAfter(step)
  if (batches === 0) return true
  if (!isReviewed) return false
  if (position !== timetable.positionOf(step) + batches || position > (manifest?.position ?? 0) + maxAhead) return true
  return !hasItsRoots(result, reach)
}

/** A failure at an entry that is not in the timetable, or where nobody can be. */
export function isOddFailure({ entry }: Pick<Failure, 'entry'>, { timetable, manifest, maxAhead = Infinity }: Reach): boolean {
  if (!entry) return false
  const { position, step, evaluation } = entry
  const newest = manifest?.position ?? 0
  if (position <= newest || position > Math.min(timetable.totalPositions, newest + maxAhead)) return true
  const right = timetable.at(position)
  return right.step !== step || right.evaluation !== evaluation
}
