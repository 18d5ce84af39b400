/** What it costs to check the work of hosts: four VNodes of equal cost on two PNodes, audited, or applied twice, against believed. */
import { type Figures, measure, ratio, type Report } from './measure.js'

/** What is audited is drawn anew in each run, and a few per cent are to be seen: the more pairs the better. */
const PAIRS = { audited: 9, twice: 3 } as const
/** Arguments of the child: share of audits, redundancy. */
const WAYS = { believed: ['0', '1'], audited: ['0.03', '1'], twice: ['0', '2'] } as const

export async function checks(): Promise<Report> {
  const runs: { [way in keyof typeof WAYS]: Figures[] } = { believed: [], audited: [], twice: [] }
  for (let pair = 0; pair < PAIRS.audited; pair++) {
    runs.believed.push(await measure('checks-runtime', ...WAYS.believed))
    runs.audited.push(await measure('checks-runtime', ...WAYS.audited))
    if (pair < PAIRS.twice) runs.twice.push(await measure('checks-runtime', ...WAYS.twice))
  }
  const of = (figure: string) => ({
    believed: runs.believed.map((run) => run[figure]),
    audited: runs.audited.map((run) => run[figure]),
    twice: runs.twice.map((run) => run[figure]),
  })
  const [samplesPerSecond, cpuMsPerStep] = [of('samplesPerSecond'), of('cpuMsPerStep')]
  const auditedOverBelieved = ratio(samplesPerSecond.audited, samplesPerSecond.believed)
  const believedOverTwice = ratio(samplesPerSecond.believed.slice(0, PAIRS.twice), samplesPerSecond.twice)
  return {
    figures: {
      samplesPerSecond,
      cpuMsPerStep,
      auditedOverBelieved,
      believedOverTwice,
      auditedOverBelievedCpu: ratio(cpuMsPerStep.audited, cpuMsPerStep.believed),
    },
    bars: [
      { name: 'auditedOverBelieved', value: auditedOverBelieved.median, atLeast: 0.95 },
      { name: 'believedOverTwice', value: believedOverTwice.median, atMost: 2.1 },
    ],
  }
}
