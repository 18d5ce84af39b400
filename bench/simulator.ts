/** The simulator: steps of VNodes in a second of one core, on 8 hosts where nothing goes wrong. */
import { SIMULATING } from '../test/simulation/flags.js'
import { measureWith, type Report } from './measure.js'

const LEAST_STEPS_PER_SECOND = 100_000

/** Processor time of all threads counts, V8's own too: on a machine that others use the clock says nothing. */
export async function simulator(): Promise<Report> {
  const figures = await measureWith(SIMULATING, 'simulator-run')
  const stepsPerSecond = figures.vnodeSteps / figures.cpuSeconds
  return {
    figures: { ...figures, stepsPerSecond },
    bars: [{ name: 'VNode-steps per second of a core', value: stepsPerSecond, atLeast: LEAST_STEPS_PER_SECOND }],
  }
}
