/** Runs that share PNodes in simulated time: how they share, and how one waits for room. Simulated times are exact, so that these figures are, too. */
import test from 'ava'
import type { RunDefinition } from '../../actors/run-definition.js'
import { RandomStream } from '../../runtime/random.js'
import { AllInvariants } from './all-invariants.js'
import { type ClusterPlan, SimulatedCluster } from './cluster.js'
import { drawPlan } from './simulate.js'
import { drawRun, type SimulatedRun } from './simulated-run.js'
import { World } from './world.js'

const LATENCY = { leastMs: 0.05, mostMs: 0.1, jitterMs: 0 }

/** A chain of VNodes that all cost the same, and never stop for a checkpoint. */
function runOf(
  id: string,
  seed: number,
  { cost, steps, parameters = 1 }: { cost: number; steps: number; parameters?: number },
): SimulatedRun {
  const drawn = drawRun(new RandomStream(seed, 'several'), { vnodes: 3, steps, window: 8, everySteps: 10_000 }, seed)
  const vnodes = drawn.definition.network.vnodes.map((vnode) => ({ ...vnode, cost, parameters }))
  const definition: RunDefinition = { ...drawn.definition, network: { ...drawn.definition.network, vnodes } }
  return { ...drawn, id, definition }
}

interface Worked {
  readonly atMs: number
  readonly run: string
  readonly busyMs: number
}

/** Carries runs out to their ends, each with the hash that it has alone. Returns what every step took, and when it ended. */
function carryOut(plan: ClusterPlan): { readonly worked: Worked[]; readonly waits: (readonly [run: string, atMs: number])[] } {
  const world = new World(1)
  const runs = [plan.run, ...(plan.others ?? []).map(({ run }) => run)]
  const invariants = new AllInvariants(
    runs,
    () => 'simulated | integers',
    () => world.now,
  )
  const worked: Worked[] = []
  const waits: (readonly [run: string, atMs: number])[] = []
  const { watch } = invariants
  const cluster = new SimulatedCluster(world, plan, {
    ...watch,
    onObservation(host, observation) {
      watch.onObservation(host, observation)
      if (observation.type === 'applied') worked.push({ atMs: world.now, run: observation.run, busyMs: observation.busyMs })
    },
    onPut(key, bytes, writer) {
      watch.onPut(key, bytes, writer)
      const run = /^runs\/([^/]+)\/events\//.exec(key)?.[1]
      if (run !== undefined && Buffer.from(bytes).includes('more than its')) waits.push([run, world.now])
    },
    onError: (process, { message }) => invariants.fail(`${process}: ${message}`),
  })
  cluster.begin()
  world.run(() => (invariants.check(), invariants.areDone), 600_000)
  invariants.check()
  if (!invariants.areDone) throw new Error(`not done: ${invariants.describe()}`)
  return { worked, waits }
}

/** `carryOut`, outside of the promise that the test is in. */
function carriedOut(plan: ClusterPlan): Promise<ReturnType<typeof carryOut>> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        resolve(carryOut(plan))
      } catch (error) {
        reject(error as Error)
      }
    })
  })
}

const host = (memoryBytes: number) => ({ name: 'h1', msPerCost: 0.1, gflops: 40, memoryBytes, computeClass: 'simulated | integers' })

test.serial('on one worker a run of steps of 20 ms and one of 0.5 ms have the same share of the time, while both have work', async (t) => {
  const long = runOf('long', 1, { cost: 200, steps: 100 })
  const short = runOf('short', 2, { cost: 5, steps: 4_000 })
  const { worked } = await carriedOut({ run: long, others: [{ run: short, atMs: 1 }], hosts: [host(1e9)], latency: LATENCY })
  const of = (id: string) => worked.filter(({ run }) => run === id)
  const fromMs = Math.max(...['long', 'short'].map((id) => of(id)[0].atMs))
  const toMs = Math.min(...['long', 'short'].map((id) => of(id).at(-1)!.atMs))
  const shareOf = (id: string) =>
    of(id).reduce((sum, { atMs, busyMs }) => sum + (atMs > fromMs && atMs < toMs ? busyMs : 0), 0) / (toMs - fromMs)
  const [ofLong, ofShort] = [shareOf('long'), shareOf('short')]
  t.log(`${(100 * ofLong).toFixed(1)} % and ${(100 * ofShort).toFixed(1)} % of ${((toMs - fromMs) / 1000).toFixed(1)} s`)
  t.true(toMs - fromMs > 2_000)
  t.true(ofLong / ofShort < 1.1 && ofShort / ofLong < 1.1, `${ofLong} and ${ofShort}`)
  // Nobody waits longer than for two steps of the other.
  const ends = of('short')
    .map(({ atMs }) => atMs)
    .filter((atMs) => atMs > fromMs && atMs < toMs)
  const longest = Math.max(...ends.slice(1).map((atMs, i) => atMs - ends[i]))
  t.log(`the short run waits ${longest.toFixed(1)} ms at most`)
  t.true(longest <= 2 * 20 + 1, `${longest} ms`)
})

test.serial('a third run that its PNodes have no memory for waits, says why, and begins when one of the others has ended', async (t) => {
  // Each needs about 43 MB, for its parameters and what belongs to them.
  const size = { cost: 20, steps: 100, parameters: 600_000 }
  const [a, b, c] = ['a', 'b', 'c'].map((id, i) => runOf(id, i + 1, size))
  const others = [b, c].map((run, i) => ({ run, atMs: 200 * (i + 1) }))
  const { worked, waits } = await carriedOut({ run: a, others, hosts: [host(100e6)], latency: LATENCY })
  const spans = ['a', 'b', 'c'].map((id) => {
    const times = worked.filter(({ run }) => run === id).map(({ atMs }) => atMs)
    return { id, fromMs: times[0], toMs: times.at(-1)! }
  })
  const [first, second, third] = spans.toSorted((one, other) => one.fromMs - other.fromMs)
  t.log(spans.map(({ id, fromMs, toMs }) => `${id} ${fromMs.toFixed(0)}–${toMs.toFixed(0)} ms`).join(', '))
  t.true(second.fromMs < first.toMs, 'two run side by side')
  const endMs = Math.min(first.toMs, second.toMs)
  // A heartbeat says that there is room, and runs that wait are looked at every two seconds.
  t.true(third.fromMs > endMs && third.fromMs < endMs + 4_000, 'the third one begins when one of them has ended')
  t.deepEqual([...new Set(waits.map(([run]) => run))], [third.id])
  t.true(waits[0][1] < third.fromMs)
})

test('in every fourth cluster there are several runs, of which some are refined, and some poisoned', (t) => {
  const others = Array.from({ length: 1_000 }, (_, i) => drawPlan(i + 1).cluster.others ?? [])
  t.true(others.filter((runs) => runs.length > 0).length > 200)
  const all = others.flat().map(({ run }) => run)
  t.true(all.filter(({ poison }) => poison).length > 30 && all.filter(({ definition }) => definition.training.refinement).length > 60)
})
