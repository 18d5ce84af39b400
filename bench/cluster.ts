/** A run on three PNode processes over Dapr and NATS against the same run in one process (MLP 784-3×1024-10, `pred`, batch 128). */
import { type Figures, measure, ratio, type Report } from './measure.js'

const PAIRS = 3
const EPOCHS = '3'

/** What the children print beside plain numbers. */
interface Rate {
  readonly samplesPerSecond: number
  readonly cpuMsPerStep: Figures
}

/** Samples per second of each, in turn; then what crosses the broker, and what piles up when one does not consume. */
export async function cluster(): Promise<Report> {
  const runs: { [where: string]: Rate[] } = { cluster: [], embedded: [] }
  for (let pair = 0; pair < PAIRS; pair++) {
    for (const where of Object.keys(runs)) runs[where].push((await measure('cluster-run', where, EPOCHS)) as unknown as Rate)
  }
  const rates = (where: string) => runs[where].map(({ samplesPerSecond }) => samplesPerSecond)
  const overEmbedded = ratio(rates('cluster'), rates('embedded'))
  const bytes = await measure('cluster-bytes')
  const withheld = (await measure('cluster-withheld')) as unknown as { readonly growthMB: Figures; readonly stepsWhileHeld: number }
  return {
    figures: {
      samplesPerSecond: { cluster: rates('cluster'), embedded: rates('embedded') },
      overEmbedded,
      cpuMsPerStep: {
        cluster: runs.cluster.map(({ cpuMsPerStep }) => cpuMsPerStep),
        embedded: runs.embedded.map((run) => run.cpuMsPerStep.all),
      },
      bytes,
      withheld,
    },
    bars: [
      { name: 'overEmbedded', value: overEmbedded.median, atLeast: 0.8 },
      { name: 'beyond the payload, bytes for each boundary and batch', value: Math.max(bytes.beyondUp, bytes.beyondDown), atMost: 1024 },
      { name: 'growth while consumption is withheld, MB', value: Math.max(...Object.values(withheld.growthMB)), atMost: 64 },
    ],
  }
}
