/**
 * Goodput on machines that come and go: a run in the simulator under a trace of spot instances, at its true time scale. A removed instance is gone
 * without notice. Useful samples over what the hosts that are there at each moment would do without faults.
 */
import type { RunDefinition } from '../actors/run-definition.js'
import { type RunSettings, runSettings } from '../actors/run-settings.js'
import type { ClusterPlan } from '../test/simulation/cluster.js'
import type { Fault } from '../test/simulation/faults.js'
import { carryOut, type CarryOutOptions, type Outcome, type Spectator } from '../test/simulation/simulate.js'
import { chainRun } from '../test/simulation/simulated-run.js'
import { Accounts, CAUSES } from './goodput-accounts.js'
import type { Report } from './measure.js'
import { faultsOf, firstNodes, readTrace, stretches } from './preemption-trace.js'

/**
 * Of a VNode of a dense layer of 1024 by 1024 with Adam and batches of 1,024, measured by `node dist/bench/children/goodput-times.js` on 2 cores:
 * the worker's times in ms, sizes in bytes, and lines in bytes per ms: one over NATS from host to host, one to MinIO and back, for all hosts together.
 */
const MEASURED = {
  startMs: 369,
  loadMs: 29.5,
  stepMs: 215,
  snapshotMs: 5.2,
  frameBytes: 4_198_592,
  stateBytes: 12_718_864,
  bytesPerMs: 498_000,
  putBytesPerMs: 103_000,
  getBytesPerMs: 240_000,
} as const
const BATCH = 1_024
const WIDTH = 1_024
const VNODES = 64
const WINDOW = 4
/** Between machines of one data centre, in ms. */
const LATENCY = { leastMs: 0.3, mostMs: 1, jitterMs: 0.2 } as const
const STEPS_PER_EPOCH = 1_000
/** A run without faults is measured after so long, and for so long, in simulated ms. */
const WARM_UP_MS = 60_000
const STEADY_MS = 240_000
/** Without standbys, and with as many as in the undisturbed run. */
const LEAST_GOODPUT = { alone: 0.8, standby: 0.9 } as const

/** As `train` chooses them for layers of this size; the simulated ones are small. */
function settings(definition: RunDefinition, replicas: number): RunSettings {
  const { network, training } = definition
  const vnodes = network.vnodes.map((vnode) => ({ ...vnode, outputShape: [WIDTH] }))
  return runSettings(
    { ...definition, network: { ...network, vnodes }, training: { ...training, batchSize: BATCH } },
    {},
    { window: WINDOW, replicas },
  )
}

/** More than can be done in all that time. */
function planOf(names: readonly string[], faults: readonly Fault[], spanMs: number, standbys: number) {
  const steps = spanMs / MEASURED.stepMs
  const size = { epochs: Math.ceil(steps / STEPS_PER_EPOCH), stepsPerEpoch: STEPS_PER_EPOCH }
  const run = chainRun(VNODES, size, (definition) => settings(definition, standbys))
  const hosts = names.map((name) => ({
    name,
    msPerCost: MEASURED.stepMs,
    gflops: 30,
    memoryBytes: 64e9,
    computeClass: 'simulated | integers',
  }))
  const { startMs, loadMs, snapshotMs, frameBytes, stateBytes, bytesPerMs, putBytesPerMs, getBytesPerMs } = MEASURED
  const sizes = { frameBytes, stateBytes, bytesPerMs, putBytesPerMs, getBytesPerMs }
  const cluster: ClusterPlan = { run, hosts, latency: LATENCY, sizes, times: { startMs, loadMs, snapshotMs } }
  return { seed: 1, cluster, faults: [...faults] }
}

/** In a turn of its own: microtasks can be run only where none runs. */
function inTurn(plan: Parameters<typeof carryOut>[0], options: CarryOutOptions): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        resolve(carryOut(plan, options))
      } catch (error) {
        reject(error)
      }
    })
  })
}

/** Steps in a simulated ms that so many hosts do when nothing goes wrong. */
async function undisturbed(nodes: number, standbys: number): Promise<number> {
  const plan = planOf(
    Array.from({ length: nodes }, (_, i) => `h${i + 1}`),
    [],
    WARM_UP_MS + STEADY_MS,
    standbys,
  )
  const accounts = new Accounts({ vnodes: vnodesOf(plan.cluster), standbys, possible: () => ({ stepsPerMs: 0, nodes }) })
  const spectator: Spectator = {
    begin: (world) => world.at(WARM_UP_MS, undefined, () => (warm = accounts.done)),
    onObservation: (observation) => accounts.onObservation(observation),
  }
  let warm = 0
  await inTurn(plan, { untilMs: WARM_UP_MS + STEADY_MS, maxEvents: Infinity, spectator })
  return (accounts.done - warm) / STEADY_MS
}

const vnodesOf = ({ run }: ClusterPlan): string[] => run.definition.network.vnodes.map(({ id }) => id)

export interface GoodputOptions {
  /** So many hours of the trace. Default: all of it. */
  readonly hours?: number
  /** Of each VNode. Default 0. */
  readonly standbys?: number
}

export async function goodput({ hours = Infinity, standbys = 0 }: GoodputOptions = {}): Promise<Report> {
  const trace = readTrace().filter(({ atMs }) => atMs <= hours * 3_600_000)
  const parts = stretches(trace)
  const rates = new Map<number, number>()
  for (const { nodes } of parts) if (!rates.has(nodes)) rates.set(nodes, await undisturbed(nodes, standbys))
  const spanMs = parts.at(-1)!.toMs
  const plan = planOf(firstNodes(trace), faultsOf(trace), spanMs, standbys)
  let part = 0
  const possible = (atMs: number) => {
    while (part < parts.length - 1 && parts[part].toMs <= atMs) part++
    const { nodes } = parts[part]
    return { nodes, stepsPerMs: rates.get(nodes)! }
  }
  const accounts = new Accounts({ vnodes: vnodesOf(plan.cluster), standbys, possible })
  const begun = performance.now()
  const { events, takeovers } = await inTurn(plan, { untilMs: spanMs, maxEvents: Infinity, spectator: accounts })
  const share = accounts.useful / accounts.possible
  const changes = trace.filter(({ atMs }) => atMs > 0)
  return {
    figures: {
      simulatedHours: spanMs / 3_600_000,
      seconds: (performance.now() - begun) / 1000,
      events,
      vnodes: VNODES,
      standbys,
      nodes: [Math.min(...parts.map(({ nodes }) => nodes)), Math.max(...parts.map(({ nodes }) => nodes))],
      removed: changes.filter(({ isAdded }) => !isAdded).length,
      added: changes.filter(({ isAdded }) => isAdded).length,
      steps: accounts.useful,
      vnodeSteps: accounts.applied,
      replayed: accounts.replayed / accounts.applied,
      restored: accounts.restored,
      takeovers,
      samplesPerSecond: (accounts.useful * BATCH * 1000) / spanMs,
      goodput: share,
      lost: Object.fromEntries(CAUSES.map((cause) => [cause, accounts.lost[cause] / accounts.possible])),
      timeShare: Object.fromEntries(CAUSES.map((cause) => [cause, accounts.lasted[cause] / spanMs])),
      undisturbed: Object.fromEntries([...rates].toSorted(([a], [b]) => a - b).map(([nodes, rate]) => [nodes, rate * 1000])),
    },
    bars: [
      {
        name: 'useful samples over those without faults',
        value: share,
        atLeast: standbys > 0 ? LEAST_GOODPUT.standby : LEAST_GOODPUT.alone,
      },
    ],
  }
}
