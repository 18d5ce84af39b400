/** How long a loss costs: workers, or processes of a cluster, are ended from outside, without the runtime's knowledge, while Fashion-MNIST is learned. */
import type { Ending } from './children/cluster-recovery.js'
import { measure, quantile, type Report } from './measure.js'

const KILLS = 300
const KILLS_PER_PROCESS = 60
/** Of each kind, on a cluster. */
const CLUSTER_KILLS = 30
/** Bars of each kind, in ms. */
const ENDINGS: { readonly [ending in Ending]: { readonly p50: number; readonly withStandbys?: number; readonly p99?: number } } = {
  app: { p50: 3_000, withStandbys: 1_500, p99: 8_000 },
  appAndDaprd: { p50: 3_000, withStandbys: 1_500, p99: 8_000 },
  silent: { p50: 7_000 },
}

interface Sample {
  readonly firstStepMs: number
  readonly newStepMs: number
}

/** What the children print beside plain numbers. */
interface Recoveries {
  readonly kills: number
  readonly samples: readonly Sample[]
}

export interface RecoveryOptions {
  /** On a cluster of processes instead of in one. */
  readonly isCluster?: boolean
  /** Default: 300; on a cluster 30 of each kind. */
  readonly kills?: number
  /** Of each VNode. Default: none. */
  readonly standbys?: number
}

export function recovery({ isCluster = false, kills, standbys = 0 }: RecoveryOptions = {}): Promise<Report> {
  return isCluster ? onCluster(kills ?? CLUSTER_KILLS, standbys) : embedded(kills ?? KILLS, standbys)
}

async function embedded(wanted: number, standbys: number): Promise<Report> {
  const samples: Sample[] = []
  let kills = 0
  for (let seed = 1; kills < wanted; seed++) {
    const figures = (await measure(
      'recovery-run',
      String(seed),
      String(Math.min(KILLS_PER_PROCESS, wanted - kills)),
      String(standbys),
    )) as unknown as Recoveries
    kills += figures.kills
    samples.push(...figures.samples)
  }
  const { firstStepMs } = summaries(samples)
  return {
    figures: { kills, vnodesMoved: samples.length, ...summaries(samples), ...all(samples) },
    bars: [
      { name: 'first step applied, p50 ms', value: firstStepMs.p50, atMost: standbys > 0 ? 150 : 300 },
      { name: 'first step applied, p99 ms', value: firstStepMs.p99, atMost: 1000 },
    ],
  }
}

async function onCluster(wanted: number, standbys: number): Promise<Report> {
  const figures: { [ending: string]: unknown } = {}
  const bars: Report['bars'][number][] = []
  for (const [ending, bar] of Object.entries(ENDINGS)) {
    const { samples, ...rest } = (await measure('cluster-recovery', ending, String(wanted), String(standbys))) as unknown as Recoveries
    const { firstStepMs } = summaries(samples)
    figures[ending] = { ...rest, vnodesMoved: samples.length, ...summaries(samples), ...all(samples) }
    bars.push({
      name: `${ending}: first step applied, p50 ms`,
      value: firstStepMs.p50,
      atMost: (standbys > 0 && bar.withStandbys) || bar.p50,
    })
    if (bar.p99) bars.push({ name: `${ending}: first step applied, p99 ms`, value: firstStepMs.p99, atMost: bar.p99 })
  }
  return { figures, bars }
}

function summaries(samples: readonly Sample[]) {
  const summary = (values: number[]) => ({
    p50: quantile(values, 0.5),
    p90: quantile(values, 0.9),
    p99: quantile(values, 0.99),
    worst: Math.max(...values),
  })
  return {
    firstStepMs: summary(samples.map(({ firstStepMs }) => firstStepMs)),
    newStepMs: summary(samples.map(({ newStepMs }) => newStepMs)),
  }
}

function all(samples: readonly Sample[]) {
  return {
    allFirstStepMs: samples.map(({ firstStepMs }) => Math.round(firstStepMs)),
    allNewStepMs: samples.map(({ newStepMs }) => Math.round(newStepMs)),
  }
}
