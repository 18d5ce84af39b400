/** Runs in a simulated cluster that nothing goes wrong in: how long their steps take, when they end, and what they wait for. */
import type { RunDefinition } from '../../actors/run/run-definition.js'
import type { Refinement } from '../../components/definition.js'
import { RandomStream } from '../../runtime/random.js'
import { AllInvariants } from './all-invariants.js'
import { type ClusterPlan, SimulatedCluster } from './cluster.js'
import { drawRun, type SimulatedRun } from './simulated-run.js'
import { World } from './world.js'

export const LATENCY = { leastMs: 0.05, mostMs: 0.1, jitterMs: 0 }

export interface SimulatedSize {
  readonly cost: number
  readonly steps: number
  readonly parameters?: number
  readonly refinement?: Refinement
}

/** Three VNodes that all cost the same, and never stop for a checkpoint. */
export function runOf(id: string, seed: number, { cost, steps, parameters = 1, refinement }: SimulatedSize): SimulatedRun {
  const drawn = drawRun(new RandomStream(seed, 'several'), { vnodes: 3, steps, window: 8, everySteps: 10_000 }, seed)
  const { network, training } = drawn.definition
  const definition: RunDefinition = {
    ...drawn.definition,
    network: { ...network, vnodes: network.vnodes.map((vnode) => ({ ...vnode, hasHead: true, cost, parameters })) },
    training: { ...training, ...(refinement && { refinement }) },
  }
  return { ...drawn, id, definition }
}

export interface Worked {
  readonly atMs: number
  readonly run: string
  readonly busyMs: number
  /** 0: an evaluation. */
  readonly step: number
}

export type Waits = readonly [run: string, atMs: number, events: string]

/** Carries runs out to their ends, each with the hash that it has alone. Returns what every step took, and when it ended. */
function carryOut(plan: ClusterPlan): { readonly worked: Worked[]; readonly waits: Waits[] } {
  const world = new World(1)
  const runs = [plan.run, ...(plan.others ?? []).map(({ run }) => run)]
  const invariants = new AllInvariants(
    runs,
    () => 'simulated | integers',
    () => world.now,
  )
  const worked: Worked[] = []
  const waits: Waits[] = []
  const { watch } = invariants
  const cluster = new SimulatedCluster(world, plan, {
    ...watch,
    onObservation(host, observation) {
      watch.onObservation(host, observation)
      if (observation.type === 'applied') {
        const { run, busyMs, entry } = observation
        worked.push({ atMs: world.now, run, busyMs, step: entry.evaluation > 0 ? 0 : entry.step })
      }
    },
    onPut(key, bytes, writer) {
      watch.onPut(key, bytes, writer)
      const run = /^runs\/([^/]+)\/events\//.exec(key)?.[1]
      const text = run === undefined ? '' : Buffer.from(bytes).toString()
      if (text.includes('more than its') || text.includes('no turn')) waits.push([run!, world.now, text])
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
export function carriedOut(plan: ClusterPlan): Promise<ReturnType<typeof carryOut>> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        resolve(carryOut(plan))
      } catch (error) {
        reject(error)
      }
    })
  })
}

export const host = (memoryBytes: number) => ({ name: 'h1', msPerCost: 0.1, gflops: 40, memoryBytes, computeClass: 'simulated | integers' })
