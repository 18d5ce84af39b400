/** Hosts that are not as fast as they say, in a whole cluster: they are measured, demoted, and lose their VNodes without a step being done twice. */
import test from 'ava'
import { DEFAULT_TIERS, type Tiers } from '../../actors/placement/admission.js'
import { cluster } from '../../actors/cluster.js'
import type { Membership } from '../../actors/calls.js'
import type { RunEvent } from '../../actors/events.js'
import { local, type Run, train } from '../../actors/train.js'
import type { ComputePool } from '../../runtime/compute/compute.js'
import { inlinePool } from '../../runtime/compute/inline-compute.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { within } from '../conformance/within.js'
import { memoryCluster, type MemoryCluster } from '../support/memory-cluster.js'
import { pretending } from '../support/pretending-compute.js'
import { chain, chainsOf, TRAINING } from '../support/small-runs.js'

const LONG = { ...TRAINING, epochs: 40 }
const HONEST_GFLOPS = 40
const HONEST_MS = 2
/** Here nobody is wanted who is ten times slower than the others. */
const floor = { ...DEFAULT_TIERS[2], gflops: 10 }
const tiers: Tiers = [{ ...DEFAULT_TIERS[0], gflops: 30 }, { ...DEFAULT_TIERS[1], gflops: 20 }, floor]
const membership = { rateMs: 150, heartbeatMs: 200, tiers }
const DEADLINE_MS = 60_000
const MACHINES = new URL('../../components/vnode-machine.js', import.meta.url)

let expected: { readonly hash: string | undefined; readonly chains: object }
test.before(async () => {
  const store = memoryStore()
  const { hash } = await train(chain, LONG, { on: local({ pnodes: 1, threads: false }), store }, { id: 'r' }).result
  expected = { hash, chains: await chainsOf(store, 'r') }
})

/** All events, with something to be done at each. */
async function watch(run: Run, at: (event: RunEvent) => void = () => undefined): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  for await (const event of run.events()) {
    events.push(event)
    at(event)
  }
  return events
}

const memberOf = ({ host }: MemoryCluster, name: string): Membership => host.members.find(({ pnode }) => pnode === name)!
const placesOf = (events: readonly RunEvent[], pnode: string) =>
  events.flatMap((event) => (event.type === 'placed' && event.pnode === pnode ? [event.vnode] : []))

test.serial('a host that lies tenfold about its speed is measured and demoted, and what it had goes on elsewhere', async (t) => {
  // Of two equal VNodes it gets one: the names decide.
  const made = await memoryCluster(t, {
    pnodes: ['ann', 'bob', 'liar'],
    membership,
    compute: (name, own) =>
      pretending(own, { saidGflops: () => HONEST_GFLOPS, stepMs: () => (name === 'liar' ? 10 * HONEST_MS : HONEST_MS) }),
  })
  t.is(memberOf(made, 'liar').tier, 1)
  const run = train(chain, LONG, { on: cluster(made.url, { token: made.keys.trainerToken }), audits: 0 }, { id: 'r' })
  const events = await within(DEADLINE_MS, 'the end of the run', watch(run))
  const result = await run.result
  t.like(result, { status: 'done', hash: expected.hash, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  t.deepEqual(await chainsOf(made.store, 'r'), expected.chains)

  const given = placesOf(events, 'liar')
  t.true(given.length > 0)
  const rated = events.flatMap((event) => (event.type === 'rated' ? [event] : []))
  t.deepEqual([...new Set(rated.map(({ pnode }) => pnode))], ['liar'], 'nobody else is taken for slow')
  t.like(rated[0], { state: 'observer', saidGflops: HONEST_GFLOPS })
  t.true(Math.abs(rated[0].gflops - HONEST_GFLOPS / 10) < 0.5, String(rated[0].gflops))
  const moved = events.flatMap((event) => (event.type === 'placed' && event.reason === 'handed over by liar' ? [event] : []))
  t.deepEqual(moved.map(({ vnode }) => vnode).toSorted(), given.toSorted())
  t.false(moved.some(({ pnode }) => pnode === 'liar'))
  t.false(events.some(({ type }) => type === 'lost'))
  t.like(memberOf(made, 'liar'), { state: 'observer', saidGflops: HONEST_GFLOPS, refusal: { measure: 'gflops', needed: 10 } })
  t.deepEqual(made.errors, [])
})

test.serial(
  'a host that becomes slow is demoted in the middle of a run; when it is fast again it says so in vain, for a while',
  async (t) => {
    let isSlow = false
    const made = await memoryCluster(t, {
      pnodes: ['ann', 'bob', 'cyd'],
      membership,
      measureEveryMs: 300,
      compute: (name, own) =>
        pretending(own, { saidGflops: () => HONEST_GFLOPS, stepMs: () => (name === 'cyd' && isSlow ? 10 * HONEST_MS : HONEST_MS) }),
    })
    const run = train(chain, LONG, { on: cluster(made.url, { token: made.keys.trainerToken }), audits: 0 }, { id: 'r' })
    const story = watch(run, (event) => {
      if (event.type === 'progress' && event.step > 100) isSlow = true
      if (event.type === 'placed' && event.reason === 'handed over by cyd') isSlow = false
    })
    const events = await within(DEADLINE_MS, 'the end of the run', story)
    t.like(await run.result, { status: 'done', hash: expected.hash, stepsReplayed: 0 })
    const rated = events.findIndex(({ type }) => type === 'rated')
    t.like(events[rated], { pnode: 'cyd', state: 'observer', saidGflops: HONEST_GFLOPS })
    t.true(events.slice(0, rated).some((event) => event.type === 'progress' && event.step > 100))
    t.deepEqual(placesOf(events.slice(rated), 'cyd'), [])
    t.is(memberOf(made, 'cyd').state, 'observer', 'it has measured itself anew, and control has its doubts')
  },
)

test.serial(
  'embedded, too: a worker whose steps take ten times as long as those of the others is found, and its VNode moves',
  async (t) => {
    const pool = inlinePool({ machines: MACHINES })
    const slow: ComputePool = {
      compute: (name) =>
        pretending(pool.compute(name), {
          saidGflops: () => HONEST_GFLOPS,
          stepMs: () => (name === 'pnode-3' ? 10 * HONEST_MS : HONEST_MS),
        }),
      close: () => pool.close(),
    }
    const store = memoryStore()
    const run = train(chain, LONG, { on: local({ pnodes: 3, membership }), store }, { id: 'r', pool: slow })
    const events = await within(DEADLINE_MS, 'the end of the run', watch(run))
    t.like(await run.result, { status: 'done', hash: expected.hash, stepsReplayed: 0 })
    t.deepEqual(await chainsOf(store, 'r'), expected.chains)
    t.like(
      events.find(({ type }) => type === 'rated'),
      { pnode: 'pnode-3', state: 'observer' },
    )
    t.true(events.some((event) => event.type === 'placed' && event.reason === 'handed over by pnode-3'))
  },
)

test.serial('a machine that is too slow when it joins is an observer; when it passes later it gets work', async (t) => {
  let gflops = 1
  let isUnderWay = false
  let interruptions = 0
  const made = await memoryCluster(t, {
    pnodes: ['ann'],
    membership,
    measureEveryMs: 50,
    compute: (name, own) =>
      pretending(own, {
        saidGflops: () => {
          if (name === 'ann' && isUnderWay) interruptions++
          return name === 'pi' ? gflops : HONEST_GFLOPS
        },
        stepMs: () => HONEST_MS,
      }),
  })
  await made.addPNode('pi')
  t.like(memberOf(made, 'pi'), { state: 'observer', refusal: { measure: 'gflops', needed: 10, got: 1 } })
  const run = train(chain, LONG, { on: cluster(made.url, { token: made.keys.trainerToken }), audits: 0 }, { id: 'r' })
  const story = watch(run, (event) => {
    if (event.type !== 'progress') return
    isUnderWay = event.step > 0 && event.step < 200
    if (event.step > 200) gflops = HONEST_GFLOPS * 4
  })
  const events = await within(DEADLINE_MS, 'the end of the run', story)
  t.like(await run.result, { status: 'done', hash: expected.hash, stepsReplayed: 0 })
  const given = events.findIndex((event) => event.type === 'placed' && event.pnode === 'pi')
  t.true(given > events.findIndex((event) => event.type === 'progress' && event.step > 200))
  t.like(memberOf(made, 'pi'), { tier: 1, gflops: HONEST_GFLOPS * 4 })
  t.is(interruptions, 0, 'no step of the other waited for a measurement')
})

test.serial("a machine of one's own is never too slow, whatever was measured of it while others used it", async (t) => {
  const own = inlinePool({ machines: MACHINES })
  const compute = (name: string) => pretending(own.compute(name), { saidGflops: () => 0.01, stepMs: () => HONEST_MS })
  const on = local({ pnodes: 1 })
  const { result } = train(chain, { ...LONG, epochs: 1 }, { on, store: memoryStore() }, { pool: { compute, close: () => own.close() } })
  t.is((await result).status, 'done')
  await own.close()
})
