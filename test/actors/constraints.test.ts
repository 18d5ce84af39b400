/** What whoever starts a run asks of the places of its VNodes. */
import test from 'ava'
import type { Membership } from '../../actors/calls.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { place } from '../../actors/placement/assignment.js'
import { OpenRequests } from '../../actors/placement/parts.js'
import { checkedConstraints, constrained, type Constraints } from '../../actors/run/constraints.js'
import { placeVNodes } from '../../actors/run/run-placing.js'
import { local, type RunOptions, train } from '../../actors/train.js'
import { SOURCE } from '../../components/definition.js'
import type { ActorContext, Json } from '../../runtime/actor-system/actor-system.js'
import { isSwarmError } from '../../runtime/errors.js'
import { firstHead } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import { chainRun } from '../simulation/simulated-run.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { openObjects, slowBranching, TRAINING } from '../support/small-runs.js'
import { member } from '../support/members.js'
import { until } from '../support/until.js'

const pools = openPools()
test.after.always(() => pools.close())
let names = 0

const { definition } = chainRun(4, { epochs: 1, stepsPerEpoch: 10 }, () => undefined as never)
const demandsFor = (ids: readonly string[]) => ids.map((vnode) => ({ vnode, cost: 1, memoryBytes: 1 }))

test('tiers are asked of VNodes and their followers, groups of VNodes and of their n-th followers; of the source nothing', (t) => {
  const ids = [SOURCE, 'v001', 'v002', 'v003', 'v001~1', 'v002~1', 'v001~2']
  const asked = (constraints?: Constraints) => constrained(demandsFor(ids), constraints).map(({ minTier, group }) => [minTier, group])
  t.deepEqual(
    asked(),
    Array.from({ length: ids.length }, () => [undefined, undefined]),
  )
  t.deepEqual(
    asked({ minTier: 2 }).map(([minTier]) => minTier),
    [undefined, 2, 2, 2, 2, 2, 2],
  )
  t.deepEqual(
    asked({ minTier: { v001: 1 } }).map(([minTier]) => minTier),
    [undefined, 1, undefined, undefined, 1, undefined, 1],
  )
  t.deepEqual(
    asked({ together: [['v001', 'v002']] }).map(([, group]) => group),
    [undefined, 'v001+v002', 'v001+v002', undefined, 'v001+v002~1', 'v001+v002~1', 'v001+v002~2'],
  )
})

test('constraints that cannot be are refused by name', (t) => {
  const refused = (constraints: Constraints) =>
    t.throws(() => checkedConstraints(definition.network, constraints), { code: 'usage' })?.message ?? ''
  t.regex(refused({ together: [['v001', 'v02']] }), /no VNode 'v02'.*together.*v002/s)
  t.regex(refused({ minTier: { w: 1 } }), /no VNode 'w'.*minTier/s)
  t.regex(refused({ minTier: 4 as never }), /tier.*1, 2 or 3.*got 4/s)
  t.regex(
    refused({
      together: [
        ['v001', 'v002'],
        ['v002', 'v003'],
      ],
    }),
    /VNode v002 twice/,
  )
  t.deepEqual(checkedConstraints(definition.network, { together: [] }), {})
  t.deepEqual(checkedConstraints(definition.network), {})
})

/** Places of a chain of four, asked of a placement service that has these members. */
async function placesOf(
  members: readonly Partial<Membership>[],
  constraints: Constraints,
  { ids, directory = {} }: { readonly ids?: readonly string[]; readonly directory?: { readonly [vnode: string]: string } } = {},
) {
  const all = members.map((more) => member('p', { gflops: 10, ...more }))
  const requests = new OpenRequests()
  const call = async (_target: unknown, _method: string, request: Json): Promise<Json> =>
    requests.take(request as never, (whole) => place(all, whole)) as never
  const placedAt = Object.fromEntries(Object.entries(directory).map(([vnode, pnode]) => [vnode, { pnode, term: 1 }]))
  const run = { definition, constraints, head: { ...firstHead('r'), directory: placedAt }, computeClass: 'c' }
  const everybody = [SOURCE, ...definition.network.vnodes.map(({ id }) => id)]
  const decisions = await placeVNodes({ call } as unknown as ActorContext, run, ids ?? everybody, [], ids === undefined)
  return Object.fromEntries(decisions.map(({ vnode, pnode }) => [vnode, pnode]))
}

test('a run begins only where its groups and tiers are kept', async (t) => {
  const members = [
    { pnode: 'a', tier: 3, gflops: 90 },
    { pnode: 'b', tier: 1 },
    { pnode: 'c', tier: 1 },
  ] as const
  const tiered = await placesOf(members, { minTier: { v002: 1 } })
  t.is(tiered.v001, 'a')
  t.not(tiered.v002, 'a')
  const { [SOURCE]: _, ...all } = await placesOf(members, { minTier: 1, together: [['v001', 'v003']] })
  t.false(Object.values(all).includes('a'))
  t.is(all.v001, all.v003)
  const small = members.map((member) => ({ ...member, maxVNodes: 2 }))
  const group = ['v001', 'v002', 'v003']
  await t.throwsAsync(placesOf(small, { together: [group] }), { code: 'placement.no-pnode' })
})

test('once it has begun, what is lost is rather apart than nowhere', async (t) => {
  const directory = { [SOURCE]: 'a', v001: 'a', v002: 'a', v003: 'b', v004: 'b' }
  const together = [['v001', 'v002']]
  const lost = { ids: ['v001'], directory }
  t.deepEqual(await placesOf([{ pnode: 'a' }, { pnode: 'b', gflops: 99 }], { together }, lost), { v001: 'a' }, 'with the others, if it may')
  const full = await placesOf([{ pnode: 'a', maxVNodes: 2 }, { pnode: 'b' }], { together }, lost)
  t.deepEqual(full, { v001: 'b' })
  const error = await t.throwsAsync(
    placesOf(
      [
        { pnode: 'a', tier: 2 },
        { pnode: 'b', tier: 3 },
      ],
      { minTier: 1, together },
      lost,
    ),
  )
  t.true(isSwarmError(error, 'placement.no-pnode'), 'a tier is asked for all the time')
})

/** A run of five VNodes on four PNodes. */
async function begun(options: RunOptions) {
  const { store } = openObjects()
  const id = `c${++names}`
  let swarm: LocalSwarm | undefined
  const on = local({ pnodes: 4, returnMs: Infinity })
  const internals = { id, pool: renamed(pools.inline, `${id}-`), onSwarm: (made: LocalSwarm) => (swarm = made) }
  const run = train(slowBranching(2), { ...TRAINING, epochs: 8 }, { on, store, checkpoint: { everySteps: 20 }, ...options }, internals)
  run.result.catch(() => undefined)
  await until('it begins', () => swarm !== undefined)
  const directory = async () => (await readHead(store, id)).head.directory
  const are = async (vnodes: readonly string[]) => {
    const places = await directory()
    return vnodes.every((vnode) => places[vnode] && places[vnode].pnode === places[vnodes[0]].pnode)
  }
  return { run, swarm: swarm!, directory, are }
}

let expected: string | undefined
/** Two VNodes that would not be on one PNode by themselves. */
let group: readonly string[]
test.before(async () => {
  const { run, directory } = await begun({})
  await until('all have places', async () => Object.keys(await directory()).length === 6)
  const places = Object.entries(await directory()).filter(([id]) => id !== SOURCE)
  const [[first, { pnode }]] = places
  group = [first, places.find(([, other]) => other.pnode !== pnode)![0]]
  expected = (await run.result).hash
})

test.serial('what is to be together stays together when its PNode is killed, and its standbys too; the bits are the same', async (t) => {
  const { run, swarm, directory, are } = await begun({ replicas: 1, constraints: { together: [group] } })
  await until('all stand by', () => are(group.map((id) => `${id}~1`)))
  t.true(await are(group))
  await until('steps', () => swarm.monitor.step > 25)
  const { pnode } = (await directory())[group[0]]
  await swarm.killPNode(pnode)
  await until('it goes on elsewhere', async () => (await directory())[group[0]].pnode !== pnode)
  t.true(await are(group))
  t.is((await run.result).hash, expected)
})

test.serial('and when its worker is lost, or its PNode is drained, however often', async (t) => {
  const { run, swarm, directory, are } = await begun({ constraints: { together: [group] } })
  await until('steps', () => swarm.monitor.step > 25)
  const drain = (pnode: string) => swarm.drain(pnode)
  for (const leave of [async (pnode: string) => swarm.killWorker(pnode), drain, drain]) {
    const { pnode, term } = (await directory())[group[0]]
    await leave(pnode)
    await until('it has another term', async () => (await directory())[group[0]].term !== term)
    await until('they are together', () => are(group))
  }
  const { hash, stepsLost, stepsDoubled } = await run.result
  t.deepEqual({ hash, stepsLost, stepsDoubled }, { hash: expected, stepsLost: 0, stepsDoubled: 0 })
})
