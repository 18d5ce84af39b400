/** Learning@home's setting in the simulator: a tenth of all messages lost, latency exponential with a mean of 1 s. The hash is that of an undisturbed run. */
import { LEARNING_AT_HOME } from '../test/simulation/network.js'
import type { Spectator } from '../test/simulation/simulate.js'
import type { Report } from './measure.js'
import { BATCH, inTurn, layersPlan } from './simulated-layers.js'

const HOSTS = 8
const STEPS = 400
/** Steps in flight on every edge: the default, and more. */
const WINDOWS = [4, 16, 64] as const

export async function learningAtHome(): Promise<Report> {
  const hosts = Array.from({ length: HOSTS }, (_, i) => `h${i + 1}`)
  const stormy: Spectator = { begin: (_world, cluster) => void cluster.network.storm(LEARNING_AT_HOME) }
  const samplesPerSecond: { [setting: string]: { calm: number; stormy: number } } = {}
  for (const window of WINDOWS) {
    const plan = layersPlan({ hosts, vnodes: HOSTS, window, steps: STEPS })
    // Each is held against the hash of the undisturbed run, step by step at checkpoints and at its end.
    const rate = async (spectator?: Spectator) => (STEPS * BATCH * 1000) / (await inTurn(plan, { spectator })).doneMs
    samplesPerSecond[`window ${window}`] = { calm: await rate(), stormy: await rate(stormy) }
  }
  return { figures: { hosts: HOSTS, vnodes: HOSTS, steps: STEPS, isSameHash: true, samplesPerSecond }, bars: [] }
}
