/** What is taken for proof of why a run stands still, and what moves then; that it goes on is shown in `test/simulation/long-faults.test.ts`. */
import test from 'ava'
import { SOURCE } from '../../components/definition.js'
import type { ActorContext, ActorRef, Json } from '../../runtime/actor-system/actor-system.js'
import { firstHead } from '../../runtime/head.js'
import type { VNodeView } from '../../actors/events.js'
import { Refusals } from '../../actors/run/refusals.js'
import { Standstill } from '../../actors/run/standstill.js'
import { chainRun } from '../simulation/simulated-run.js'
import { fakeClock } from '../support/fake-clock.js'
import type { Demand, Membership, MembershipState } from '../../actors/calls.js'
import type { Whereabouts } from '../../actors/reports.js'
import { type Answers, suspicions } from '../../actors/run/suspicions.js'

type Given = Partial<Parameters<typeof suspicions>[0]>

/** A chain from the source to v3, each on a PNode of its own, unless told otherwise. */
function suspected(
  answers: { readonly [vnode: string]: Whereabouts | null },
  given: Given = {},
  states: { readonly [pnode: string]: MembershipState } = {},
) {
  const places = { source: 'a', v1: 'b', v2: 'c', v3: 'd' }
  const directory = Object.fromEntries(Object.entries(places).map(([vnode, pnode], i) => [vnode, { pnode, term: i + 1 }]))
  const members = Object.values(places).map((pnode) => ({ pnode, state: states[pnode] ?? 'ready' }) as Membership)
  const evidence = {
    directory,
    manifest: undefined,
    cut: undefined,
    members,
    demands: [],
    windowBytes: new Map<string, number>(),
    answers: new Map(Object.entries(answers)) as Answers,
    stillMs: 20_000,
    blamed: new Map<string, number>(),
  }
  return suspicions({ ...evidence, ...given }).map(({ vnodes, reason }) => `${vnodes.join(' ')}: ${reason}`)
}

const stands = (applied: number, wants: Whereabouts['wants'] = {}, more: Partial<Whereabouts> = {}): Whereabouts => ({
  applied,
  wants,
  ...more,
})
const from = (vnode: string) => ({ inputs: [vnode] })

test('where everybody waits for what there is not yet, nobody is suspected', (t) => {
  t.deepEqual(suspected({ source: stands(8), v1: stands(5), v2: stands(5, from('v1')), v3: stands(5, from('v2')) }), [])
})

test('a PNode that is heard and does not answer; not one that is silent anyway, nor many at once', (t) => {
  const others = { source: stands(5), v1: stands(5), v2: stands(5) }
  t.deepEqual(suspected(others), ['v3: it is heard, and does not answer'])
  for (const state of ['suspect', 'lost'] as const) t.deepEqual(suspected(others, {}, { d: state }), [], state)
  t.deepEqual(suspected({ source: stands(5), v1: stands(5) }), [], 'it is rather we who are not heard')
  t.is(suspected({ source: stands(5), v1: stands(5), v2: stands(5) }, {}, { a: 'lost' }).length, 1)
  t.deepEqual(suspected({}, {}, { a: 'lost', b: 'lost' }), [], 'nor do two of two')
})

test('a PNode whose reports do not arrive, although it answers; not where those of many do not', (t) => {
  const all = { source: stands(5), v1: stands(5), v2: stands(5, {}, { untold: 3 }), v3: stands(5) }
  t.deepEqual(suspected(all), ['v2: what v2 reports does not arrive'])
  t.deepEqual(suspected({ ...all, v1: stands(5, {}, { untold: 1 }) }), [], 'it is rather we who do not hear')
})

test('an output that is there and does not arrive, and room that is there and is not known', (t) => {
  const frames = { source: stands(9), v1: stands(9), v2: stands(5, from('v1')), v3: stands(5, from('v2')) }
  t.deepEqual(suspected(frames), ['v2: nothing comes from b (v1) to c (v2), or back'])
  const credits = { source: stands(9), v1: stands(8, { readers: { v2: 3 } }), v2: stands(8), v3: stands(8) }
  t.deepEqual(suspected(credits), ['v2: nothing comes from b (v1) to c (v2), or back'])
  t.deepEqual(suspected({ ...credits, v2: stands(2) }), [], 'it is the one that is behind')
})

test('feedback that is there and does not arrive: who gives it is behind, and has come to where it gives it', (t) => {
  const waiting = { source: stands(9), v1: stands(6, { feedback: { v3: 3 } }), v2: stands(6), v3: stands(3) }
  t.deepEqual(suspected(waiting), ['v1: nothing comes from d (v3) to b (v1), or back'])
  t.deepEqual(suspected({ ...waiting, v3: stands(2) }), [], 'it has not come there yet')
  t.deepEqual(suspected({ ...waiting, v3: stands(6, {}, { isRestoring: true }) }), [], 'it has not begun')
  t.deepEqual(suspected({ ...waiting, v1: stands(6, { feedback: { v3: -19 } }), v3: null }), [], 'nor here')
  const members = ['a', 'b', 'c', 'd'].map((pnode) => ({ pnode, state: 'ready', uploadBytesPerS: 1e6 }) as Membership)
  t.deepEqual(
    suspected(waiting, { members, windowBytes: new Map([['v1', 20e6]]), stillMs: 79_000 }),
    [],
    'it has as much time as the output',
  )
})

test('an output has four times what a window of them should take', (t) => {
  const frames = { source: stands(9), v1: stands(9), v2: stands(5, from('v1')), v3: stands(5, from('v2')) }
  const members = ['a', 'b', 'c', 'd'].map(
    (pnode) => ({ pnode, state: 'ready', uploadBytesPerS: 1e6, downloadBytesPerS: 5e6 }) as Membership,
  )
  const given = { members, windowBytes: new Map([['v1', 20e6]]) }
  t.deepEqual(suspected(frames, { ...given, stillMs: 79_000 }), [])
  t.is(suspected(frames, { ...given, stillMs: 80_000 }).length, 1)
})

test('who has a part in most of what does not arrive is to blame; between two the other one, if the first did not help', (t) => {
  const deaf = { source: stands(9), v1: stands(5, { ...from('source') }), v2: stands(8, { readers: { v1: 1 } }), v3: stands(8) }
  t.deepEqual(suspected(deaf), ['v1: nothing comes from a (source) to b (v1), or back', 'v1: nothing comes from c (v2) to b (v1), or back'])
  const pair = { source: stands(9), v1: stands(9), v2: stands(5, from('v1')), v3: stands(5) }
  t.deepEqual(suspected(pair, { blamed: new Map([['c', 1]]) }), ['v1: nothing comes from b (v1) to c (v2), or back'])
})

const refusal = { producer: 'v1', term: 2, pnode: 'b', step: 6, reason: 'labels' }

test('where what arrives is refused: who has sent it, unless the other one is in that with more', (t) => {
  const pair = { source: stands(9), v1: stands(9), v2: stands(5, from('v1')), v3: stands(5) }
  const refusals = new Refusals()
  refusals.add(refusal, 'v2', 'c')
  t.deepEqual(suspected(pair, { refusals }), ['v1: c (v2) refuses what b (v1) sends: labels'])
  refusals.add({ ...refusal, term: 9, pnode: 'e' }, 'v2', 'c')
  t.deepEqual(suspected(pair, { refusals }), ['v2: c (v2) refuses what b (v1) sends: labels'])
})

test('what was refused of somebody else, of another term or as odd alone is no reason', (t) => {
  const pair = { source: stands(9), v1: stands(9), v2: stands(5, from('v1')), v3: stands(5) }
  for (const [other, by, byPnode] of [
    [{ term: 1 }, 'v2', 'c'],
    [{ pnode: 'e' }, 'v2', 'c'],
    [{}, 'v2', 'e'],
    [{ reason: 'norm' }, 'v2', 'c'],
    [{ reason: 'changed' }, 'v2', 'c'],
    [{ producer: SOURCE, term: 1, pnode: 'a', reason: 'finite' }, 'v1', 'b'],
  ] as const) {
    const refusals = new Refusals()
    refusals.add({ ...refusal, ...other }, by, byPnode)
    t.deepEqual(suspected(pair, { refusals }), ['v2: nothing comes from b (v1) to c (v2), or back'])
  }
})

test('who has moved in vain was not to blame, though it is on a PNode now that nobody has blamed', (t) => {
  const pair = { source: stands(9), v1: stands(9), v2: stands(5, from('v1')), v3: stands(5) }
  const [reader, sender] = [['v2: nothing comes from b (v1) to c (v2), or back'], ['v1: nothing comes from b (v1) to c (v2), or back']]
  t.deepEqual(suspected(pair), reader)
  t.deepEqual(suspected(pair, { moved: new Map([['v2', 1]]) }), sender)
  t.deepEqual(suspected(pair, { blamed: new Map([['b', 1]]), moved: new Map([['v2', 1]]) }), sender)
  t.deepEqual(
    suspected(pair, {
      moved: new Map([
        ['v1', 1],
        ['v2', 1],
      ]),
    }),
    reader,
  )
})

test('a state that does not arrive in the store while those of others did: after half a minute, or four times what its bytes should take', (t) => {
  const cut = { position: 5, missing: ['v2'] }
  const all = { source: stands(9), v1: stands(9), v3: stands(9) }
  const late = { ...all, v2: stands(9, {}, { storing: { position: 5, bytes: 1_000_000 } }) }
  const found = ['v2: the state of v2 does not arrive in the object store']
  t.deepEqual(suspected(late, { cut }), [])
  t.deepEqual(suspected(late, { cut, stillMs: 30_000 }), found)
  const members = [{ pnode: 'c', state: 'ready', uploadBytesPerS: 40_000 } as Membership]
  t.deepEqual(suspected(late, { cut, members, stillMs: 99_000 }), [])
  t.deepEqual(suspected(late, { cut, members, stillMs: 100_000 }), found)
  t.deepEqual(suspected({ ...all, v2: stands(4) }, { cut, stillMs: 30_000 }), [], 'it has not come there yet')
  t.deepEqual(suspected({ ...all, v2: stands(9) }, { cut, stillMs: 30_000 }), [], 'it has missed the cut')
})

test('a restore, or the data of a source, has half a minute, or four times what its bytes should take', (t) => {
  const all = { source: stands(9), v1: stands(9), v2: stands(0, {}, { isRestoring: true }), v3: null }
  t.deepEqual(suspected(all), [])
  t.deepEqual(suspected(all, { stillMs: 30_000 }), ['v2: v2 is not restored within 30 s', 'v3: v3 is not restored within 30 s'])
  const manifest = { vnodes: [{ vnode: 'v2', sizeBytes: 20_000_000 }] } as unknown as Given['manifest']
  const members = ['a', 'c'].map((pnode) => ({ pnode, state: 'ready', downloadBytesPerS: 1_000_000 }) as Membership)
  t.deepEqual(suspected(all, { manifest, members, stillMs: 79_000 }), ['v3: v3 is not restored within 79 s'])
  t.is(suspected(all, { manifest, members, stillMs: 80_000 }).length, 2)
  const demands = [{ vnode: 'source', memoryBytes: 50_000_000 } as Demand]
  const begins = { ...all, source: null, v2: stands(0), v3: stands(0) }
  t.deepEqual(suspected(begins, { demands, members, stillMs: 199_000 }), [])
  t.deepEqual(suspected(begins, { demands, members, stillMs: 200_000 }), ['source: the source does not begin within 200 s'])
})

test('who says nothing of a cut though nothing keeps him; then, what does not tell him of it', (t) => {
  const all = { source: stands(9), v1: stands(9), v2: stands(9), v3: stands(9) }
  const awaited = { what: 'the cut after step 5', vnodes: ['v2', 'v3'], producers: ['v1'] }
  t.deepEqual(suspected(all, { awaited }), ['v2: v2 says nothing of the cut after step 5'])
  t.deepEqual(suspected(all, { awaited, silent: new Map([['v2', 1]]) }), ['v1: v2 says nothing of the cut after step 5, wherever it is'])
  t.deepEqual(suspected(all, { awaited, silent: new Map([['v2', 2]]) }), ['v2: v2 says nothing of the cut after step 5'])
  t.deepEqual(suspected({ ...all, v3: stands(9, {}, { isRestoring: true }) }, { awaited }), [], 'something else may explain it')
})

test('who says for ever that something else keeps him has to leave what he has all the same', (t) => {
  const all = { source: stands(9), v1: stands(9), v2: stands(9, {}, { untold: 7 }), v3: stands(9) }
  const awaited = { what: 'the cut after step 5', vnodes: ['v2', 'v3'], producers: ['v1'] }
  t.deepEqual(suspected(all, { awaited }), ['v2: what v2 reports does not arrive'])
  t.deepEqual(suspected(all, { awaited, isOverdue: true }), [
    'v2: what v2 reports does not arrive',
    'v2: v2 says nothing of the cut after step 5',
  ])
  const cut = { position: 5, missing: ['v2'] }
  const storing = { ...all, v2: stands(9, {}, { storing: { position: 5, bytes: 1e12 } }) }
  const members = ['a', 'b', 'c', 'd'].map((pnode) => ({ pnode, state: 'ready', uploadBytesPerS: 1e6 }) as Membership)
  const demands = [{ vnode: 'v2', cost: 1, memoryBytes: 1e6 }]
  t.is(suspected(storing, { cut, demands, members, stillMs: 30_000 }).length, 1, 'nobody stores more than it has')
})

/** The owner of a run whose `v2` on bob gets nothing of `v1` on ann, wherever it is restored. @returns when which of them has to give something up, in s */
async function blamed(
  forMs: number,
  { newcomerAtMs = Infinity, refusals = new Refusals(), leastMs = 10_000 } = {},
): Promise<(readonly [atS: number, pnode: string])[]> {
  const clock = fakeClock(0)
  const { definition } = chainRun(2, { epochs: 1, stepsPerEpoch: 100 }, () => undefined as never)
  const [v1, v2] = definition.network.vnodes.map(({ id }) => id)
  const places = { [SOURCE]: 'ann', [v1]: 'ann', [v2]: 'bob' }
  const directory = Object.fromEntries(Object.entries(places).map(([vnode, pnode], i) => [vnode, { pnode, term: i + 1 }]))
  let termCounter = 3
  const run = () => ({ definition, head: { ...firstHead('r'), directory, termCounter }, computeClass: undefined })
  const steps = { [v1]: 57, [v2]: 57 }
  const call = async ({ id }: ActorRef, method: string, argument: Json): Promise<Json> => {
    const { after } = argument as { readonly after?: string }
    if (method === 'list') return ['ann', 'bob', 'cyd'].filter((pnode) => pnode > after!).map((pnode) => ({ pnode, state: 'ready' }))
    return id === 'ann' ? [stands(60) as never, stands(60) as never] : [stands(57, { inputs: [v1] }) as never]
  }
  const told: (readonly [number, string])[] = []
  let everyMs = 0
  const standstill = new Standstill({
    context: {
      clock,
      call,
      setTimer: (_name: string, _method: string, times: { everyMs: number }) => void ({ everyMs } = times),
    } as unknown as ActorContext,
    run,
    manifest: () => undefined,
    cuts: { newest: undefined },
    awaited: () => undefined,
    goBack: async () => undefined,
    monitor: { vnodes: () => Object.entries(steps).map(([vnode, step]) => ({ vnode, step }) as VNodeView), newSteps: 114, refusals },
    window: async () => 1,
    lost: async ({ pnode }) => {
      told.push([clock.now() / 1000, pnode])
      termCounter++
      // It is restored, and does again what it had done, which takes a while.
      steps[v2] = 40
      clock.after(6_000, () => (steps[v2] = 57))
    },
    leastMs,
  })
  standstill.watch()
  while (clock.now() < forMs) {
    await clock.advance(everyMs)
    if (clock.now() === newcomerAtMs) standstill.joined()
    await standstill.look()
  }
  return told
}

test('a move that did not help: the other one of two is next, after twice as long; and somebody who joins is tried soon', async (t) => {
  const [first, second, third] = await blamed(600_000)
  t.deepEqual([first[1], second[1], third[1]], ['bob', 'ann', 'bob'])
  t.true(third[0] - second[0] > 1.5 * (second[0] - first[0]), JSON.stringify([first, second, third]))
  const [, , sooner] = await blamed(600_000, { newcomerAtMs: 1_000 * second[0] + 30_000 })
  t.true(sooner[0] < third[0], JSON.stringify(sooner))
})

test('where what is sent is refused nobody waits long, and it is the sender first', async (t) => {
  const refusals = new Refusals()
  refusals.add({ producer: 'v001', term: 2, pnode: 'ann', step: 58, reason: 'labels' }, 'v002', 'bob')
  const [[atS, pnode]] = await blamed(60_000, { refusals })
  t.is(pnode, 'ann')
  t.true(atS <= 10, `after ${atS} s`)
})

test('where a run is to stand still for less before anybody is asked, it is looked at more often', async (t) => {
  const [[usualS], [shortS]] = [await blamed(60_000), await blamed(60_000, { leastMs: 1_000 })].map(([first]) => first)
  t.is(usualS, 45)
  t.true(shortS < 6, `after ${shortS} s`)
})
