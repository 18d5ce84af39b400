/** Whose words a run waits for that stands still, and what they would be about. */
import type { NetworkDefinition } from '../../components/definition.js'
import type { Manifest } from '../../runtime/head.js'
import type { Timetable } from '../../runtime/timetable.js'
import type { Evaluations } from './evaluations.js'
import type { OpenCuts } from './open-cuts.js'
import type { Reviews } from './reviews.js'

export interface Awaited {
  /** `the cut after step 20` */
  readonly what: string
  /** They have not said it, in graph order. */
  readonly vnodes: readonly string[]
  /** What the first of them reads: it may be that it was not told what to do. */
  readonly producers: readonly string[]
}

export interface AwaitingRun {
  readonly network: Pick<NetworkDefinition, 'vnodes'>
  readonly timetable: Timetable
  readonly manifest: Pick<Manifest, 'step'> | undefined
  readonly cuts: Pick<OpenCuts, 'missingAt' | 'newestStep'>
  readonly reviews: Pick<Reviews, 'newestStep'>
  readonly evaluations: Pick<Evaluations, 'missing'>
}

/** Undefined: nobody's. Of cuts the newest one that anybody knows of; one of which nobody does is everybody's. */
export function awaitedOf({ network, timetable, manifest, cuts, reviews, evaluations }: AwaitingRun): Awaited | undefined {
  const isLast = manifest?.step === timetable.totalSteps
  const step = isLast ? manifest.step : Math.max(cuts.newestStep, reviews.newestStep)
  const missing = isLast ? evaluations.missing(step) : cuts.missingAt(step)
  const vnodes = network.vnodes.map(({ id }) => id).filter((id) => missing.includes(id))
  if (vnodes.length === 0) return undefined
  const what = `${isLast ? 'the evaluation' : 'the cut'} after step ${step}`
  return { what, vnodes, producers: network.vnodes.find(({ id }) => id === vnodes[0])!.inputs }
}
