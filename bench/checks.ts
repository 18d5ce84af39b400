/** What it costs to check the work of hosts: four VNodes of equal cost that fill both cores, audited, or applied twice, against believed. */
import { lineAt, ratio, type Report } from './measure.js'
import { inTurns, type Turns } from './turns.js'

const SHARE = 0.03
/** How they are compared: on how many PNodes, with a checkpoint how often, in how many pairs (a few per cent are to be seen), and with which share of audits and redundancy. */
const WAYS = {
  /** As many PNodes as VNodes: an audit takes processor time, and holds up nobody. */
  audited: { pnodes: 4, everySteps: 50, pairs: 8, audits: SHARE, redundancy: 1 },
  /** Each checkpoint has its claims, its roots, and an audit of the source. */
  auditedOften: { pnodes: 4, everySteps: 20, pairs: 4, audits: SHARE, redundancy: 1 },
  /** Each PNode has a core, and always something to do: while one of them audits, the other one waits for it. */
  auditedByTwo: { pnodes: 2, everySteps: 50, pairs: 4, audits: SHARE, redundancy: 1 },
  twice: { pnodes: 2, everySteps: 50, pairs: 3, audits: 0, redundancy: 2 },
} as const

export async function checks(): Promise<Report> {
  const runs = { audited: await pairs('audited'), auditedOften: await pairs('auditedOften'), auditedByTwo: await pairs('auditedByTwo') }
  const twice = await pairs('twice')
  const [audited, often, byTwo] = Object.values(runs).map(byShare)
  const believedOverTwice = ratio(twice.checked.ownMs, twice.believed.ownMs)
  return {
    figures: { ...runs, twice, auditedOverBelieved: { audited, often, byTwo }, believedOverTwice },
    bars: [
      { name: 'auditedOverBelieved', value: audited.atShare, atLeast: 0.95 },
      { name: 'believedOverTwice', value: believedOverTwice.median, atMost: 2.1 },
    ],
  }
}

/**
 * Samples/s of the checked over those of the believed, and how much more processor time they take. What is audited is drawn anew in each run: none of its
 * segments, or three times as many as there should be. What an audit costs is seen in how runs differ (a line through all of them, at the share that was asked for).
 */
function byShare({ checked, believed }: Awaited<ReturnType<typeof pairs>>) {
  const at = (share: number, over: readonly number[], under: readonly number[]): number =>
    lineAt(
      share,
      checked.auditedShare,
      over.map((value, i) => value / under[i]),
    )
  return {
    atShare: 1 / at(SHARE, checked.ownMs, believed.ownMs),
    undrawn: 1 / at(0, checked.ownMs, believed.ownMs),
    cpuAtShare: at(SHARE, checked.cpuMsPerStep, believed.cpuMsPerStep),
    undrawnCpu: at(0, checked.cpuMsPerStep, believed.cpuMsPerStep),
    ofPairs: ratio(believed.ownMs, checked.ownMs),
  }
}

/** Of each pair, by way: how long the same steps took, the processor time of one, and the share of the work that was done once more. */
async function pairs(way: keyof typeof WAYS) {
  const { pnodes, everySteps, pairs: count, audits, redundancy } = WAYS[way]
  const [asked, believed] = [
    [pnodes, everySteps, audits, redundancy],
    [pnodes, everySteps, 0, 1],
  ].map((each) => each.map(String))
  const runs: Turns[][] = []
  for (let pair = 0; pair < count; pair++) {
    // Who is first has each turn first.
    const isFirst = pair % 2 === 0
    const both = await inTurns('checks-runtime', ...(isFirst ? [asked, believed] : [believed, asked]))
    runs.push(isFirst ? both : both.toReversed())
  }
  const of = (i: number) => ({
    ownMs: runs.map((run) => run[i].ownMs),
    cpuMsPerStep: runs.map((run) => run[i].figures.cpuMsPerStep),
    auditedShare: runs.map((run) => run[i].figures.auditedShare),
  })
  return { checked: of(0), believed: of(1) }
}
