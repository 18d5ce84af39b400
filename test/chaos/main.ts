/**
 * `npm run chaos -- [--faults 1000] [--first-seed 1] [--data fashion-mnist|glyphs] [--json]`: real runs with kills of PNodes and workers, at once and in the
 * middle of steps, on a bus that loses, doubles and delays, until so many faults have happened. Each run must end with the hash and the chains of
 * consumption of an undisturbed one. Exit status 1 if one does not.
 */
import { parseArgs } from 'node:util'
import { datasets } from '../../components/datasets/index.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { pred } from '../../components/rules/index.js'
import { networks, openPools, type Outcome, planOf, undisturbed, withChaos } from '../support/chaos-run.js'
import { TOTAL_STEPS, TRAINING } from '../support/small-runs.js'

interface Task {
  readonly training: TrainingOptions
  readonly steps: number
  /** In one run, at most. */
  readonly kills: number
}

const TASKS: { readonly [data: string]: Task } = {
  'fashion-mnist': { training: { data: datasets.fashionMnist(), batchSize: 256, epochs: 1, rule: pred() }, steps: 235, kills: 20 },
  glyphs: { training: TRAINING, steps: TOTAL_STEPS, kills: 6 },
}
/** A run takes seconds; a threaded one that loses all its workers again and again a minute. */
const LIMIT_MS = 180_000

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '1000' },
    'first-seed': { type: 'string', default: '1' },
    data: { type: 'string', default: 'fashion-mnist' },
    json: { type: 'boolean', default: false },
  },
})
const [faults, firstSeed] = [Number(values.faults), Number(values['first-seed'])]
const task = Object.hasOwn(TASKS, values.data) ? TASKS[values.data] : undefined
if (!task || ![faults, firstSeed].every((count) => Number.isSafeInteger(count) && count >= 1)) {
  process.stderr.write(`expected --faults N, --first-seed N, --data ${Object.keys(TASKS).join('|')}\n`)
  process.exit(2)
}

const startedMs = performance.now()
const pools = openPools()
const expected: { [name: string]: Outcome } = {}
for (const name of Object.keys(networks) as (keyof typeof networks)[]) expected[name] = await undisturbed(name, task.training)
const kinds = new Map<string, number>()
let [done, runs, failed] = [0, 0, 0]
for (let seed = firstSeed; done < faults; seed++) {
  const plan = planOf(seed, task)
  runs++
  done += plan.kills.length
  for (const { what } of plan.kills) kinds.set(what, (kinds.get(what) ?? 0) + 1)
  const reason = await differenceIn(seed)
  if (reason === undefined) continue
  failed++
  process.stdout.write(`✘ seed ${seed}: ${reason}\n  npm run chaos -- --first-seed ${seed} --faults 1 --data ${values.data}\n`)
}
await pools.close()
const summary = {
  runs,
  faults: done,
  failed,
  seconds: Math.round((performance.now() - startedMs) / 1000),
  kinds: Object.fromEntries(kinds),
}
if (values.json) process.stdout.write(`${JSON.stringify({ v: 1, type: 'chaos', data: values.data, ...summary })}\n`)
else {
  const said = [...kinds].map(([kind, count]) => `${kind} ${count}`).join(', ')
  process.stdout.write(`${runs} runs on ${values.data}, ${done} faults (${said}), ${failed} failed; ${summary.seconds} s\n`)
}
process.exitCode = failed === 0 ? 0 : 1

/** What is wrong with a run, if anything is. */
async function differenceIn(seed: number): Promise<string | undefined> {
  const plan = planOf(seed, task)
  try {
    const { hash, chains, result } = await withChaos(plan, pools, { limitMs: LIMIT_MS, training: task!.training })
    const wanted = expected[plan.network]
    if (hash !== wanted.hash) return `hash ${hash}, undisturbed ${wanted.hash}`
    if (JSON.stringify(chains) !== JSON.stringify(wanted.chains)) return 'something else was consumed'
    if (result.stepsLost + result.stepsDoubled > 0) return `${result.stepsLost} steps lost, ${result.stepsDoubled} doubled`
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : JSON.stringify(error)
  }
}
