/** What it costs to check the work of hosts: four VNodes of equal cost on two PNodes, audited, or applied twice, against believed. */
import { ratio, type Report } from './measure.js'
import { inTurns, type Turns } from './turns.js'

/** What is audited is drawn anew in each run, and a few per cent are to be seen: the more pairs the better. */
const PAIRS = { audited: 9, twice: 3 } as const
/** Arguments of the child: share of audits, redundancy. */
const WAYS = { believed: ['0', '1'], audited: ['0.03', '1'], twice: ['0', '2'] } as const

export async function checks(): Promise<Report> {
  const audited = await pairs('audited')
  const twice = await pairs('twice')
  const auditedOverBelieved = ratio(audited.believed.ownMs, audited.checked.ownMs)
  const believedOverTwice = ratio(twice.checked.ownMs, twice.believed.ownMs)
  return {
    figures: {
      audited,
      twice,
      auditedOverBelieved,
      believedOverTwice,
      auditedOverBelievedCpu: ratio(audited.checked.cpuMsPerStep, audited.believed.cpuMsPerStep),
    },
    bars: [
      { name: 'auditedOverBelieved', value: auditedOverBelieved.median, atLeast: 0.95 },
      { name: 'believedOverTwice', value: believedOverTwice.median, atMost: 2.1 },
    ],
  }
}

/** Of each pair, by way: how long the same steps took, and the processor time of one. */
async function pairs(way: keyof typeof PAIRS) {
  const runs: Turns[][] = []
  for (let pair = 0; pair < PAIRS[way]; pair++) {
    // Who is first has each turn first.
    const isFirst = pair % 2 === 0
    const both = await inTurns('checks-runtime', ...(isFirst ? [WAYS[way], WAYS.believed] : [WAYS.believed, WAYS[way]]))
    runs.push(isFirst ? both : both.toReversed())
  }
  const of = (i: number) => ({
    ownMs: runs.map((run) => run[i].ownMs),
    cpuMsPerStep: runs.map((run) => run[i].figures.cpuMsPerStep),
  })
  return { checked: of(0), believed: of(1) }
}
