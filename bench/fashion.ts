/** The first bar of the product: Fashion-MNIST, MLP 3×256, `predsim`, five epochs, default settings, four PNodes, three seeds. */
import { measure, type Report } from './measure.js'

const SEEDS = [1, 2, 3]

export async function fashion(): Promise<Report> {
  const figures: { [name: string]: unknown } = {}
  const bars: Report['bars'][number][] = []
  for (const rule of ['predsim', 'pred', 'backprop']) {
    const runs = []
    for (const seed of SEEDS) runs.push(await measure('fashion-run', rule, String(seed)))
    const accuracies = runs.map(({ accuracy }) => accuracy * 100)
    const mean = accuracies.reduce((a, b) => a + b, 0) / accuracies.length
    const deviation = Math.sqrt(accuracies.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (accuracies.length - 1))
    const seconds = runs.map((run) => run.seconds)
    const peakMB = Math.max(...runs.map((run) => run.peakMB))
    figures[rule] = { mean, deviation, accuracies, seconds, peakMB, samplesPerSecond: runs.map((run) => run.samplesPerSecond) }
    if (rule === 'backprop') continue
    bars.push({ name: `${rule}, % of the test set`, value: mean, atLeast: 88.5 })
    bars.push(
      { name: `${rule}, seconds`, value: Math.max(...seconds), atMost: 180 },
      { name: `${rule}, peak MB`, value: peakMB, atMost: 1000 },
    )
  }
  return { figures, bars }
}
