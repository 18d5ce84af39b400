import test from 'ava'
import { place } from '../../actors/placement/assignment.js'
import { isSwarmError } from '../../runtime/errors.js'

type Member = Parameters<typeof place>[0][number]
type Request = Parameters<typeof place>[1]
type Demand = Request['demands'][number]

const member = (pnode: string, more: Partial<Member> = {}): Member => ({
  pnode,
  computeClass: 'wasm',
  gflops: 10,
  memoryBytes: 1e9,
  state: 'ready',
  busyShare: 0,
  vnodes: [],
  incarnation: pnode,
  ...more,
})
const demand = (vnode: string, cost: number, memoryBytes = 1): Demand => ({ vnode, cost, memoryBytes })
const request = (demands: readonly Demand[], more: Partial<Request> = {}): Request => ({
  run: 'r1',
  demands,
  staying: {},
  avoid: [],
  code: [],
  ...more,
})
const where = (members: readonly Member[], wanted: Request) =>
  Object.fromEntries(place(members, wanted).map(({ vnode, pnode }) => [vnode, pnode]))

test('what is cheap but large does not find its only place taken', (t) => {
  const members = [member('fast', { gflops: 20, memoryBytes: 100 }), member('slow', { memoryBytes: 50 })]
  t.deepEqual(where(members, request([demand('cheap', 1, 100), demand('dear', 99, 50)])), { cheap: 'fast', dear: 'slow' })
})

test('what stays counts as load and as memory, and is not placed again', (t) => {
  const members = [member('p1', { memoryBytes: 10 }), member('p2', { memoryBytes: 10 })]
  const demands = [demand('big', 100, 8), demand('small', 1, 1)]
  t.deepEqual(where(members, request(demands, { staying: { big: 'p1' } })), { small: 'p2' })
  t.deepEqual(where(members, request([demand('big', 1, 8), demand('new', 100, 3)], { staying: { big: 'p1' } })), { new: 'p2' })
  t.deepEqual(where(members, request(demands, { staying: { big: 'gone', small: 'p1' } })), {})
})

test('lost, suspect and avoided PNodes and those of another compute class are not chosen, and it is said why', (t) => {
  const members = [
    member('a', { state: 'lost', gflops: 99 }),
    member('b', { state: 'suspect', gflops: 99 }),
    member('c', { gflops: 99 }),
    member('d', { computeClass: 'native', gflops: 99 }),
    member('e', { memoryBytes: 5, gflops: 99 }),
    member('f', { gflops: 1 }),
  ]
  const [decision] = place(members, request([demand('v', 1_000_000, 2_000_000)], { code: [], avoid: ['c'], computeClass: 'wasm' }))
  t.is(decision.pnode, 'f')
  t.deepEqual(
    decision.candidates.map(({ pnode, reason }) => `${pnode}: ${reason}`),
    [
      'a: it is lost',
      'b: it is suspect',
      'c: it has just been lost, or was convicted',
      'd: its compute class is native',
      'e: 2.0 MB more than its 0.0 MB allow',
      'f: 6.00 ms a step with 1 GFLOP/s and 2.0 MB',
    ],
  )
  t.deepEqual(
    decision.candidates.map(({ score }) => score),
    [undefined, undefined, undefined, undefined, undefined, 6],
  )
  t.is(where(members, request([demand('v', 1)])).v, 'd', 'any class will do where none is asked for; of equal ones the first by name')
})

test('equal circumstances give equal placements: ties go to the name, in whatever order the PNodes joined', (t) => {
  const members = ['p3', 'p1', 'p2'].map((pnode) => member(pnode))
  const demands = ['v2', 'v1', 'v4', 'v3'].map((vnode) => demand(vnode, 5))
  const expected = { v1: 'p1', v2: 'p2', v3: 'p3', v4: 'p1' }
  t.deepEqual(where(members, request(demands)), expected)
  t.deepEqual(where(members.toReversed(), request(demands.toReversed())), expected)
})

test('a PNode without a measured speed is a last resort, not an error', (t) => {
  t.is(where([member('p1', { gflops: 0 }), member('p2', { gflops: 0.01 })], request([demand('v', 1)])).v, 'p2')
  t.is(where([member('p1', { gflops: 0 })], request([demand('v', 1)])).v, 'p1')
})

test('where nobody can take a VNode the error names it and says why of each, and may be tried again', (t) => {
  const members = [member('p1', { state: 'suspect' }), member('p2', { memoryBytes: 5 })]
  const error = t.throws(() => place(members, request([demand('dense', 1, 10)], { avoid: [], code: [] })), { code: 'placement.no-pnode' })
  t.is(error?.message, 'no PNode for dense: got p1: it is suspect; p2: 0.0 MB more than its 0.0 MB allow')
  t.true(isSwarmError(error) && error.retryable)
  const none = t.throws(() => place([], request([demand('dense', 1)])), { code: 'placement.no-pnode' })
  t.is(none?.message, 'no PNode for dense: got no PNodes')
  t.deepEqual(place([], request([])), [])
})

test('many PNodes are not all named: the best, and one for each reason with the number of the others', (t) => {
  const fast = Array.from({ length: 30 }, (_, i) => member(`fast-${10 + i}`, { gflops: 100 + i }))
  const full = Array.from({ length: 20 }, (_, i) => member(`full-${10 + i}`, { memoryBytes: 5 }))
  const low = Array.from({ length: 3 }, (_, i) => member(`low-${i}`, { tier: 3 }))
  const taken = [member('taken', { maxVNodes: 1 })]
  const gone = Array.from({ length: 40 }, (_, i) => member(`gone-${10 + i}`, { state: 'lost' }))
  const other = [member('other', { computeClass: 'native' })]
  const wanted = { ...demand('v', 1_000_000, 1e6), minTier: 2 } as const
  const members = [...gone, ...full, ...fast, ...low, ...taken, ...other]
  const staying = { demands: [wanted, demand('w', 1, 1)], staying: { w: 'taken' } }
  const [{ pnode, candidates }] = place(members, request([], { ...staying, computeClass: 'wasm' }))
  t.is(pnode, 'fast-39')
  t.deepEqual(
    candidates.map((one) => `${one.pnode}${one.more === undefined ? '' : ` +${one.more}`}: ${one.reason}`),
    [
      'fast-39: 0.05 ms a step with 129 GFLOP/s and 1.0 MB',
      'fast-38: 0.05 ms a step with 128 GFLOP/s and 1.0 MB',
      'fast-37: 0.05 ms a step with 127 GFLOP/s and 1.0 MB',
      'fast-10 +26: at least 0.05 ms a step',
      'low-0 +2: it is of tier 3',
      'taken: its owner allows 1 VNodes',
      'full-10 +19: 1.0 MB more than its 0.0 MB allow',
      'gone-10 +39: it is lost',
      'other: its compute class is native',
    ],
  )
  const error = t.throws(() => place([...gone, ...full, ...low], request([wanted])), { code: 'placement.no-pnode' })
  t.is(
    error.message,
    'no PNode for v: got low-0 and 2 more: it is of tier 3; full-10 and 19 more: 1.0 MB more than its 0.0 MB allow; gone-10 and 39 more: it is lost',
  )
})

test('a VNode that asks for a tier gets that or a better one; who has not been rated will do', (t) => {
  const members = [member('a', { tier: 3, gflops: 99 }), member('b', { tier: 2, gflops: 9 }), member('c', { tier: 1, gflops: 8 })]
  const asking = (minTier: 1 | 2 | 3) => where(members, request([{ ...demand('v', 1), minTier }])).v
  t.deepEqual([asking(1), asking(2), asking(3)], ['c', 'b', 'a'])
  t.is(where([...members, member('new')], request([{ ...demand('v', 1), minTier: 1 }])).v, 'new')
})

test('a group is on one PNode, also when a part of it moves, and what it asks for counts together', (t) => {
  const members = [member('a', { memoryBytes: 100 }), member('b', { memoryBytes: 160, gflops: 1 }), member('c', { memoryBytes: 100 })]
  const together = ['v1', 'v2', 'v3'].map((vnode) => ({ ...demand(vnode, 5, 50), group: 'g' }))
  const at = where(members, request([...together, demand('w', 5, 10)]))
  t.deepEqual(at, { v1: 'b', v2: 'b', v3: 'b', w: 'a' })
  const [v1] = together
  t.deepEqual(where(members, request([v1, { ...demand('v2', 5, 40), group: 'g' }], { staying: { v2: 'c' } })), { v1: 'c' })
  const full = t.throws(() => place(members, request(together, { staying: { v2: 'a' } })), { code: 'placement.no-pnode' })
  t.is(
    full?.message,
    "no PNode for v1, v3: got a: 0.0 MB more than its 0.0 MB allow; b: the rest of the group 'g' is elsewhere; c: the rest of the group 'g' is elsewhere",
  )
})

test('what is spread is on different PNodes, and with different owners unless that would cost more than twice the time', (t) => {
  const members = [
    member('a1', { owner: 'ann', gflops: 10 }),
    member('a2', { owner: 'ann', gflops: 10 }),
    member('b', { owner: 'bob', gflops: 6 }),
  ]
  const copies = (...names: string[]) => names.map((vnode) => ({ ...demand(vnode, 6), spread: 'v' }))
  t.deepEqual(where(members, request(copies('v', 'v~1'))), { v: 'a1', 'v~1': 'b' })
  t.deepEqual(where(members, request(copies('v', 'v~1', 'v~2'))), { v: 'a1', 'v~1': 'b', 'v~2': 'a2' })
  t.deepEqual(where(members, request(copies('v', 'v~1'), { staying: { v: 'a2' } })), { 'v~1': 'b' })
  t.deepEqual(where(members, request(copies('v', 'v~1'), { staying: { v: 'a2' }, avoid: ['b'] })), { 'v~1': 'a1' })
  const slow = members.with(2, member('b', { owner: 'bob', gflops: 4 }))
  t.deepEqual(where(slow, request(copies('v', 'v~1'))), { v: 'a1', 'v~1': 'a2' })
  const torn = request(copies('v', 'v~1').map((one) => ({ ...one, group: 'g' })))
  t.throws(() => place(members, torn), { code: 'placement.no-pnode' }, 'together and apart cannot be')
  const error = t.throws(() => place(members, request(copies('v', 'v~1', 'v~2', 'v~3'))), { code: 'placement.no-pnode' })
  t.regex(error.message, /^no PNode for v~3: got a1: it has another of 'v'; a2: it has another of 'v'; b: it has another of 'v'$/)
})

test('a run has one compute class from its start: the one with the shorter stages, or that of what stays', (t) => {
  const members = [member('n', { computeClass: 'native', gflops: 15 }), member('w1'), member('w2')]
  const demands = [demand('v1', 10), demand('v2', 10), demand('source', 0)]
  t.deepEqual(new Set(Object.values(where(members, request(demands)))), new Set(['w1', 'w2']))
  t.deepEqual(where(members, request(demands.slice(0, 1))), { v1: 'n' })
  t.deepEqual(where(members, request(demands, { staying: { v1: 'n', source: 'w1' } })), { v2: 'n' })
  t.deepEqual(where(members, request(demands, { staying: { source: 'n' } })).v1, 'w1')
})

test('where it costs nothing, what reads another is on one PNode with it', (t) => {
  const chain = (...all: number[]) => all.map((cost, i) => ({ ...demand(`v${i}`, cost), ...(i > 0 && { near: `v${i - 1}` }) }))
  const members = [member('a'), member('b')]
  for (const costs of [
    [5, 5, 5, 5],
    [5, 0, 5, 0],
    [6, 5, 5, 6],
  ]) {
    const { v0, v1, v2, v3 } = where(members, request(chain(...costs)))
    t.deepEqual([v0 === v1, v1 === v2, v2 === v3], [true, false, true], costs.join())
  }
  t.deepEqual(where(members, request(chain(9, 3, 3, 3))), { v0: 'a', v1: 'b', v2: 'b', v3: 'b' }, 'balance comes first')
  const small = [member('a', { maxVNodes: 1 }), member('b')]
  t.deepEqual(where(small, request(chain(5, 0, 5))), { v0: 'a', v1: 'b', v2: 'b' }, 'limits are kept')
})

test('when a PNode is lost its own VNodes move and no others, to where they lengthen the longest stage least', (t) => {
  const members = Array.from({ length: 50 }, (_, i) => member(`p${10 + i}`, { gflops: 5 + (i % 7) }))
  const demands = Array.from({ length: 400 }, (_, i) => demand(`v${100 + i}`, 1 + ((i * 37) % 101)))
  const before = where(members, request(demands))
  const staying = Object.fromEntries(Object.entries(before).filter(([, pnode]) => pnode !== 'p20'))
  const moved = where(members, request(demands, { staying, avoid: ['p20'] }))
  t.deepEqual(
    Object.keys(moved).toSorted(),
    Object.keys(before)
      .filter((vnode) => before[vnode] === 'p20')
      .toSorted(),
  )
  t.true(Object.keys(moved).length > 2)
  t.false(Object.values(moved).includes('p20'))
  const after = { ...before, ...moved }
  const time = ({ pnode, gflops }: Member) =>
    demands.reduce((sum, { vnode, cost }) => sum + (after[vnode] === pnode ? cost : 0), 0) / gflops
  const others = members.filter(({ pnode }) => pnode !== 'p20')
  const fractional = demands.reduce((sum, { cost }) => sum + cost, 0) / others.reduce((sum, { gflops }) => sum + gflops, 0)
  const ratio = Math.max(...others.map(time)) / fractional
  // One of eight more on some of them: less is not to be had without moving others.
  t.true(ratio < 1.15, `${ratio}`)
})

test('what PNodes have of other runs counts as load, as memory and against their limits', (t) => {
  const members = [member('a', { memoryBytes: 100, maxVNodes: 3 }), member('b', { memoryBytes: 100 })]
  const others = (vnodes: number, cost: number, memoryBytes: number) => new Map([['a', { vnodes, cost, memoryBytes }]])
  const at = (demands: readonly Demand[], load: ReturnType<typeof others>) => place(members, request(demands), load)[0]
  t.is(at([demand('v', 5)], others(1, 1e6, 10)).pnode, 'b')
  t.is(at([demand('v', 5, 95)], others(1, 0, 10)).pnode, 'b')
  t.is(at([demand('v', 5)], others(3, 0, 10)).pnode, 'b')
  t.is(at([demand('v', 5)], others(2, 0, 10)).pnode, 'a')
  const { candidates } = at([demand('v', 5e6)], others(1, 1e7, 10))
  t.is(candidates[0].reason, '9.00 ms a step with 10 GFLOP/s and 0.0 MB, 6.00 ms of it for other runs')
})

const costs = (all: { readonly [vnode: string]: number }) => Object.entries(all).map(([vnode, cost]) => ({ vnode, cost, memoryBytes: 1 }))

test('the source goes to its reader, if there is room, and comes last', (t) => {
  const demands = [{ vnode: 'source', cost: 0, memoryBytes: 10, near: 'v1' }, ...costs({ v1: 8, v2: 4 })]
  const request = { run: 'r', demands, staying: {}, avoid: [], code: [] }
  const placed = (...members: Parameters<typeof member>[]) =>
    Object.fromEntries(
      place(
        members.map((one) => member(...one)),
        request,
      ).map(({ vnode, pnode }) => [vnode, pnode]),
    )
  t.deepEqual(placed(['a'], ['b']), { v1: 'a', v2: 'b', source: 'a' })
  t.deepEqual(placed(['a', { memoryBytes: 5 }], ['b', { memoryBytes: 100 }]), { v1: 'a', v2: 'b', source: 'b' })
  t.is(
    place(
      ['a', 'b'].map((one) => member(one)),
      { ...request, staying: { v1: 'b', v2: 'a' } },
    )[0].pnode,
    'b',
  )
})

test('what is to go to a PNode goes there if it may, however slow it is', (t) => {
  const members = [member('fast', { gflops: 99 }), member('slow', { gflops: 1 }), member('full', { memoryBytes: 0 })]
  const at = (pnode: string) => where(members, request([{ ...demand('v', 10), at: pnode }])).v
  t.deepEqual([at('slow'), at('full'), at('gone')], ['slow', 'fast', 'fast'])
})
