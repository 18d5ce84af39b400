/**
 * Goodput on machines that come and go: a run in the simulator under a trace of spot instances, at its true time scale. A removed instance is gone
 * without notice. Useful samples over what the hosts that are there at each moment would do without faults.
 */
import type { Spectator } from '../test/simulation/simulate.js'
import { Accounts, CAUSES } from './goodput-accounts.js'
import type { Report } from './measure.js'
import { faultsOf, firstNodes, readTrace, stretches } from './preemption-trace.js'
import { BATCH, inTurn, layersPlan, MEASURED, vnodesOf } from './simulated-layers.js'

const VNODES = 64
const WINDOW = 4
const HOUR_MS = 3_600_000
/** A run without faults is measured after so long, and for so long, in simulated ms. */
const WARM_UP_MS = 60_000
const STEADY_MS = 240_000
/** Without standbys, and with as many as in the undisturbed run. */
const LEAST_GOODPUT = { alone: 0.8, standby: 0.9 } as const

/** One that does not end in this time. */
function planOf(hosts: readonly string[], spanMs: number, standbys: number) {
  return layersPlan({ hosts, vnodes: VNODES, window: WINDOW, standbys, steps: spanMs / MEASURED.stepMs })
}

/** Steps in a simulated ms that so many hosts do when nothing goes wrong. */
async function undisturbed(nodes: number, standbys: number): Promise<number> {
  const hosts = Array.from({ length: nodes }, (_, i) => `h${i + 1}`)
  const plan = planOf(hosts, WARM_UP_MS + STEADY_MS, standbys)
  const accounts = new Accounts({ vnodes: vnodesOf(plan), standbys, possible: () => ({ stepsPerMs: 0, nodes }) })
  const spectator: Spectator = {
    begin: (world) => world.at(WARM_UP_MS, undefined, () => (warm = accounts.done)),
    onObservation: (observation) => accounts.onObservation(observation),
  }
  let warm = 0
  await inTurn(plan, { untilMs: WARM_UP_MS + STEADY_MS, spectator })
  return (accounts.done - warm) / STEADY_MS
}

export interface GoodputOptions {
  /** So many hours of the trace. Default: all of it. */
  readonly hours?: number
  /** Of each VNode. Default 0. */
  readonly standbys?: number
}

export async function goodput({ hours = Infinity, standbys = 0 }: GoodputOptions = {}): Promise<Report> {
  const trace = readTrace().filter(({ atMs }) => atMs <= hours * HOUR_MS)
  const parts = stretches(trace)
  const rates = new Map<number, number>()
  for (const { nodes } of parts) if (!rates.has(nodes)) rates.set(nodes, await undisturbed(nodes, standbys))
  const spanMs = parts.at(-1)!.toMs
  const plan = { ...planOf(firstNodes(trace), spanMs, standbys), faults: faultsOf(trace) }
  let part = 0
  const possible = (atMs: number) => {
    while (part < parts.length - 1 && parts[part].toMs <= atMs) part++
    const { nodes } = parts[part]
    return { nodes, stepsPerMs: rates.get(nodes)! }
  }
  const accounts = new Accounts({ vnodes: vnodesOf(plan), standbys, possible })
  const begun = performance.now()
  const tell = (hour: number) => process.stderr.write(`${hour} h of the trace: ${(accounts.useful / accounts.possible).toFixed(3)}\n`)
  const spectator: Spectator = {
    begin: (world, ...parts) => {
      accounts.begin(world, ...parts)
      for (let hour = 1; hour * HOUR_MS <= spanMs; hour++) world.at(hour * HOUR_MS, undefined, () => tell(hour))
    },
    onObservation: (observation) => accounts.onObservation(observation),
    onCall: (target, method) => accounts.onCall(target, method),
  }
  const { events, takeovers } = await inTurn(plan, { untilMs: spanMs, spectator })
  const share = accounts.useful / accounts.possible
  const changes = trace.filter(({ atMs }) => atMs > 0)
  return {
    figures: {
      simulatedHours: spanMs / HOUR_MS,
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
