/** How soon audits find a host that cheats, against 1 − (1 − p c)ⁿ: whole simulated runs, each from its hosts to the conviction. */
import { availableParallelism } from 'node:os'
import { SIMULATING } from '../test/simulation/flags.js'
import { type Figures, measureWith, type Report } from './measure.js'

/** Share of audited segments, share of segments in which the host cheats. */
const POINTS = [
  [0.03, 1],
  [0.1, 0.5],
  [0.3, 0.3],
] as const
export const SEGMENTS = [1, 3, 10, 33, 99] as const
const RUNS = 1_000
/** Of a share that is found in 1,000 runs one standard deviation is 0.016 at most: this is 3.8 of them. All is seeded, so that it is always the same. */
const MOST_OFF = 0.06

/** @param runs for each point. Default 1,000, which takes minutes */
export async function detection(runs: number = RUNS): Promise<Report> {
  const rows: { [row: string]: { [column: string]: number } } = {}
  let largest = 0
  for (const [share, cheating] of POINTS) {
    const found = await foundWithin(share, cheating, runs)
    for (const segments of SEGMENTS) {
      const measured = found.reduce((sum, figures) => sum + figures[segments], 0) / runs
      const expected = 1 - (1 - share * cheating) ** segments
      const off = Math.abs(measured - expected)
      largest = Math.max(largest, off)
      rows[`p ${share}, c ${cheating}, n ${segments}`] = { expected, measured, off }
    }
  }
  return {
    figures: { runs, detection: rows },
    bars: [{ name: 'largest deviation from 1 − (1 − p c)ⁿ', value: largest, atMost: MOST_OFF }],
  }
}

/** How many of the runs are found out within each number of segments; one object for each process. */
function foundWithin(share: number, cheating: number, runs: number): Promise<Figures[]> {
  const jobs = Math.min(availableParallelism(), 8, runs)
  const firstOf = (job: number) => 1 + Math.floor((job * runs) / jobs)
  return Promise.all(
    Array.from({ length: jobs }, (_, job) => {
      const count = firstOf(job + 1) - firstOf(job)
      return measureWith(SIMULATING, 'detection-runs', ...[share, cheating, firstOf(job), count].map(String))
    }),
  )
}
