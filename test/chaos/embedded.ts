/** Chaos in one process: kills of PNodes and workers, and all that can go wrong besides, as drawn from a seed. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openPools, type Outcome, planOf, stumblingNetworks, undisturbed, withChaos } from '../support/chaos-run.js'
import type { Chaos, ChaosTask } from './main.js'

/** A run takes seconds; a threaded one that loses all its workers again and again a minute. */
const LIMIT_MS = 180_000

export async function embeddedChaos({ training, steps, kills, troubles }: ChaosTask): Promise<Chaos> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-chaos-'))
  const stumbling = { stone: join(folder, 'stone'), networks: stumblingNetworks(join(folder, 'stone')) }
  const pools = openPools()
  const expected: { [name: string]: Outcome } = {}
  for (const name of ['chain', 'branching'] as const) expected[name] = await undisturbed(name, training, stumbling.networks)
  return {
    async run(seed) {
      const plan = planOf(seed, { steps, kills, troubles })
      const { struck, ...outcome } = await withChaos(plan, pools, { limitMs: LIMIT_MS, training, stumbling })
      return { struck, outcome, expected: expected[plan.network] }
    },
    async close() {
      await pools.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
