/** A local step (`pred`, 784-3×1024-10, batch 128, Adam) in the runtime on one PNode, against what users would write with tfjs. */
import { measure, ratio, type Report } from './measure.js'

const PAIRS = 5

/** Samples per second of each, in turn, five times. */
export async function step(): Promise<Report> {
  const rates: { [name: string]: number[] } = { runtime: [], bare: [], stock: [], fixed: [] }
  for (let pair = 0; pair < PAIRS; pair++) {
    rates.runtime.push((await measure('step-runtime')).samplesPerSecond)
    rates.bare.push((await measure('step-bare')).samplesPerSecond)
    rates.stock.push((await measure('step-fit', 'stock')).samplesPerSecond)
    rates.fixed.push((await measure('step-fit', 'fixed')).samplesPerSecond)
  }
  const overStockFit = ratio(rates.runtime, rates.stock)
  const overFixedFit = ratio(rates.runtime, rates.fixed)
  const overBareLoop = ratio(rates.runtime, rates.bare)
  return {
    figures: { samplesPerSecond: rates, overStockFit, overFixedFit, overBareLoop },
    bars: [
      { name: 'overStockFit', value: overStockFit.median, atLeast: 16 },
      { name: 'overFixedFit', value: overFixedFit.median, atLeast: 1.5 },
      { name: 'overBareLoop', value: overBareLoop.median, atLeast: 0.95 },
    ],
  }
}
