/** Reports that no honest host sends: they are dropped and counted, whoever sent them. What is kept of reports is bounded by this; pure. */
import type { Manifest } from '../../runtime/head.js'
import type { Timetable } from '../../runtime/timetable.js'
import type { Commit, Evaluated, Failure } from '../reports.js'

/** What there can be reports of. */
export interface Reach {
  readonly timetable: Timetable
  /** The newest one. */
  readonly manifest: Pick<Manifest, 'position'> | undefined
  /** How far anybody can be ahead of it, in positions. */
  readonly maxAhead: number
}

/** A cut is behind a step of the timetable, at its place, and no further ahead than the source runs. */
export function isOddCut({ step, position }: Pick<Commit, 'step' | 'position'>, { timetable, manifest, maxAhead }: Reach): boolean {
  if (step < 1 || step > timetable.totalSteps || position !== timetable.positionOf(step)) return true
  return position > (manifest?.position ?? 0) + maxAhead
}

/** A state that others could not go on from, or that cannot be compared. @param computeClass of the run */
export function isOddCommit(
  commit: Pick<Commit, 'step' | 'position' | 'computeClass' | 'roots'>,
  reach: Reach,
  { computeClass, isReviewed }: { readonly computeClass: string | undefined; readonly isReviewed: boolean },
): boolean {
  const isOfAnotherClass = computeClass !== undefined && commit.computeClass !== computeClass
  return isOddCut(commit, reach) || isOfAnotherClass || (isReviewed && !commit.roots)
}

/** An evaluation of which the timetable knows nothing, or that cannot be compared. */
export function isOddEvaluation(
  { step, position, roots }: Pick<Evaluated, 'step' | 'position' | 'roots'>,
  { timetable, manifest, maxAhead }: Reach,
  { isReviewed }: { readonly isReviewed: boolean },
): boolean {
  const batches = step > timetable.totalSteps ? 0 : timetable.evaluationsAfter(step)
  if (batches === 0) return true
  if (!isReviewed) return false
  return !roots || position !== timetable.positionOf(step) + batches || position > (manifest?.position ?? 0) + maxAhead
}

/** A failure at an entry that is not in the timetable, or where nobody can be. */
export function isOddFailure({ entry }: Pick<Failure, 'entry'>, { timetable, manifest, maxAhead }: Reach): boolean {
  if (!entry) return false
  const { position, step, evaluation } = entry
  const newest = manifest?.position ?? 0
  if (position <= newest || position > Math.min(timetable.totalPositions, newest + maxAhead)) return true
  const right = timetable.at(position)
  return right.step !== step || right.evaluation !== evaluation
}
