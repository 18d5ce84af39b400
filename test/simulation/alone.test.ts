import test from 'ava'
import { runSettings } from '../../actors/run/run-settings.js'
import { carriedOut } from './simulate.js'
import { chainRun } from './simulated-run.js'

/** When the run was done, in simulated ms. All machines are of one owner: nobody can audit anybody. */
async function doneMs(audits: number): Promise<number> {
  const settings = (definition: Parameters<typeof runSettings>[0]) =>
    runSettings(definition, { window: 4, audits, checkpoint: { everySteps: 10 } })
  const run = chainRun(3, { epochs: 1, stepsPerEpoch: 200 }, settings)
  const one = { msPerCost: 50, gflops: 20, memoryBytes: 1e9, computeClass: 'c', owner: 'one' }
  const hosts = ['a', 'b', 'c'].map((name) => ({ ...one, name }))
  const outcome = await carriedOut({ seed: 1, cluster: { run, hosts, latency: { leastMs: 1, mostMs: 2, jitterMs: 0 } }, faults: [] })
  return outcome.doneMs
}

test('where nobody can ever be asked, no checkpoint waits for somebody anew: neither does the end', async (t) => {
  const [believed, audited] = [await doneMs(0), await doneMs(1)]
  t.true(believed > 10_000, 'longer than anybody is waited for')
  t.true(audited - believed < 1_500, `${audited} ms instead of ${believed} ms`)
})
