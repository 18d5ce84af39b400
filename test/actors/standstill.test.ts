/** What is taken for proof of why a run stands still; that it goes on then is shown in `test/simulation/long-faults.test.ts`. */
import test from 'ava'
import type { Membership, MembershipState } from '../../actors/calls.js'
import { type Answers, suspicions, type Whereabouts } from '../../actors/run/standstill.js'
import type { Head, Manifest } from '../../runtime/head.js'

type Given = Partial<Parameters<typeof suspicions>[0]>

/** A chain from the source to v3, each on a PNode of its own, unless told otherwise. */
function suspected(
  answers: { readonly [vnode: string]: Whereabouts | null },
  given: Given = {},
  states: { readonly [pnode: string]: MembershipState } = {},
) {
  const places = { source: 'a', v1: 'b', v2: 'c', v3: 'd' }
  const directory = Object.fromEntries(Object.entries(places).map(([vnode, pnode], i) => [vnode, { vnode, pnode, term: i + 1 }]))
  const members = Object.values(places).map((pnode) => ({ pnode, state: states[pnode] ?? 'ready' }) as Membership)
  const evidence = {
    head: { directory } as unknown as Head,
    manifest: undefined,
    cut: undefined,
    members,
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
})

test('an output that is there and does not arrive, and room that is there and is not known', (t) => {
  const frames = { source: stands(9), v1: stands(9), v2: stands(5, from('v1')), v3: stands(5, from('v2')) }
  t.deepEqual(suspected(frames), ['v2: nothing comes from b (v1) to c (v2), or back'])
  const credits = { source: stands(9), v1: stands(8, { readers: { v2: 3 } }), v2: stands(8), v3: stands(8) }
  t.deepEqual(suspected(credits), ['v2: nothing comes from b (v1) to c (v2), or back'])
  t.deepEqual(suspected({ ...credits, v2: stands(2) }), [], 'it is the one that is behind')
})

test('who has a part in most of what does not arrive is to blame; between two the other one, if the first did not help', (t) => {
  const deaf = { source: stands(9), v1: stands(5, { ...from('source') }), v2: stands(8, { readers: { v1: 1 } }), v3: stands(8) }
  t.deepEqual(suspected(deaf), ['v1: nothing comes from a (source) to b (v1), or back', 'v1: nothing comes from c (v2) to b (v1), or back'])
  const pair = { source: stands(9), v1: stands(9), v2: stands(5, from('v1')), v3: stands(5) }
  t.deepEqual(suspected(pair, { blamed: new Map([['c', 1]]) }), ['v1: nothing comes from b (v1) to c (v2), or back'])
})

test('a state that does not arrive in the store while those of others did', (t) => {
  const cut = { position: 5, missing: ['v2'] }
  const all = { source: stands(9), v1: stands(9), v3: stands(9) }
  t.deepEqual(suspected({ ...all, v2: stands(9, {}, { storing: 5 }) }, { cut }), [
    'v2: the state of v2 does not arrive in the object store',
  ])
  t.deepEqual(suspected({ ...all, v2: stands(4) }, { cut }), [], 'it has not come there yet')
  t.deepEqual(suspected({ ...all, v2: stands(9) }, { cut }), [], 'it has missed the cut')
})

test('a restore has half a minute, or four times what its bytes should take', (t) => {
  const all = { source: stands(9), v1: stands(9), v2: stands(0, {}, { isRestoring: true }), v3: null }
  t.deepEqual(suspected(all), [])
  t.deepEqual(suspected(all, { stillMs: 30_000 }), ['v2: v2 is not restored within 30 s', 'v3: v3 is not restored within 30 s'])
  const manifest = { vnodes: [{ vnode: 'v2', sizeBytes: 20_000_000 }] } as unknown as Manifest
  const members = [{ pnode: 'c', state: 'ready', downloadBytesPerS: 1_000_000 } as Membership]
  t.deepEqual(suspected(all, { manifest, members, stillMs: 79_000 }), ['v3: v3 is not restored within 79 s'])
  t.is(suspected(all, { manifest, members, stillMs: 80_000 }).length, 2)
})
