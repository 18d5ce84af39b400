/** The central test: whatever is killed, lost, doubled, delayed or moved, the final weights have the hash of the undisturbed run's. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { local, resume, train } from '../../actors/train.js'
import type { MemoryObjects } from '../../runtime/object-store/memory-store.js'
import {
  type ChaosPlan,
  networks,
  openPools,
  type Outcome,
  planOf,
  renamed,
  stumblingNetworks,
  undisturbed,
  withChaos,
} from '../support/chaos-run.js'
import { chainsOf, copyObjects, openObjects, TOTAL_STEPS, TRAINING, watchedStore } from '../support/small-runs.js'

/** The last ones have found something: a last cut that overtook the one before it, and a worker lost while its PNode joined. */
const SEEDS = [...Array.from({ length: 22 }, (_, i) => i + 1), 1042, 2137]
/** With everything else that can go wrong, too: all kinds of it are among them. */
const TROUBLED_SEEDS = [1, 33, 36, 42, 45, 46, 54]

const pools = openPools()
test.after.always(() => pools.close())
const folder = mkdtempSync(join(tmpdir(), 'swarmgrad-stones-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))
const stone = join(folder, 'stone')
const stumbling = { stone, networks: stumblingNetworks(stone) }

const expected: { [name: string]: Outcome } = {}
test.before(async () => {
  for (const name of ['chain', 'branching'] as const) expected[name] = await undisturbed(name)
})

test.serial('undisturbed runs differ where the networks do, and each VNode has a chain', (t) => {
  t.not(expected.chain.hash, expected.branching.hash)
  t.is(Object.keys(expected.branching.chains).length, 5)
  for (const { chains } of Object.values(expected)) for (const chain of Object.values(chains)) t.regex(chain, /^(?!0{64})[0-9a-f]{64}$/)
})

for (const seed of SEEDS) {
  test.serial(`seed ${seed}: ${describe(planOf(seed))}`, async (t) => {
    const plan = planOf(seed)
    const { hash, chains, result } = await withChaos(plan, pools)
    t.deepEqual(chains, expected[plan.network].chains, JSON.stringify(plan))
    t.is(hash, expected[plan.network].hash, JSON.stringify(plan))
    t.like(result, { status: 'done', steps: TOTAL_STEPS, stepsLost: 0, stepsDoubled: 0 }, JSON.stringify(plan))
  })
}

for (const seed of TROUBLED_SEEDS) {
  const plan = planOf(seed, { troubles: 4 })
  const troubles = plan.troubles.map(({ what, step }) => `${what}@${step}`)
  test.serial(`seed ${seed}: ${describe(plan)}, ${troubles.join(' ')}`, async (t) => {
    const wanted = await undisturbed(plan.network, TRAINING, stumbling.networks)
    const { hash, chains, result } = await withChaos(plan, pools, { limitMs: 90_000, stumbling })
    t.deepEqual(chains, wanted.chains, JSON.stringify(plan))
    t.is(hash, wanted.hash, JSON.stringify(plan))
    t.like(result, { status: 'done', steps: TOTAL_STEPS, stepsLost: 0, stepsDoubled: 0 }, JSON.stringify(plan))
  })
}

test.serial('a process that ends at any write to its store leaves what another can go on from', async (t) => {
  const crashes: { readonly key: string; readonly when: string; readonly left: MemoryObjects }[] = []
  const { store, objects } = openObjects()
  const watched = watchedStore(store, (key, when) => void crashes.push({ key, when, left: copyObjects(objects) }))
  const options = { on: local({ pnodes: 2 }), checkpoint: { everySteps: 7 } }
  const first = train(networks.branching, TRAINING, { ...options, store: watched }, { id: 'a', pool: renamed(pools.inline, 'crashing-') })
  t.is((await first.result).hash, expected.branching.hash)
  const isAlive = ({ left }: (typeof crashes)[number]) => {
    const head = left.entries.get('runs/a/head')
    return left.entries.has('runs/a/definition') && (!head || JSON.parse(new TextDecoder().decode(head.bytes)).status !== 'done')
  }
  const alive = crashes.filter(isAlive)
  t.true(alive.length > 30)
  // Every fifth, and each of the last ones, where the run is being brought to its end.
  const chosen = alive.filter((_, i) => i % 5 === 0 || i > alive.length - 6)
  for (const [i, { key, when, left }] of chosen.entries()) {
    const { store: again } = openObjects(left)
    const on = local({ pnodes: 1 + (i % 3), window: 1 + (i % 5) })
    const run = resume('a', { on, store: again, checkpoint: { everySteps: 5 } }, { pool: renamed(pools.inline, `resumed-${i}-`) })
    const { hash } = await run.result
    t.is(hash, expected.branching.hash, `after a crash ${when} the write of ${key}`)
    t.deepEqual(await chainsOf(again, 'a'), expected.branching.chains, `after a crash ${when} the write of ${key}`)
  }
})

function describe({ network, pnodes, window, threads, kills, bus, replicas }: ChaosPlan): string {
  const shape = `${network} on ${pnodes} ${threads ? 'threads' : 'PNodes of one thread'}, window ${window}${replicas ? ', standbys' : ''}`
  const chaos = `${bus.lost * 100} % lost, ${bus.doubled * 100} % doubled, ${bus.delayed * 100} % delayed`
  return `${shape}, ${chaos}, kills ${kills.map(({ what, step }) => `${what}@${step}`).join(' ')}`
}
