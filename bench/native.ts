/** A local step (`pred`, 784-3×1024-10, batch 128, Adam) on TensorFlow in the runtime, one thread each, against `fit` on tfjs-node and against what its matrix product can do. */
import { measure, ratio, type Report } from './measure.js'

const PAIRS = 5
/** Multiply-adds of one sample: forward and derivative by the weights of three layers; forward and both derivatives of three heads. */
const MULTIPLY_ADDS = 2 * (784 * 1024 + 2 * 1024 * 1024) + 3 * 3 * (1024 * 10)

/** Samples per second of each, in turn, five times. */
export async function native(): Promise<Report> {
  const rates: { [name: string]: number[] } = { runtime: [], bare: [], fit: [], wasm: [] }
  const peaks: number[] = []
  for (let pair = 0; pair < PAIRS; pair++) {
    rates.runtime.push((await measure('step-runtime', 'native')).samplesPerSecond)
    rates.fit.push((await measure('native-fit')).samplesPerSecond)
    peaks.push((await measure('native-peak')).gflops)
    rates.bare.push((await measure('step-bare', 'native')).samplesPerSecond)
    rates.wasm.push((await measure('step-runtime', 'wasm')).samplesPerSecond)
  }
  const gflops = (each: readonly number[]) => each.map((rate) => (2 * MULTIPLY_ADDS * rate) / 1e9)
  const overFit = ratio(rates.runtime, rates.fit)
  const overPeak = ratio(gflops(rates.runtime), peaks)
  const overWasm = ratio(rates.runtime, rates.wasm)
  const overBareLoop = ratio(rates.runtime, rates.bare)
  return {
    figures: { samplesPerSecond: rates, peakGflops: peaks, overFit, overPeak, overWasm, overBareLoop },
    bars: [
      { name: 'overFit', value: overFit.median, atLeast: 1.5 },
      { name: 'overPeak', value: overPeak.median, atLeast: 0.5 },
    ],
  }
}
