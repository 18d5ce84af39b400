/** Trains one task by one rule from one seed: what the whole test set says at the end, how long it took, and what memory. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { local, train } from '../../index.js'
import { RULES, type RuleName, TASKS } from './learning-tasks.js'

const [, , task, rule, seed] = process.argv
const { network, training, pnodes } = TASKS[task]
const store = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))
try {
  const options = { ...training, rule: RULES[rule as RuleName](), seed: Number(seed) }
  const { metrics, seconds, samplesPerSecond } = await train(network, options, { on: local({ pnodes }), store }).result
  const peakMB = process.resourceUsage().maxRSS / 1000
  process.stdout.write(`${JSON.stringify({ accuracy: metrics.accuracy, loss: metrics.loss, seconds, samplesPerSecond, peakMB })}\n`)
} finally {
  await rm(store, { recursive: true, force: true })
}
