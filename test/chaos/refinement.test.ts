/** Runs that learn again from their newest inputs, through everything that a run goes through: the same bits. */
import test from 'ava'
import { readTrace } from '../../actors/run/checkpoints.js'
import { local, train } from '../../actors/train.js'
import { networks, openPools, type Outcome, planOf, renamed, undisturbed, withChaos } from '../support/chaos-run.js'
import { openObjects, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'

const training = { ...TRAINING, epochs: 2, refinement: { passes: 2, inputs: 2 } }
const STEPS = (TOTAL_STEPS / 3) * 2
const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8]

const pools = openPools()
test.after.always(() => pools.close())

const expected: { [name: string]: Outcome } = {}
test.before(async () => {
  for (const name of ['chain', 'branching'] as const) expected[name] = await undisturbed(name, training)
})

for (const seed of SEEDS) {
  const plan = planOf(seed, { steps: STEPS })
  test.serial(
    `seed ${seed}: ${plan.network}, window ${plan.window}, ${plan.kills.map(({ what, step }) => `${what}@${step}`).join(' ')}`,
    async (t) => {
      const { hash, chains, result } = await withChaos(plan, pools, { training })
      t.deepEqual(chains, expected[plan.network].chains, JSON.stringify(plan))
      t.is(hash, expected[plan.network].hash, JSON.stringify(plan))
      t.like(result, { status: 'done', steps: STEPS, stepsLost: 0, stepsDoubled: 0 }, JSON.stringify(plan))
    },
  )
}

test.serial('whatever the number of PNodes, the window and the threads are', async (t) => {
  for (const [i, { pnodes, window, threads }] of [
    { pnodes: 1, window: 1, threads: false },
    { pnodes: 3, window: 16, threads: false },
    { pnodes: 2, window: 4, threads: true },
  ].entries()) {
    const { store } = openObjects()
    const pool = renamed(threads ? pools.threads : pools.inline, `same-${i}-`)
    const run = train(networks.chain, training, { on: local({ pnodes, window, threads }), store }, { id: `same-${i}`, pool })
    t.is((await run.result).hash, expected.chain.hash, JSON.stringify({ pnodes, window, threads }))
  }
})

test.serial('it changes what is learnt after the first step, and not what the first step sends on', async (t) => {
  const traceOf = async (options: typeof TRAINING | typeof training) => {
    const { store } = openObjects()
    const run = train(networks.chain, { ...options, epochs: 1 }, { on: local({ pnodes: 1, threads: false }), store }, { id: 'a' })
    await run.result
    return readTrace(store, 'a')
  }
  const [plain, refined] = [await traceOf(TRAINING), await traceOf(training)]
  for (const vnode of plain.keys()) {
    t.is(plain.get(vnode)![0], refined.get(vnode)![0])
    t.not(plain.get(vnode)![1], refined.get(vnode)![1])
  }
})

test('a refinement out of range is refused by name', async (t) => {
  const { store } = openObjects()
  for (const refinement of [{ passes: 0, inputs: 1 }, { passes: 1, inputs: 65 }, { passes: 1 }, 'twice']) {
    const run = train(networks.chain, { ...TRAINING, refinement: refinement as never }, { store, on: local({ threads: false }) })
    const error = await t.throwsAsync(run.result)
    t.regex(error.message, /refinement.*passes: 1 to 16, inputs: 1 to 64/, JSON.stringify(refinement))
  }
})
