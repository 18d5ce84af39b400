/** A pipeline of dense layers for the simulator, with times and sizes that were measured. */
import type { RunDefinition } from '../actors/run/run-definition.js'
import { type RunSettings, runSettings } from '../actors/run/run-settings.js'
import type { ClusterPlan } from '../test/simulation/cluster.js'
import { carryOut, type CarryOutOptions, type Outcome, type Plan } from '../test/simulation/simulate.js'
import { chainRun } from '../test/simulation/simulated-run.js'

/**
 * Of a VNode of a dense layer of 1024 by 1024 with Adam and batches of 1,024, measured by `node dist/bench/children/goodput-times.js` on 2 cores:
 * the worker's times in ms, sizes in bytes, and lines in bytes per ms: one over NATS from host to host, one to MinIO and back, for all hosts together.
 */
export const MEASURED = {
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
/** Samples of a step. */
export const BATCH = 1_024
const WIDTH = 1_024
/** Multiply-adds of a step: what the hosts say of their speed and how long steps take have to agree. */
const COST = BATCH * WIDTH * WIDTH
/** Between machines of one data centre, in ms. */
const LATENCY = { leastMs: 0.3, mostMs: 1, jitterMs: 0.2 } as const
const STEPS_PER_EPOCH = 1_000

export interface LayersOptions {
  /** Names of those that are there from the beginning; all are alike. */
  readonly hosts: readonly string[]
  readonly vnodes: number
  readonly window: number
  readonly standbys?: number
  /** At least so many. */
  readonly steps: number
}

export function layersPlan({ hosts, vnodes, window, standbys = 0, steps }: LayersOptions): Plan {
  const epochs = Math.ceil(steps / STEPS_PER_EPOCH)
  const size = { epochs, stepsPerEpoch: Math.ceil(steps / epochs), cost: COST }
  const run = chainRun(vnodes, size, (definition) => settingsOf(definition, { window, replicas: standbys }))
  const { startMs, loadMs, stepMs, snapshotMs, frameBytes, stateBytes, bytesPerMs, putBytesPerMs, getBytesPerMs } = MEASURED
  const cluster: ClusterPlan = {
    run,
    hosts: hosts.map((name) => ({ name, msPerCost: stepMs / COST, gflops: 30, memoryBytes: 64e9, computeClass: 'simulated | integers' })),
    latency: LATENCY,
    sizes: { frameBytes, stateBytes, bytesPerMs, putBytesPerMs, getBytesPerMs },
    times: { startMs, loadMs, snapshotMs },
  }
  return { seed: 1, cluster, faults: [] }
}

export const vnodesOf = ({ cluster }: Plan): string[] => cluster.run.definition.network.vnodes.map(({ id }) => id)

/** As `train` chooses them for layers of this size; the simulated ones are small. */
function settingsOf(definition: RunDefinition, more: { readonly window: number; readonly replicas: number }): RunSettings {
  const { network, training } = definition
  const vnodes = network.vnodes.map((vnode) => ({ ...vnode, outputShape: [WIDTH] }))
  return runSettings({ ...definition, network: { ...network, vnodes }, training: { ...training, batchSize: BATCH } }, more)
}

/** Carries it out in a turn of its own: microtasks can be run only where none runs. */
export function inTurn(plan: Plan, options: CarryOutOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        resolve(carryOut(plan, { maxEvents: Infinity, ...options }))
      } catch (error) {
        reject(error)
      }
    })
  })
}
