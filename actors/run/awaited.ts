/** Whose words a run waits for that stands still, and what they would be about. */
import type { NetworkDefinition } from '../../components/definition.js'
import type { Head } from '../../runtime/head.js'
import type { Timetable } from '../../runtime/timetable.js'
import type { Evaluations } from './evaluations.js'
import type { OpenCuts } from './open-cuts.js'
import type { Reviews } from '../checks/reviews.js'

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
  readonly head: Pick<Head, 'manifests' | 'audits'>
  readonly cuts: Pick<OpenCuts, 'missingAt' | 'newestStep'>
  readonly reviews: Pick<Reviews, 'newestStep' | 'isOn'>
  readonly evaluations: Pick<Evaluations, 'missing' | 'firstMissing'>
}

/** Undefined: nobody's. Of cuts the newest one that anybody knows of; one of which nobody does is everybody's. */
export function awaitedOf({ network, timetable, head, cuts, reviews, evaluations }: AwaitingRun): Awaited | undefined {
  // While audits hold it up the run waits for nobody else.
  if (head.audits) return undefined
  const [manifest] = head.manifests
  const cut = Math.max(cuts.newestStep, reviews.newestStep)
  const from = manifest?.step ?? 0
  // The last one is waited for in any case; others by the checkpoints behind them.
  const evaluation = from === timetable.totalSteps ? from : reviews.isOn ? evaluations.firstMissing(from, cut) : undefined
  const late = evaluation === undefined ? [] : evaluations.missing(evaluation)
  const [step, missing] = late.length > 0 ? [evaluation, late] : [cut, from === timetable.totalSteps ? [] : cuts.missingAt(cut)]
  const vnodes = network.vnodes.map(({ id }) => id).filter((id) => missing.includes(id))
  if (vnodes.length === 0) return undefined
  const what = `${late.length > 0 ? 'the evaluation' : 'the cut'} after step ${step}`
  return { what, vnodes, producers: network.vnodes.find(({ id }) => id === vnodes[0])!.inputs }
}
