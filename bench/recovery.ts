/** How long a loss costs: workers are terminated from outside, without the runtime's knowledge, while Fashion-MNIST is learned. */
import { measure, quantile, type Report } from './measure.js'

const KILLS = 300
const KILLS_PER_PROCESS = 60

interface Sample {
  readonly firstStepMs: number
  readonly newStepMs: number
}

export async function recovery(): Promise<Report> {
  const samples: Sample[] = []
  let kills = 0
  for (let seed = 1; kills < KILLS; seed++) {
    const figures = (await measure('recovery-run', String(seed), String(KILLS_PER_PROCESS))) as unknown as {
      kills: number
      samples: Sample[]
    }
    kills += figures.kills
    samples.push(...figures.samples)
  }
  const first = samples.map(({ firstStepMs }) => firstStepMs)
  const fresh = samples.map(({ newStepMs }) => newStepMs)
  const summary = (values: number[]) => ({
    p50: quantile(values, 0.5),
    p90: quantile(values, 0.9),
    p99: quantile(values, 0.99),
    worst: Math.max(...values),
  })
  return {
    figures: {
      kills,
      vnodesMoved: samples.length,
      firstStepMs: summary(first),
      newStepMs: summary(fresh),
      allFirstStepMs: first.map(Math.round),
      allNewStepMs: fresh.map(Math.round),
    },
    bars: [
      { name: 'first step applied, p50 ms', value: quantile(first, 0.5), atMost: 300 },
      { name: 'first step applied, p99 ms', value: quantile(first, 0.99), atMost: 1000 },
    ],
  }
}
