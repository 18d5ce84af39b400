/** Runs whose VNodes stall, through everything that a run goes through: the same decisions, told once, and the same bits. */
import test from 'ava'
import { verifyRun } from '../../actors/verify.js'
import type { Observation } from '../../actors/reports.js'
import { local, resume, type Run, train } from '../../actors/train.js'
import type { Convergence } from '../../components/definition.js'
import { fromArrays } from '../../components/datasets/index.js'
import { categorical } from '../../components/network.js'
import { RandomStream } from '../../runtime/random.js'
import { networks, openPools, type Outcome, planOf, renamed, undisturbed, withChaos } from '../support/chaos-run.js'
import { openObjects, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'

/** Labels that say nothing of the pictures: nobody learns them in three epochs. */
function noise() {
  const random = new RandomStream(1, 'noise')
  const content = (samples: number) => ({
    inputs: Float32Array.from({ length: samples * 784 }, () => random.uniform()),
    labels: Int32Array.from({ length: samples }, () => random.below(10)),
  })
  return fromArrays({ ...content(640), test: content(64), input: [28, 28, 1], target: categorical(10), id: 'noise' })
}

const POLICIES: readonly Convergence['policy'][] = ['alert', 'lowerRate', 'resetHead']
const data = noise()
const trainingOf = (policy: Convergence['policy']) => ({
  ...TRAINING,
  data,
  convergence: { policy, everySteps: 4, patience: 2, minDelta: 0.2, cooldown: 1 },
})
const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8, 9]

const pools = openPools()
test.after.always(() => pools.close())

const expected: { [name: string]: Outcome } = {}
test.before(async () => {
  for (const policy of POLICIES)
    for (const name of ['chain', 'branching'] as const) expected[`${name} ${policy}`] = await undisturbed(name, trainingOf(policy))
})

test.serial('every VNode that learns nothing stalls, and does what the policy says', (t) => {
  const happened = (policy: string) => expected[`chain ${policy}`].stalls.map(({ vnode, step, action }) => `${vnode}@${step} ${action}`)
  const vnodes = Object.keys(expected['chain alert'].chains)
  t.deepEqual(
    happened('alert'),
    vnodes.map((vnode) => `${vnode}@12 alert`),
  )
  // Two windows of four steps, then one that does not count.
  t.deepEqual(
    happened('lowerRate'),
    [12, 24, 36, 48, 60].flatMap((step) => vnodes.map((vnode) => `${vnode}@${step} lowerRate`)),
  )
  t.deepEqual(
    expected['chain lowerRate'].stalls.filter(({ vnode }) => vnode === vnodes[0]).map(({ rate }) => rate),
    [0.5, 0.25, 0.125, 0.0625, 0.03125],
  )
  t.deepEqual(
    happened('resetHead'),
    ['12 resetHead', '24 resetHead', '36 resetHead', '48 alert'].flatMap((what) => vnodes.map((vnode) => `${vnode}@${what}`)),
  )
  const hashes = POLICIES.map((policy) => expected[`chain ${policy}`].hash)
  t.is(new Set(hashes).size, 3)
})

for (const seed of SEEDS) {
  const plan = { ...planOf(seed, { steps: TOTAL_STEPS }), replicas: seed % 3 === 0 ? 1 : 0 }
  const policy = POLICIES[seed % 3]
  test.serial(`seed ${seed}: ${policy}, ${plan.network}, ${plan.kills.map(({ what, step }) => `${what}@${step}`).join(' ')}`, async (t) => {
    const { hash, chains, stalls } = await withChaos(plan, pools, { training: trainingOf(policy) })
    const { [`${plan.network} ${policy}`]: same } = expected
    t.deepEqual(stalls, same.stalls, JSON.stringify(plan))
    t.deepEqual({ hash, chains }, { hash: same.hash, chains: same.chains }, JSON.stringify(plan))
  })
}

test.serial('a standby that takes over tells what it has decided in silence', async (t) => {
  const plan = { ...planOf(1), network: 'chain', threads: false, pnodes: 4, replicas: 1, everySteps: 11, storeMs: 0 } as const
  const kills = [7, 13, 18, 31, 45].map((step) => ({ step, what: 'pnode', isAtOnce: true }) as const)
  for (const policy of POLICIES) {
    const { hash, stalls } = await withChaos({ ...plan, kills }, pools, { training: trainingOf(policy) })
    t.deepEqual(stalls, expected[`chain ${policy}`].stalls)
    t.is(hash, expected[`chain ${policy}`].hash)
  }
})

test.serial('a run that is paused between two decisions goes on to the same ones, and verify finds no difference', async (t) => {
  const { store } = openObjects()
  const on = local({ pnodes: 2, window: 1, threads: false })
  const pool = renamed(pools.inline, 'paused-')
  const told: string[] = []
  const onObservation = (seen: Observation) => {
    if (seen.type === 'applied' && seen.entry.step === 14) first.pause().catch(() => undefined)
  }
  const options = { on, store, checkpoint: { everySteps: 5 } }
  const first: Run = train(networks.chain, trainingOf('lowerRate'), options, { id: 'paused', pool, onObservation })
  for await (const event of first.events()) {
    if (event.type === 'stalled') told.push(`${event.vnode}@${event.step}`)
    if (event.type === 'paused' || event.type === 'done') break
  }
  t.true(told.length > 0 && told.length < expected['chain lowerRate'].stalls.length)
  const second = resume('paused', { on, store }, { pool })
  for await (const event of second.events()) {
    if (event.type === 'stalled') told.push(`${event.vnode}@${event.step}`)
    if (event.type === 'done') break
  }
  t.is((await second.result).hash, expected['chain lowerRate'].hash)
  t.deepEqual(
    told,
    expected['chain lowerRate'].stalls.map(({ vnode, step }) => `${vnode}@${step}`),
  )
  const { difference } = await verifyRun(store, 'paused', { threads: false })
  t.is(difference, undefined)
})

test.serial('its history has the measures of every VNode', async (t) => {
  const { store } = openObjects()
  const on = local({ pnodes: 1, threads: false })
  const run = train(networks.chain, trainingOf('lowerRate'), { on, store }, { id: 'measured', pool: renamed(pools.inline, 'measured-') })
  await run.result
  const rates = (await run.history()).map(({ vnodes }) => vnodes.map(({ metrics }) => metrics.rate))
  t.is(rates.length, 3)
  for (const [i, rate] of [0.5, 0.125, 0.03125].entries()) for (const own of rates[i]) t.true(Math.abs(own - rate) < 1e-9, `${own}`)
})

test('a convergence out of range is refused by name', async (t) => {
  const { store } = openObjects()
  for (const convergence of [{ policy: 'alert', patience: 0 }, { policy: 'grow' }, 'twice', 3]) {
    const run = train(networks.chain, { ...TRAINING, convergence: convergence as never }, { store, on: local({ threads: false }) })
    const error = await t.throwsAsync(run.result, { code: 'usage' } as never)
    t.regex(error.message, /convergence.*alert, lowerRate or resetHead/, JSON.stringify(convergence))
  }
})
