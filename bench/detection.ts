/**
 * How soon audits find a host that cheats: runs of segments, each committed to and drawn as a run does it, against 1 − (1 − p c)ⁿ. Nothing is trained: whether a
 * segment that is looked at is found out is a matter of comparing, which tests show.
 */
import { auditSecret, commit, isSelected } from '../runtime/commitment.js'
import { RandomStream } from '../runtime/random.js'
import type { Report } from './measure.js'

/** Share of audited segments, share of segments in which the host cheats. */
const POINTS = [
  [0.03, 1],
  [0.03, 0.5],
  [0.03, 0.1],
  [0.1, 1],
  [0.1, 0.5],
  [1, 0.05],
] as const
const SEGMENTS = [1, 10, 33, 99, 200] as const
const RUNS = 1_000
/** Of a share that is found in 1,000 runs one standard deviation is 0.016 at most: this is 3.8 of them. All is seeded, so that it is always the same. */
const MOST_OFF = 0.06
const STEPS = 50

const hexOf = (random: RandomStream): string => Array.from({ length: 8 }, () => random.bits().toString(16).padStart(8, '0')).join('')

/** The segment in which a host is found out, from 1; infinite: in none. */
function foundIn(run: number, share: number, cheating: number): number {
  const random = new RandomStream(run, 'detection', String(share), String(cheating))
  const key = hexOf(random)
  const where = { run: `r${run}`, generation: 1 }
  for (let segment = 1; segment <= SEGMENTS[SEGMENTS.length - 1]; segment++) {
    const from = (segment - 1) * STEPS
    const isCheat = random.uniform() < cheating
    const roots = { before: hexOf(random), after: hexOf(random), inputs: { source: hexOf(random) }, output: hexOf(random) }
    const claimed = { ...where, segment: { vnode: 'dense', from, to: from + STEPS }, host: 'p1' }
    const commitment = commit(claimed, { salt: hexOf(random), roots })
    if (isCheat && isSelected(auditSecret(key, { ...where, from }), commitment, share)) return segment
  }
  return Infinity
}

export function detection(): Report {
  const rows: { [row: string]: { [column: string]: number } } = {}
  let largest = 0
  for (const [share, cheating] of POINTS) {
    const found = Array.from({ length: RUNS }, (_, run) => foundIn(run + 1, share, cheating))
    for (const segments of SEGMENTS) {
      const measured = found.filter((segment) => segment <= segments).length / RUNS
      const expected = 1 - (1 - share * cheating) ** segments
      const off = Math.abs(measured - expected)
      largest = Math.max(largest, off)
      rows[`p ${share}, c ${cheating}, n ${segments}`] = { expected, measured, off }
    }
  }
  return {
    figures: { runs: RUNS, detection: rows },
    bars: [{ name: 'largest deviation from 1 − (1 − p c)ⁿ', value: largest, atMost: MOST_OFF }],
  }
}
