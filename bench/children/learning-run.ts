/** Trains one task by one rule from one seed: what the whole test set says at the end and after each epoch, how long it took, and what memory. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { train } from '../../actors/train.js'
import type { Observation } from '../../actors/reports.js'
import { type HistoryRow, local } from '../../index.js'
import type { CurvePoint } from '../measure.js'
import { RULES, type RuleName, TASKS } from './learning-tasks.js'

const DIGITS = 6
const [, , task, rule, seed] = process.argv
const { network, training, pnodes, backend } = TASKS[task]
const store = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))

/** Training loss by VNode and step. */
const losses = new Map<string, number[]>()
function onObservation(seen: Observation): void {
  if (seen.type !== 'applied' || seen.entry.evaluation > 0 || seen.metrics.loss === undefined) return
  const own = losses.get(seen.vnode) ?? []
  losses.set(seen.vnode, own)
  own[seen.entry.step] = seen.metrics.loss
}

/** @param before the evaluation before, 0 if there is none */
function pointOf({ epoch, step, split, metrics, vnodes }: HistoryRow, before: number): CurvePoint {
  const steps = losses.get(vnodes.at(-1)!.vnode)?.slice(before + 1, step + 1) ?? []
  const short = (value: number) => Number(value.toPrecision(DIGITS))
  return {
    epoch,
    step,
    split,
    ...(metrics.accuracy !== undefined && { accuracy: short(metrics.accuracy) }),
    loss: short(metrics.loss),
    ...(steps.length > 0 && { trainingLoss: short(steps.reduce((a, b) => a + b, 0) / steps.length) }),
  }
}

try {
  const options = { ...training, rule: RULES[rule as RuleName](), seed: Number(seed) }
  const run = train(network, options, { on: local({ pnodes, backend }), store }, { onObservation })
  const { metrics, seconds, samplesPerSecond } = await run.result
  const rows = await run.history()
  const history = rows.map((row, i) => pointOf(row, rows[i - 1]?.step ?? 0))
  const { accuracy, loss } = metrics
  const peakMB = process.resourceUsage().maxRSS / 1000
  process.stdout.write(`${JSON.stringify({ accuracy, loss, seconds, samplesPerSecond, peakMB, history })}\n`)
} finally {
  await rm(store, { recursive: true, force: true })
}
