import test from 'ava'
import { RandomStream } from '../../runtime/random.js'
import { exponential, LEARNING_AT_HOME } from './network.js'
import { carryOut, type Outcome, type Spectator } from './simulate.js'
import { drawRun } from './simulated-run.js'

test('where a tenth of all messages is lost and latency is exponential with a mean of a second, the hash is that of an undisturbed run', async (t) => {
  const seed = 1
  const run = drawRun(new RandomStream(seed, 'learning at home'), { vnodes: 6, steps: 40, window: 8, everySteps: 10 }, seed)
  const hosts = Array.from({ length: 4 }, (_, i) => ({ name: `h${i + 1}`, msPerCost: 1, gflops: 20, memoryBytes: 1e9, computeClass: 'c' }))
  const plan = { seed, cluster: { run, hosts, latency: { leastMs: 1, mostMs: 2, jitterMs: 0 } }, faults: [] }
  // Microtasks can be run only where none runs. `carryOut` itself compares with what the run gives undisturbed.
  const [calm, stormy] = await new Promise<Outcome[]>((resolve, reject) => {
    setImmediate(() => {
      try {
        const spectator: Spectator = { begin: (_world, cluster) => void cluster.network.storm(LEARNING_AT_HOME) }
        resolve([carryOut(plan), carryOut(plan, { spectator })])
      } catch (error) {
        reject(error)
      }
    })
  })
  t.true(stormy.simulatedMs > 5 * calm.simulatedMs, `${stormy.simulatedMs} ms, calm ${calm.simulatedMs} ms`)
})

test('exponential delays have a mean of 1, and e⁻ᵗ of them are longer than t', (t) => {
  const stream = new RandomStream(1, 'exponential')
  const delays = Array.from({ length: 20_000 }, () => exponential(stream))
  t.true(Math.abs(delays.reduce((sum, delay) => sum + delay, 0) / delays.length - 1) < 0.03)
  for (const longerThan of [0.5, 1, 3]) {
    const share = delays.filter((delay) => delay > longerThan).length / delays.length
    t.true(Math.abs(share - Math.exp(-longerThan)) < 0.01, `${share} longer than ${longerThan}`)
  }
})
