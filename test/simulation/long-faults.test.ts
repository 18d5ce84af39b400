/** Faults that last far longer than a test may: in simulated time they cost nothing. The run does not wait for their end. */
import test from 'ava'
import type { Fault } from './faults.js'
import { carryOut, drawPlan, type Outcome } from './simulate.js'

const SEEDS = 40
/** When most runs are in the middle of their steps, in ms. */
const AT_MS = 450

/** Carries the plan of a seed out, with other faults, in a turn of its own. @throws what is violated */
function struck(seed: number, faultsOf: (host: string) => readonly Fault[]): Promise<Outcome> {
  const plan = drawPlan(seed)
  const { hosts } = plan.cluster
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        const cluster = { ...plan.cluster, standstillMs: undefined }
        resolve(carryOut({ ...plan, cluster, faults: faultsOf(hosts[seed % hosts.length].name) }))
      } catch (error) {
        reject(error)
      }
    })
  })
}

const [atMs, deadlockMs, partitionMs] = [AT_MS, 75_000, 120_000]
const CASES: { readonly [what: string]: (host: string) => readonly Fault[] } = {
  'a process stands still for 75 s': (host) => [{ atMs, kind: 'stop', host, forMs: deadlockMs }],
  'a worker computes one step for 75 s': (host) => [{ atMs, kind: 'stuck', host, forMs: deadlockMs }],
  'a host is cut off for two minutes': (host) => [{ atMs, kind: 'cut', host, way: 'both', forMs: partitionMs }],
  'nobody hears a host for two minutes': (host) => [{ atMs, kind: 'cut', host, way: 'out', forMs: partitionMs }],
  'a host hears nothing for two minutes': (host) => [{ atMs, kind: 'cut', host, way: 'in', forMs: partitionMs }],
  'two hosts do not reach each other for two minutes': (host) => [{ atMs, kind: 'cut', host, way: 'other', forMs: partitionMs }],
  'a host does not reach the store for two minutes': (host) => [{ atMs, kind: 'cut', host, way: 'store', forMs: partitionMs }],
  'a host does not reach the broker for two minutes': (host) => [{ atMs, kind: 'cut', host, way: 'bus', forMs: partitionMs }],
  'control does not hear the calls of a host for two minutes': (host) => [{ atMs, kind: 'cut', host, way: 'reports', forMs: partitionMs }],
  'a host does not reach control for two minutes': (host) => [{ atMs, kind: 'cut', host, way: 'control', forMs: partitionMs }],
}

for (const [what, faultsOf] of Object.entries(CASES)) {
  test.serial(`${what}: nothing is lost, nothing is done twice, and nobody waits for its end`, async (t) => {
    let struckRuns = 0
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [fault] = faultsOf('')
      const { doneMs } = await struck(seed, faultsOf)
      if (doneMs > fault.atMs) struckRuns++
      t.true(doneMs < fault.atMs + ('forMs' in fault ? fault.forMs : 0), `seed ${seed}: done at ${doneMs} ms`)
    }
    t.log(`${struckRuns} of ${SEEDS} runs were under way`)
    t.true(struckRuns > SEEDS / 2)
  })
}
