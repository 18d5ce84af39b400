/** Who is there, who may have VNodes, and what becomes of those who are not what they say. */
import test from 'ava'
import { listMembers } from '../../actors/placement/parts.js'
import { actor, call, type Membership, type Profile } from '../../actors/calls.js'
import { DEFAULT_MEMBERSHIP, type MembershipOptions, placementActor } from '../../actors/placement/placement.js'
import { localActors } from '../../runtime/actor-system/local-actors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { fakeClock } from '../support/fake-clock.js'

const profile = (pnode: string, more: Partial<Profile> = {}): Profile => ({
  pnode,
  incarnation: `${pnode}-1`,
  computeClass: 'wasm',
  gflops: 40,
  memoryBytes: 1e9,
  ...more,
})

/** The placement service, and what it asks of Relocation. */
async function membership(options: Partial<MembershipOptions> = {}) {
  const clock = fakeClock()
  const store = memoryStore()
  const asked: string[] = []
  const told: string[] = []
  const system = localActors({ store, clock })
  const onMember = ({ pnode, state }: Membership, reason: string) =>
    void (reason === 'heartbeat' || told.push(`${pnode} ${state}: ${reason}`))
  system.register(placementActor({ ...DEFAULT_MEMBERSHIP, ...options, onMember }))
  const note =
    (what: string) =>
    (_context: unknown, _memory: unknown, { pnode }: { pnode: string }) =>
      void asked.push(`${what} ${pnode}`)
  const handlers = { joined: note('joined'), drain: note('drain'), relocate: note('relocate') }
  system.register({ type: 'Relocation', activate: () => null, handlers })
  await system.start()
  const placement = {
    join: (one: Profile) => call<'Placement', 'join'>(system, actor.placement, 'join', one),
    measured: (one: Profile) => call<'Placement', 'measured'>(system, actor.placement, 'measured', one),
    rate: (pnode: string, gflops: number | null, reason = 'its steps are slow') =>
      call<'Placement', 'rate'>(system, actor.placement, 'rate', { pnode, gflops, reason }),
    beat: (pnode: string, vnodes: readonly string[] = []) =>
      call<'Placement', 'heartbeat'>(system, actor.placement, 'heartbeat', { pnode, busyShare: 0.5, vnodes }),
    forget: () => system.deactivate(actor.placement),
    of: async (pnode: string) => {
      const members = await listMembers(system)
      return members.find((member) => member.pnode === pnode)!
    },
    place: (run: string) =>
      call<'Placement', 'place'>(system, actor.placement, 'place', {
        run,
        demands: [{ vnode: 'v', cost: 1, memoryBytes: 1 }],
        staying: {},
        code: [],
        avoid: [],
      }),
  }
  return { ...placement, clock, asked, told }
}

test('who joins has a tier; below the floor it is an observer, listed with what it lacks, and gets no VNodes', async (t) => {
  const { join, of, place, told, asked } = await membership()
  await join(profile('pi', { gflops: 0.2 }))
  await t.throwsAsync(place('r'), { message: /pi: it is an observer: its speed is too low/ })
  await join(profile('laptop'))
  t.like(await of('laptop'), { state: 'ready', tier: 1 })
  const pi = await of('pi')
  t.like(pi, { state: 'observer', refusal: { measure: 'gflops', needed: 0.5, got: 0.2 } })
  t.false('tier' in pi)
  t.is((await place('r'))[0].pnode, 'laptop')
  t.deepEqual(told, ['pi observer: joined', 'laptop ready: joined'])
  t.deepEqual(asked, ['joined laptop'], 'an observer is no reason to move anything')
})

test('an observer that is heard of stays one, and is promoted when it measures itself anew and passes', async (t) => {
  const { join, beat, measured, of, asked } = await membership()
  await join(profile('pi', { gflops: 0.2, roundTripMs: 1.5, uploadBytesPerS: 1e6, largestAllocationBytes: 64e6 }))
  await beat('pi')
  t.is((await of('pi')).state, 'observer')
  await measured(profile('pi', { gflops: 0.9, roundTripMs: 1.5 }))
  t.like(await of('pi'), { state: 'ready', tier: 3, gflops: 0.9, roundTripMs: 1.5 })
  t.deepEqual(asked, ['joined pi'])
  await measured(profile('pi', { gflops: 0.1 }))
  t.is((await of('pi')).state, 'observer')
  await measured(profile('pi', { gflops: 40, incarnation: 'another' }))
  t.is((await of('pi')).gflops, 0.1, 'what another start of it said is not its own')
})

test('what the steps of a PNode show counts for placement, and is said with its reason', async (t) => {
  const { join, rate, of, place, told, asked } = await membership()
  await join(profile('a', { gflops: 40 }))
  await join(profile('liar', { gflops: 400 }))
  t.is((await place('r'))[0].pnode, 'liar')
  asked.length = 0
  await rate('liar', 20)
  t.like(await of('liar'), { gflops: 20, saidGflops: 400, ratedBecause: 'its steps are slow', state: 'ready', tier: 1 })
  t.is((await place('r'))[0].pnode, 'a')
  t.is(told.at(-1), 'liar ready: rated')
  t.deepEqual(asked, ['joined a'], 'runs look whether somebody else is better for what it has')
  await rate('liar', null)
  t.is((await of('liar')).gflops, 400)
  t.false('saidGflops' in (await of('liar')))
})

test('one that is found below the floor hands over what it has, and is asked again until nothing is left', async (t) => {
  const { join, beat, rate, of, asked, clock } = await membership()
  await join(profile('liar'))
  await beat('liar', ['r/v'])
  await rate('liar', 0.1)
  t.like(await of('liar'), { state: 'observer', refusal: { measure: 'gflops', got: 0.1 } })
  t.deepEqual(asked, ['joined liar'], 'nobody is there who could take it: slow is better than not at all')
  await join(profile('b', { computeClass: 'other' }))
  await join(profile('c', { gflops: 0.1 }))
  const alive = async (ms: number, vnodes: readonly string[] = ['r/v']) => {
    for (let at = 0; at < ms; at += 1_000) {
      await Promise.all([beat('liar', vnodes), beat('a').catch(() => false), beat('b'), beat('c')])
      await clock.advance(1_000)
    }
  }
  await alive(5_000)
  t.false(asked.includes('drain liar'), 'those who are there may not have it')
  await join(profile('a'))
  await alive(6_000)
  const drains = asked.filter((what) => what === 'drain liar').length
  t.true(drains >= 2 && drains <= 4, String(drains))
  await alive(1_000, [])
  asked.length = 0
  await alive(6_000, [])
  t.deepEqual(asked, [])
})

test('who was found out does not get rid of it by saying it again, by starting anew, or by a restart of control', async (t) => {
  const { join, measured, rate, of, clock, forget, beat } = await membership()
  await join(profile('liar'))
  await rate('liar', 4)
  await measured(profile('liar', { gflops: 50 }))
  t.like(await of('liar'), { gflops: 4, saidGflops: 50 })
  await join(profile('liar', { incarnation: 'liar-2' }))
  t.is((await of('liar')).gflops, 4)
  await forget()
  t.is((await of('liar')).gflops, 4)
  await clock.advance(10 * 60_000)
  await beat('liar')
  t.is((await of('liar')).gflops, 4, 'time alone proves nothing')
  await measured(profile('liar', { gflops: 45, incarnation: 'liar-2' }))
  t.is((await of('liar')).gflops, 45, 'after its time of doubt it gets another chance')
})

test('a host’s own word for its tier is nobody’s word', async (t) => {
  const { join, of } = await membership()
  await join({ ...profile('pi', { gflops: 0.2 }), tier: 1, state: 'ready' } as never)
  t.false('tier' in (await of('pi')))
  t.is((await of('pi')).state, 'observer')
})
