import test, { type ExecutionContext } from 'ava'
import { place } from '../../actors/placement/assignment.js'
import { actor, call, type Demand, type Membership, type Profile } from '../../actors/calls.js'
import { OtherRuns } from '../../actors/placement/other-runs.js'
import { askPlaces, listMembers } from '../../actors/placement/parts.js'
import { DEFAULT_MEMBERSHIP, placementActor } from '../../actors/placement/placement.js'
import { type ActorSystem, MAX_CALL_BYTES } from '../../runtime/actor-system/actor-system.js'
import { localActors } from '../../runtime/actor-system/local-actors.js'
import { isSwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { fakeClock } from '../support/fake-clock.js'

type Request = Parameters<typeof place>[1]

const profile = (pnode: string, more: Partial<Profile> = {}): Profile => ({
  pnode,
  incarnation: pnode,
  computeClass: 'wasm',
  gflops: 10,
  memoryBytes: 1e12,
  ...more,
})
const memberOf = (pnode: string, vnodes: readonly string[] = []): Membership => ({
  ...profile(pnode),
  state: 'ready',
  busyShare: 0,
  vnodes,
})
const demand = (vnode: string, cost = 5): Demand => ({ vnode, cost, memoryBytes: 100 })
const request = (run: string, demands: readonly Demand[], more: Partial<Request> = {}): Request => ({
  run,
  demands,
  staying: {},
  avoid: [],
  code: [],
  ...more,
})

/** The placement service with PNodes that have joined; `calls` has the methods called, each of which fitted into a call. */
async function service(t: ExecutionContext, profiles: readonly Profile[]) {
  const clock = fakeClock()
  const system = localActors({ store: memoryStore(), clock, onError: () => {} })
  system.register(placementActor(DEFAULT_MEMBERSHIP))
  t.teardown(() => system.close())
  for (const one of profiles) await call<'Placement', 'join'>(system, actor.placement, 'join', one)
  const calls: string[] = []
  let after: (call: string) => Promise<void> = async () => {}
  const caller: Pick<ActorSystem, 'call'> = {
    call: async (target, method, argument, options) => {
      const answer = await system.call(target, method, argument, options)
      for (const text of [argument, answer]) t.true(Buffer.byteLength(JSON.stringify(text ?? null)) < MAX_CALL_BYTES, method)
      calls.push(method)
      await after(method)
      return answer
    },
  }
  return { clock, system, caller, calls, afterEach: (hook: typeof after) => void (after = hook) }
}

const many = (count: number, length: number) => Array.from({ length: count }, (_, i) => `${'x'.repeat(length)}${1_000 + i}`)
const PNODES = many(30, 20).map((pnode) => profile(pnode))
const LARGE = request(
  'r',
  many(1_500, 30).map((vnode, i) => demand(vnode, 1 + ((i * 37) % 101))),
)

test('a request and an answer that no call takes go in parts, and the decisions are those of one call', async (t) => {
  const { caller, calls } = await service(t, PNODES)
  const staying = Object.fromEntries(LARGE.demands.slice(0, 700).map(({ vnode }) => [vnode, PNODES[3].pnode]))
  const members = PNODES.map(({ pnode }) => memberOf(pnode))
  for (const wanted of [LARGE, { ...LARGE, staying, avoid: [PNODES[0].pnode] }]) {
    const asked = (await askPlaces(caller, wanted, 1)).map(({ vnode, pnode, candidates }) => ({ vnode, pnode, candidates }))
    t.deepEqual(asked, place(members, wanted))
  }
  t.true(calls.filter((method) => method === 'place').length > 4)
  t.true(calls.filter((method) => method === 'placed').length > 4)
})

test('what fits into a call is one call', async (t) => {
  const { caller, calls } = await service(t, PNODES)
  t.is((await askPlaces(caller, request('r', [demand('a'), demand('b')]), 1)).length, 2)
  t.deepEqual(await askPlaces(caller, request('r', []), 1), [])
  t.deepEqual(calls, ['place', 'place'])
})

test('a service that was started again in the middle says so, and may be asked anew', async (t) => {
  for (const method of ['place', 'placed']) {
    const { caller, system, calls, afterEach } = await service(t, PNODES)
    afterEach(async (called) => {
      if (called === method && calls.filter((one) => one === method).length === 1) await system.deactivate(actor.placement)
    })
    const error = await t.throwsAsync(askPlaces(caller, LARGE, 1), { code: 'actor.busy' })
    t.true(isSwarmError(error) && error.retryable)
    // Whoever is known from before is not heard of yet, and gets nothing.
    for (const one of PNODES) await call<'Placement', 'join'>(system, actor.placement, 'join', one)
    t.is((await askPlaces(caller, LARGE, 1)).length, LARGE.demands.length)
  }
})

test('the question of one owner of a run is not mixed with that of the next', async (t) => {
  const { caller, system } = await service(t, PNODES)
  const part = (writer: number, index: number, isLast: boolean, ...vnodes: string[]) =>
    call<'Placement', 'place'>(system, actor.placement, 'place', {
      ...request(
        'r',
        vnodes.map((vnode) => demand(vnode)),
      ),
      part: { writer, index, isLast },
    })
  t.deepEqual(await part(1, 0, false, 'a'), [])
  t.deepEqual(await part(2, 0, false, 'c'), [])
  await t.throwsAsync(part(1, 1, true, 'b'), { code: 'actor.busy' })
  await t.throwsAsync(part(2, 2, true, 'e'), { code: 'actor.busy' }, 'a part is missing')
  t.deepEqual(
    (await part(2, 1, true, 'd')).map(({ vnode }) => vnode),
    ['c', 'd'],
  )
  t.is((await askPlaces(caller, request('r', [demand('a')]), 1)).length, 1)
})

test('members come in pages, in order of names, each once', async (t) => {
  const names = many(600, 60)
  const { caller, calls } = await service(
    t,
    names.toReversed().map((pnode) => profile(pnode)),
  )
  t.deepEqual(
    (await listMembers(caller)).map(({ pnode }) => pnode),
    names,
  )
  t.true(calls.length > 2)
  t.deepEqual(await listMembers((await service(t, [])).caller), [])
})

test('two runs that begin at the same time do not pile up on one PNode, and one alone is placed as if there were no other', async (t) => {
  const { caller } = await service(t, [profile('a', { maxVNodes: 2 }), profile('b'), profile('c')])
  const placed = async (run: string, count: number) => {
    const demands = Array.from({ length: count }, (_, i) => demand(`v${i}`))
    return (await askPlaces(caller, request(run, demands), 1)).map(({ pnode }) => pnode)
  }
  t.deepEqual(await placed('one', 2), ['a', 'b'])
  t.deepEqual(await placed('two', 1), ['c'])
  t.deepEqual(await placed('one', 2), ['a', 'b'], 'what it has itself is not in its way')
  t.deepEqual(await placed('three', 3), ['a', 'b', 'c'])
  t.deepEqual(await placed('four', 3), ['b', 'c', 'b'], 'a has the two VNodes that its owner allows')
})

test('of other runs counts what heartbeats say, with the size that it was asked for, and what was decided a moment ago', (t) => {
  const others = new OtherRuns(1_000)
  const asked = request('one', [demand('source', 0), demand('a', 30), demand('b', 50)])
  const silent = [memberOf('p1'), memberOf('p2')]
  others.decided(asked, [{ vnode: 'a', pnode: 'p1', candidates: [] }], silent, 0)
  const load = (members: readonly Membership[], atMs: number, run = 'two', demands = [demand('v', 7), demand('w', 9)]) =>
    Object.fromEntries(others.beside(request(run, demands), members, atMs))
  t.deepEqual(load(silent, 999), { p1: { vnodes: 1, cost: 30, memoryBytes: 100 } })
  t.deepEqual(load(silent, 1_000), {}, 'nobody has said so since')
  const hosting = [memberOf('p1', ['one/b', 'two/v']), memberOf('p2', ['one/a', 'one/source'])]
  t.deepEqual(load(hosting, 1_000), { p1: { vnodes: 1, cost: 50, memoryBytes: 100 }, p2: { vnodes: 2, cost: 30, memoryBytes: 200 } })
  t.deepEqual(load(hosting, 999).p1, { vnodes: 2, cost: 80, memoryBytes: 200 })
  t.deepEqual(
    load(hosting, 1_000, 'one', asked.demands.slice()),
    { p1: { vnodes: 1, cost: 40, memoryBytes: 100 } },
    'of unknown size: the mean',
  )
  others.decided({ ...asked, staying: { b: 'p2' } }, [{ vnode: 'a', pnode: 'p1', candidates: [] }], silent, 2_000)
  t.deepEqual(load(silent, 2_000).p2, { vnodes: 1, cost: 50, memoryBytes: 100 }, 'what stays, too')
  // Runs that nobody has anything of are forgotten.
  others.decided(request('three', []), [], silent, 5_000)
  t.deepEqual(load(hosting, 5_000).p2, { vnodes: 2, cost: 8, memoryBytes: 100 })
})
