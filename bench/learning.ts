/** What is learnt: each task by each rule and by its backprop twin, three seeds, the whole test set (LEARNING.md's bars). */
import { SwarmError } from '../runtime/errors.js'
import { type CurvePoint, type Curves, measure, type Report } from './measure.js'

const SEEDS = 3

interface Plan {
  readonly rules: readonly string[]
  /** Percent of the test set that the mean of each rule has to reach; or nats that it may lie above its twin. */
  readonly bar: { readonly accuracy: number } | { readonly above: number }
  /** Rules of which one has to reach it; absent: all. */
  readonly isAnyEnough?: true
  readonly seconds: number
  readonly peakMB?: number
}

const PLANS: { readonly [task: string]: Plan } = {
  'fashion-256': { rules: ['predsim', 'pred'], bar: { accuracy: 88.5 }, seconds: 180, peakMB: 1000 },
  'fashion-1024': { rules: ['predsim', 'pred'], bar: { accuracy: 89.8 }, isAnyEnough: true, seconds: 900 },
  'fashion-conv': { rules: ['predsim', 'pred'], bar: { accuracy: 90.5 }, isAnyEnough: true, seconds: 1200 },
  'mnist-1024': { rules: ['predsim', 'pred'], bar: { accuracy: 98.3 }, isAnyEnough: true, seconds: 900 },
  shakespeare: { rules: ['solo', 'pred'], bar: { above: 0.12 }, seconds: 1500 },
}
const TWIN = 'backprop'

/** @param task default: all of them @param seeds default: three */
export async function learning({ task, seeds = SEEDS }: { readonly task?: string; readonly seeds?: number } = {}): Promise<Report> {
  if (task !== undefined && !Object.hasOwn(PLANS, task)) {
    throw new SwarmError('usage', { what: 'no such task', expected: Object.keys(PLANS).join(', '), got: task })
  }
  const figures: { [name: string]: unknown } = {}
  const curves: { [task: string]: Curves[string] } = {}
  const bars: Report['bars'][number][] = []
  for (const [name, plan] of Object.entries(PLANS).filter(([name]) => task === undefined || name === task)) {
    const results: { [rule: string]: Result } = {}
    const histories: { [rule: string]: Curves[string][string] } = {}
    for (const rule of [...plan.rules, TWIN]) {
      const runs: Trained[] = []
      for (let seed = 1; seed <= seeds; seed++) runs.push(await trained(name, rule, seed))
      results[rule] = resultOf(runs)
      histories[rule] = runs.map(({ history }) => history)
    }
    figures[name] = results
    curves[name] = histories
    bars.push(...barsOf(name, plan, results))
  }
  return { figures, bars, curves }
}

interface Result {
  /** Percent of the test set. */
  readonly accuracy: Spread
  /** Nats. */
  readonly loss: Spread
  readonly seconds: readonly number[]
  readonly samplesPerSecond: readonly number[]
  readonly peakMB: number
}

interface Spread {
  readonly mean: number
  readonly deviation: number
  readonly each: readonly number[]
}

/** What a child prints. */
interface Trained {
  readonly accuracy: number
  readonly loss: number
  readonly seconds: number
  readonly samplesPerSecond: number
  readonly peakMB: number
  readonly history: readonly CurvePoint[]
}

async function trained(task: string, rule: string, seed: number): Promise<Trained> {
  return (await measure('learning-run', task, rule, String(seed))) as unknown as Trained
}

function resultOf(runs: readonly Trained[]): Result {
  return {
    accuracy: spread(runs.map(({ accuracy }) => 100 * accuracy)),
    loss: spread(runs.map(({ loss }) => loss)),
    seconds: runs.map(({ seconds }) => seconds),
    samplesPerSecond: runs.map(({ samplesPerSecond }) => samplesPerSecond),
    peakMB: Math.max(...runs.map(({ peakMB }) => peakMB)),
  }
}

function spread(each: readonly number[]): Spread {
  const mean = each.reduce((a, b) => a + b, 0) / each.length
  const deviation = Math.sqrt(each.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, each.length - 1))
  return { mean, deviation, each }
}

function barsOf(task: string, { rules, bar, isAnyEnough, seconds, peakMB }: Plan, results: { [rule: string]: Result }): Report['bars'] {
  const slowest = Math.max(...rules.flatMap((rule) => results[rule].seconds))
  const means = rules.map((rule): [string, number] => [rule, results[rule].accuracy.mean])
  const [best] = means.toSorted((a, b) => b[1] - a[1])
  const reached =
    'above' in bar
      ? rules.map((rule) => ({
          name: `${task}, ${rule}: nats above its twin`,
          value: results[rule].loss.mean - results[TWIN].loss.mean,
          atMost: bar.above,
        }))
      : (isAnyEnough ? [best] : means).map(([rule, value]) => ({
          name: `${task}, ${rule}: % of the test set`,
          value,
          atLeast: bar.accuracy,
        }))
  return [
    ...reached,
    { name: `${task}: seconds`, value: slowest, atMost: seconds },
    ...(peakMB === undefined
      ? []
      : [{ name: `${task}: peak MB`, value: Math.max(...rules.map((rule) => results[rule].peakMB)), atMost: peakMB }]),
  ]
}
