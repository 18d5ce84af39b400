/** Whole clusters in simulated time: what must hold does, in every history, and equal seeds give equal histories. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { trySeed } from './seeds.js'
import { drawPlan } from './simulate.js'

const SEEDS = 1_000
const main = new URL('main.js', import.meta.url).pathname

test.serial(
  `${SEEDS} seeds: the same final hash, the same chain of consumption, nothing of the past accepted, everything readable`,
  async (t) => {
    t.timeout(600_000)
    const { stdout } = await promisify(execFile)(process.execPath, [main, '--seeds', String(SEEDS), '--json'], {
      maxBuffer: 2 ** 26,
    }).catch((error: { stdout?: string }) => ({ stdout: error.stdout ?? 'no output' }))
    const lines = stdout.trim().split('\n')
    const failed = lines.filter((line) => line.includes('"failed",'))
    t.deepEqual(failed, [])
    const summary = JSON.parse(lines.at(-1)!) as { seeds: number; faults: number; kinds: { [kind: string]: number } }
    t.is(summary.seeds, SEEDS)
    t.log(lines.at(-1)!)
    // It is worth something only if all kinds of faults happen, often.
    for (const [kind, count] of Object.entries(summary.kinds)) t.true(count >= 50, `${kind}: ${count}`)
    t.true(Object.keys(summary.kinds).length >= 21)
  },
)

test.serial('a seed gives the same history each time, and another one another', async (t) => {
  const traceOf = async (seed: number) => {
    const result = await trySeed(seed)
    return result.ok ? result.outcome.trace : result.failure.message
  }
  const traces = []
  for (const seed of [1, 2, 3, 4, 5]) {
    const trace = await traceOf(seed)
    t.is(await traceOf(seed), trace, `seed ${seed}`)
    traces.push(trace)
  }
  t.is(new Set(traces).size, traces.length)
})

test('the seeds cover small clusters and large ones, graphs of all kinds, quiet runs and bad days', (t) => {
  const plans = Array.from({ length: SEEDS }, (_, i) => drawPlan(i + 1))
  const hosts = plans.map(({ cluster }) => cluster.hosts.length)
  t.true(Math.min(...hosts) === 3 && Math.max(...hosts) > 100)
  t.true(plans.some(({ faults }) => faults.length === 0) && plans.some(({ faults }) => faults.length >= 20))
  const inputs = plans.flatMap(({ cluster }) => cluster.run.definition.network.vnodes.map((vnode) => vnode.inputs.length))
  t.true(inputs.filter((count) => count > 1).length > 500)
})

test('a pause where an older checkpoint completes, of VNodes that passed it without the pause, is tried again: seed 9472', async (t) => {
  const result = await trySeed(9_472, { shrink: false })
  t.true(result.ok, JSON.stringify(result))
})

test('a Run actor that somebody else has taken the run from hears of it, though it has nothing to write: seed 32766', async (t) => {
  for (const only of [[0, 4, 5, 8], undefined]) {
    const result = await trySeed(32_766, { only, shrink: false })
    t.true(result.ok, JSON.stringify(result))
  }
})
