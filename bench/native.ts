/**
 * Local steps (`pred`, batch 128, Adam) on TensorFlow in the runtime, one thread each, against `fit` on tfjs-node: of an MLP, 784-3×1024-10, which is also held
 * against what TensorFlow's matrix product can do, and of a VGG-like conv net.
 */
import { findInstalled } from '../components/native/installed.js'
import { SwarmError } from '../runtime/errors.js'
import { type Figures, measure, ratio, type Report } from './measure.js'

const PAIRS = 5
/** Multiply-adds of one sample of the MLP: forward and derivative by the weights of three layers; forward and both derivatives of three heads. */
const MULTIPLY_ADDS = 2 * (784 * 1024 + 2 * 1024 * 1024) + 3 * 3 * (1024 * 10)
const TASKS: { readonly [task: string]: () => Promise<Report> } = { mlp, conv }

/** @param task `mlp` or `conv`. Default: both @throws `backend.missing`, `usage` */
export async function native(task?: string): Promise<Report> {
  if (task !== undefined && !Object.hasOwn(TASKS, task))
    throw new SwarmError('usage', { what: 'no such task', expected: Object.keys(TASKS).join(', '), got: task })
  findInstalled('cpu')
  const figures: { [name: string]: unknown } = {}
  const bars: Report['bars'][number][] = []
  for (const [name, run] of Object.entries(TASKS).filter(([name]) => task === undefined || name === task)) {
    const report = await run()
    figures[name] = report.figures
    bars.push(...report.bars)
  }
  return { figures, bars }
}

/** Samples per second of each, in turn, five times. */
async function mlp(): Promise<Report> {
  const rates: { [name: string]: number[] } = { runtime: [], bare: [], fit: [], wasm: [] }
  const peaks: number[] = []
  for (let pair = 0; pair < PAIRS; pair++) {
    rates.runtime.push((await measure('step-runtime', 'native')).samplesPerSecond)
    rates.fit.push((await measure('native-fit', 'mlp')).samplesPerSecond)
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

async function conv(): Promise<Report> {
  const runs: { [name in 'runtime' | 'fit']: Figures[] } = { runtime: [], fit: [] }
  for (let pair = 0; pair < PAIRS; pair++) {
    runs.runtime.push(await measure('step-runtime', 'native', 'conv'))
    runs.fit.push(await measure('native-fit', 'conv'))
  }
  const both = (figure: string) => ({ runtime: runs.runtime.map((run) => run[figure]), fit: runs.fit.map((run) => run[figure]) })
  const [samplesPerSecond, cpuMsPerStep] = [both('samplesPerSecond'), both('cpuMsPerStep')]
  const overFit = ratio(samplesPerSecond.runtime, samplesPerSecond.fit)
  return {
    figures: { samplesPerSecond, cpuMsPerStep, overFit, fitOverRuntimeCpu: ratio(cpuMsPerStep.fit, cpuMsPerStep.runtime) },
    bars: [{ name: 'conv net, overFit', value: overFit.median, atLeast: 1 }],
  }
}
