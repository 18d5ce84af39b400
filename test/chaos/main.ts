/**
 * `npm run chaos -- [--faults 1000] [--first-seed 1] [--data fashion-mnist|glyphs] [--json]`: real runs with kills of PNodes and workers, at once and in the
 * middle of steps, workers that stand still, PNodes that are cut off, and a store that refuses, on a bus that loses, doubles and delays, until so many
 * faults have happened. Each run must end with the hash and the chains of consumption of an undisturbed one. Exit status 1 if one does not.
 *
 * With `--cluster` the same on daprd, nats-server and MinIO (`npm run services:install`), 100 faults unless told otherwise: processes are killed, stopped
 * and started again, and one host is cut off from everything for two minutes.
 */
import { parseArgs } from 'node:util'
import { datasets } from '../../components/datasets/index.js'
import type { RunResult } from '../../actors/train.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { pred } from '../../components/rules/index.js'
import { TOTAL_STEPS, TRAINING } from '../support/small-runs.js'
import { clusterChaos } from './cluster.js'
import { embeddedChaos } from './embedded.js'

export interface ChaosTask {
  readonly training: TrainingOptions
  readonly steps: number
  /** In one embedded run, at most. */
  readonly kills: number
  /** What else goes wrong in one embedded run, at most. */
  readonly troubles: number
}

interface Left {
  readonly hash: string | undefined
  readonly chains: { readonly [vnode: string]: string }
}

/** Runs with faults, one for each seed. */
export interface Chaos {
  /** What has struck the run of this seed, what is left of it, and what had to be. */
  run(seed: number): Promise<{ struck: readonly string[]; outcome: Left & { readonly result: RunResult }; expected: Left }>
  close(): Promise<void>
}

const TASKS: { readonly [data: string]: ChaosTask } = {
  'fashion-mnist': {
    training: { data: datasets.fashionMnist(), batchSize: 256, epochs: 1, rule: pred() },
    steps: 235,
    kills: 20,
    troubles: 6,
  },
  glyphs: { training: TRAINING, steps: TOTAL_STEPS, kills: 6, troubles: 4 },
}

const { values } = parseArgs({
  options: {
    cluster: { type: 'boolean', default: false },
    faults: { type: 'string' },
    'first-seed': { type: 'string', default: '1' },
    data: { type: 'string', default: 'fashion-mnist' },
    json: { type: 'boolean', default: false },
  },
})
const [faults, firstSeed] = [Number(values.faults ?? (values.cluster ? 100 : 1000)), Number(values['first-seed'])]
const task = Object.hasOwn(TASKS, values.data) ? TASKS[values.data] : undefined
if (!task || ![faults, firstSeed].every((count) => Number.isSafeInteger(count) && count >= 1)) {
  process.stderr.write(`expected --cluster, --faults N, --first-seed N, --data ${Object.keys(TASKS).join('|')}\n`)
  process.exit(2)
}

const startedMs = performance.now()
const chaos = await (values.cluster ? clusterChaos : embeddedChaos)(task)
const kinds = new Map<string, number>()
let [done, runs, failed] = [0, 0, 0]
for (let seed = firstSeed; done < faults; seed++) {
  runs++
  const reason = await differenceIn(seed)
  if (reason === undefined) continue
  failed++
  const again = `npm run chaos -- ${values.cluster ? '--cluster ' : ''}--first-seed ${seed} --faults 1 --data ${values.data}`
  process.stdout.write(`✘ seed ${seed}: ${reason}\n  ${again}\n`)
}
await chaos.close()
const summary = {
  runs,
  faults: done,
  failed,
  seconds: Math.round((performance.now() - startedMs) / 1000),
  kinds: Object.fromEntries([...kinds].toSorted(([a], [b]) => (a < b ? -1 : 1))),
}
if (values.json)
  process.stdout.write(`${JSON.stringify({ v: 1, type: 'chaos', isCluster: values.cluster, data: values.data, ...summary })}\n`)
else {
  const said = Object.entries(summary.kinds).map(([kind, count]) => `${kind} ${count}`)
  process.stdout.write(`${runs} runs on ${values.data}, ${done} faults (${said.join(', ')}), ${failed} failed; ${summary.seconds} s\n`)
}
process.exitCode = failed === 0 ? 0 : 1

/** What is wrong with a run, if anything is. */
async function differenceIn(seed: number): Promise<string | undefined> {
  try {
    const { struck, outcome, expected } = await chaos.run(seed)
    done += struck.length
    for (const what of struck) kinds.set(what, (kinds.get(what) ?? 0) + 1)
    const { hash, chains, result } = outcome
    if (hash !== expected.hash) return `hash ${hash}, undisturbed ${expected.hash}`
    if (JSON.stringify(chains) !== JSON.stringify(expected.chains)) return 'something else was consumed'
    if (result.stepsLost + result.stepsDoubled > 0) return `${result.stepsLost} steps lost, ${result.stepsDoubled} doubled`
    return undefined
  } catch (error) {
    // Otherwise nothing would ever be done, if every run fails.
    done++
    return error instanceof Error ? error.message : JSON.stringify(error)
  }
}
