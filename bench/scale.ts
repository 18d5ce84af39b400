/** Four VNodes of equal cost on two PNodes against one, on two cores. */
import { measure, ratio, type Report } from './measure.js'

const PAIRS = 5

export async function scale(): Promise<Report> {
  const two: number[] = []
  const one: number[] = []
  for (let pair = 0; pair < PAIRS; pair++) {
    two.push((await measure('scale-runtime', '2')).samplesPerSecond)
    one.push((await measure('scale-runtime', '1')).samplesPerSecond)
  }
  const twoOverOne = ratio(two, one)
  return { figures: { samplesPerSecond: { two, one }, twoOverOne }, bars: [{ name: 'twoOverOne', value: twoOverOne.median, atLeast: 1.8 }] }
}
