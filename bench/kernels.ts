/** What our own kernels take: products of one matrix and of many, attention, a mask of dropout. */
import { type Figures, measure, median, type Report } from './measure.js'

const REPEATS = 3

export async function kernels(): Promise<Report> {
  const runs: Figures[] = []
  for (let i = 0; i < REPEATS; i++) runs.push(await measure('kernels-run'))
  const figures = Object.fromEntries(Object.keys(runs[0]).map((name) => [name, median(runs.map((run) => run[name]))]))
  return {
    figures,
    bars: [
      { name: 'dense product / batched product', value: figures.denseGflops / figures.batchedGflops, atMost: 3 },
      { name: 'dropout mask of 128×1024, ms', value: figures.dropoutMs, atMost: 0.5 },
    ],
  }
}
