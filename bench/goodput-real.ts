/** Goodput on real PNodes under a part of the trace, scaled down: figures as they come. */
import { measure, type Report } from './measure.js'

/** So many times as fast as it was: the trace's minutes become less than a second. */
const FASTER = 200

interface Real {
  readonly seconds: number
  readonly steps: number
  readonly vnodeSteps: number
  readonly undisturbed: { readonly [pnodes: string]: number }
}

/** @param hours of the trace. Default: all of it */
export async function goodputReal(hours = 12): Promise<Report> {
  const real = (await measure('goodput-real', String(FASTER), String(hours))) as unknown as Real
  const { seconds, steps, undisturbed } = real
  // The workers share this machine's cores: more of them are not faster, and the best of the undisturbed rates is what there is.
  const possible = Math.max(...Object.values(undisturbed))
  return { figures: { faster: FASTER, ...real, stepsPerSecond: steps / seconds, goodput: steps / seconds / possible }, bars: [] }
}
