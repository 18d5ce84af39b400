/** When VNodes of a run move for balance: from what is seen at intervals, and from what is remembered. */
import test from 'ava'
import type { Demand, Membership } from '../../actors/calls.js'
import { Balance, DEFAULT_BALANCE, type Look } from '../../actors/run/balance.js'
import { member } from '../support/members.js'

test('what lasts for less than three looks, what a PNode waits for, and what a run near its end could save, move nothing', (t) => {
  const of = (slow: (look: number) => boolean, busyShare = 1, stepsLeft = 1e6) => {
    const balance = new Balance()
    return Array.from({ length: 12 }, (_, i) => {
      const members = ['p0', 'p1'].map((pnode) => member(pnode, { busyShare }))
      const demands = ['v0', 'v1'].map((vnode) => ({ vnode, cost: 1, memoryBytes: 1 }))
      const spent = new Map(['v0', 'v1'].map((vnode) => [vnode, { steps: 1, busyMs: vnode === 'v0' && slow(i) ? 50 : 10 }]))
      const directory = { v0: { pnode: 'p0' }, v1: { pnode: 'p1' } }
      const nowMs = i * DEFAULT_BALANCE.everyMs
      return balance.look({ run: 'r', nowMs, members, demands, directory, spent, moving: new Map(), code: [], stepsLeft }).length > 0
    })
  }
  t.false(of((look) => look === 4).includes(true))
  t.is(of((look) => look >= 4).indexOf(true), 6)
  t.false(of((look) => look >= 4, 0.1).includes(true))
  t.false(of((look) => look >= 4, 1, 30).includes(true), 'in 30 steps nothing is gained that a move does not cost')
})

test('whoever joins is given what makes the longest stage shorter by costs and ratings, and is measured from then on', (t) => {
  const demands = ['v0', 'v1'].map((vnode) => ({ vnode, cost: 4, memoryBytes: 1 }))
  const directory: { [vnode: string]: { pnode: string } } = { v0: { pnode: 'a' }, v1: { pnode: 'a' } }
  const members = ['a', 'b', 'c'].map((pnode) => member(pnode))
  const look: Look = { run: 'r', nowMs: 0, members, demands, directory, spent: new Map(), moving: new Map(), code: [], stepsLeft: 1 }
  const balance = new Balance()
  t.deepEqual(balance.lookAtOnce(look, 'c'), [{ vnode: 'v0', to: 'c' }])
  t.deepEqual(balance.lookAtOnce({ ...look, members: members.slice(0, 2) }, 'c'), [])
  directory.v0 = { pnode: 'c' }
  balance.look({ ...look, spent: new Map([['v0', { steps: 1, busyMs: 100 }]]) })
  directory.v0 = { pnode: 'a' }
  t.deepEqual(balance.lookAtOnce(look, 'c'), [], 'what is known of it says more')
  t.deepEqual(balance.lookAtOnce(look, 'b'), [{ vnode: 'v0', to: 'b' }])
})

test('a rating that was wrong for a while leaves nothing behind', (t) => {
  const balance = new Balance()
  const all = ['v0', 'v1', 'v2', 'v3', 'v4']
  const demands = all.map((vnode) => ({ vnode, cost: 1, memoryBytes: 1 }))
  const directory = Object.fromEntries(all.map((vnode, i) => [vnode, { pnode: i < 3 ? 'a' : 'b' }]))
  const spent = new Map(all.map((vnode) => [vnode, { steps: 10, busyMs: 1_000 }]))
  const lookWith = (i: number, gflops: number, more: Partial<Look> = {}) => {
    const members = ['a', 'b', 'c'].map((pnode) => member(pnode, { gflops: pnode === 'a' ? gflops : 30 }))
    const nowMs = i * DEFAULT_BALANCE.everyMs
    return balance.look({ run: 'r', nowMs, members, demands, directory, spent, moving: new Map(), code: [], stepsLeft: 1e6, ...more })
  }
  t.deepEqual(lookWith(0, 0.4), [])
  const moves = Array.from({ length: 10 }, (_, i) => lookWith(i + 1, 30)).find((found) => found.length > 0)
  t.deepEqual(moves, [{ vnode: 'v0', to: 'c' }])
})

test('what was measured on a PNode that is gone, or is rated otherwise meanwhile, counts no more', (t) => {
  const all = ['v0', 'v1', 'v2', 'v3']
  const demands = all.map((vnode) => ({ vnode, cost: 1, memoryBytes: 1 }))
  const spent = new Map(all.map((vnode) => [vnode, { steps: 10, busyMs: 1_000 }]))
  const on = (pnode: string, vnodes: readonly string[]) => Object.fromEntries(vnodes.map((vnode) => [vnode, { pnode }]))
  const stay = [member('b', { gflops: 30 }), member('c', { gflops: 30 })]
  for (const later of [stay, [member('a', { gflops: 30 }), ...stay]]) {
    const balance = new Balance()
    const lookAfter = (nowMs: number, directory: Look['directory'], members: readonly Membership[]) =>
      balance.look({ run: 'r', nowMs, members, demands, directory, spent, moving: new Map(), code: [], stepsLeft: 1e6 })
    // As if they needed next to nothing.
    lookAfter(0, { ...on('a', all.slice(0, 2)), ...on('b', all.slice(2)) }, [member('a', { gflops: 0.1 }), ...stay])
    const found = Array.from({ length: 4 }, (_, i) => lookAfter((i + 1) * DEFAULT_BALANCE.everyMs, on('b', all), later))
    t.is(found.find((moves) => moves.length > 0)?.length, 2)
  }
})

test('what follows from a move has to be seen anew, and each kind of moves by itself', (t) => {
  const balance = new Balance()
  const places = { a: ['v0', 'v1', 'v2', 'v3'], b: ['v4', 'v5'] }
  const all = Object.entries(places).flatMap(([pnode, vnodes]) => vnodes.map((vnode) => [vnode, { pnode }] as const))
  const demands = all.map(([vnode]) => ({ vnode, cost: 1, memoryBytes: 1 }))
  const spent = new Map(all.map(([vnode]) => [vnode, { steps: 1, busyMs: 1_000 }]))
  const look = {
    run: 'r',
    members: [member('a'), member('b')],
    demands,
    directory: Object.fromEntries(all),
    spent,
    moving: new Map(),
    code: [],
    stepsLeft: 1e6,
  }
  const found = Array.from({ length: 7 }, (_, i) => balance.look({ ...look, nowMs: i * DEFAULT_BALANCE.everyMs }).length)
  t.deepEqual(found, [0, 0, 1, 0, 0, 1, 0])
})

test('what was seen of moves of followers says nothing of moves of VNodes', (t) => {
  const balance = new Balance()
  const lookWith = (i: number, standing: readonly string[]) => {
    const places = { a: ['v0', 'v1', 'v2', 'v3', ...standing], b: ['v4'], c: ['v5'] }
    const all = Object.entries(places).flatMap(([pnode, vnodes]) => vnodes.map((vnode) => [vnode, { pnode }] as const))
    return balance.look({
      run: 'r',
      nowMs: i * DEFAULT_BALANCE.everyMs,
      members: ['a', 'b', 'c'].map((pnode) => member(pnode)),
      demands: all.map(([vnode]) => ({ vnode, cost: 1, memoryBytes: 1 })),
      directory: Object.fromEntries(all),
      spent: new Map(all.map(([vnode]) => [vnode, { steps: 1, busyMs: 1_000 }])),
      moving: new Map(),
      code: [],
      stepsLeft: 1e6,
    })
  }
  // Two looks at what would help the followers; then there are none, and VNodes would have to move.
  const found = Array.from({ length: 6 }, (_, i) => lookWith(i, i < 2 ? ['v5~1', 'v5~2'] : []).length > 0)
  t.deepEqual(found, [false, false, false, false, true, false])
})

test('what is about to move has its room where it is until it does', (t) => {
  const demands = ['v0', 'v1', 'v2'].map((vnode) => ({ vnode, cost: 1, memoryBytes: 1 }))
  const directory = { v0: { pnode: 'a' }, v1: { pnode: 'b' }, v2: { pnode: 'b' } }
  const members = [member('a'), member('b', { maxVNodes: 2 })]
  const look: Look = {
    run: 'r',
    nowMs: 0,
    members,
    demands,
    directory,
    spent: new Map(),
    moving: new Map([['v0', 'b']]),
    code: [],
    stepsLeft: 1,
  }
  t.deepEqual(new Balance().overLimit(look), [])
})

test('followers move first, for a smaller gain, and never to whom they follow; together with VNodes if they alone do not help', (t) => {
  const movesFor = (places: { readonly [pnode: string]: readonly string[] }, maxVNodes?: number) => {
    const all = Object.entries(places).flatMap(([pnode, vnodes]) => vnodes.map((vnode) => [vnode, { pnode, term: 1 }] as const))
    const look: Look = {
      run: 'r',
      nowMs: 0,
      members: [...Object.keys(places).map((pnode) => member(pnode)), { ...member('new'), maxVNodes }],
      demands: all.map(([vnode]) => ({ vnode, cost: 1, memoryBytes: 1 })),
      directory: Object.fromEntries(all),
      spent: new Map(),
      moving: new Map(),
      code: [],
      stepsLeft: 1e6,
    }
    return new Balance().lookAtOnce(look, 'new').map(({ vnode }) => vnode)
  }
  t.deepEqual(movesFor({ a: ['v0', 'v1', 'v2', 'v3', 'v4', 'v5'] }), ['v0', 'v1', 'v2'])
  // Eleven in all need one to go, which is too little for a VNode, and not for a follower.
  const names = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
  const tens = Object.fromEntries(['b', 'c', 'd', 'e', 'f'].map((pnode) => [pnode, names(pnode, 10)]))
  t.deepEqual(movesFor({ a: names('v', 11), ...tens }, 1), [])
  t.deepEqual(movesFor({ a: [...names('v', 10), 'b0~1'], ...tens }, 1), ['b0~1'])
  t.deepEqual(movesFor({ a: names('v', 6), b: names('b', 5) }, 1), ['v0'], 'a sixth is enough')
  const both = movesFor({ a: ['v0', 'v1', 'v2'], b: ['v0~1', 'v1~1', 'v2~1'] })
  t.is(both.length, 2)
  t.not(both[0].slice(0, 2), both[1].slice(0, 2), 'apart')
})

test('what was lost, or has moved because others came and went, stays no longer than what has never moved: that is no moving to and fro', (t) => {
  const { holdMs, everyMs } = DEFAULT_BALANCE
  /** When what is on one of two equal PNodes with two VNodes moves to the other, after it had another owner six times, a minute apart. */
  const movedAfterMs = (why: 'balance' | 'loss' | 'newcomers'): number => {
    const balance = new Balance()
    const lastMs = 6 * 60_000
    const demands = ['v0', 'v1'].map((vnode) => ({ vnode, cost: 1, memoryBytes: 1 }))
    const spent = new Map(demands.map(({ vnode }) => [vnode, { steps: 1, busyMs: 2_000 }]))
    const directory = { v0: { pnode: 'p0' }, v1: { pnode: 'p0' } }
    const lookAfter = (nowMs: number, pnodes: readonly string[]) => {
      const look = { run: 'r', nowMs, demands, directory, spent, moving: new Map(), code: [], stepsLeft: 1e6 }
      return balance.look({ ...look, members: pnodes.map((pnode) => member(pnode)) })
    }
    for (let nowMs = 60_000; nowMs <= lastMs; nowMs += 60_000) {
      lookAfter(nowMs - 1, why === 'newcomers' ? ['p0', `of ${nowMs}`] : ['p0', 'p1'])
      for (const vnode of ['v0', 'v1']) balance.moved(vnode, nowMs, why === 'loss')
    }
    for (let nowMs = lastMs + everyMs; ; nowMs += everyMs) if (lookAfter(nowMs, ['p0', 'p1']).length > 0) return nowMs - lastMs
  }
  t.true(movedAfterMs('loss') <= holdMs + 3 * everyMs, `${movedAfterMs('loss')} ms`)
  t.true(movedAfterMs('newcomers') <= holdMs + 3 * everyMs, `${movedAfterMs('newcomers')} ms`)
  t.true(movedAfterMs('balance') >= 8 * holdMs, `${movedAfterMs('balance')} ms`)
})

test('the smaller a gain is, the oftener it has to be seen', (t) => {
  /** At which look something moves from a PNode of `count` equal VNodes to one that has fewer. */
  const movesAt = (count: number): number => {
    const balance = new Balance()
    const places = { a: count, b: count - 2 }
    const all = Object.entries(places).flatMap(([pnode, many]) =>
      Array.from({ length: many }, (_, i) => [`${pnode}${i}`, { pnode }] as const),
    )
    const members = ['a', 'b'].map((pnode) => member(pnode))
    const demands = all.map(([vnode]) => ({ vnode, cost: 1, memoryBytes: 1 }))
    const spent = new Map(all.map(([vnode]) => [vnode, { steps: 1, busyMs: 1_000 }]))
    const look = { run: 'r', members, demands, directory: Object.fromEntries(all), spent, moving: new Map(), code: [], stepsLeft: 1e6 }
    for (let i = 1; i < 20; i++) if (balance.look({ ...look, nowMs: i * DEFAULT_BALANCE.everyMs }).length > 0) return i
    return Infinity
  }
  t.deepEqual([2, 4, 5, 8, 9, 11].map(movesAt), [3, 3, 4, 6, 7, Infinity])
})

test('what asks for a tier stays on such PNodes, and what is to be together stays together', (t) => {
  const demands = ['v0', 'v1', 'v2', 'v3'].map((vnode) => ({ vnode, cost: 4, memoryBytes: 1 }))
  const directory = Object.fromEntries(demands.map(({ vnode }) => [vnode, { pnode: 'a' }]))
  const members = [member('a', { tier: 1 }), member('b', { tier: 2 }), member('c')]
  const look: Look = { run: 'r', nowMs: 0, members, demands, directory, spent: new Map(), moving: new Map(), code: [], stepsLeft: 1 }
  const moved = (newcomer: string, more: Partial<Demand>) =>
    new Balance().lookAtOnce({ ...look, demands: demands.map((demand) => ({ ...demand, ...more })) }, newcomer).map(({ vnode }) => vnode)
  t.deepEqual(moved('b', {}), ['v0', 'v1'])
  t.deepEqual(moved('b', { minTier: 2 }), ['v0', 'v1'])
  t.deepEqual(moved('b', { minTier: 1 }), [])
  t.deepEqual(moved('c', { minTier: 1 }), ['v0', 'v1'], 'who has not been rated will do')
  t.deepEqual(moved('c', { group: 'g' }), [])
})

test('a standby does not go where its VNode is about to leave: it is still there', (t) => {
  const places = { a: ['v0'], b: ['v0~1', 'v1', 'v2', 'v3'], c: ['v4', 'v5', 'v6'] }
  const all = Object.entries(places).flatMap(([pnode, vnodes]) => vnodes.map((vnode) => [vnode, { pnode }] as const))
  const demands = all.map(([vnode]) => ({ vnode, cost: 1, memoryBytes: 1 }))
  const members = [member('a'), member('b'), member('c', { maxVNodes: 3 }), member('d', { maxVNodes: 0 })]
  const look: Look = {
    run: 'r',
    nowMs: 0,
    members,
    demands,
    directory: Object.fromEntries(all),
    spent: new Map(),
    moving: new Map(),
    code: [],
    stepsLeft: 1,
  }
  const moved = (moving: Look['moving']) => new Balance().lookAtOnce({ ...look, moving }, 'a')
  t.deepEqual(moved(new Map([['v0', 'd']])), [])
  t.deepEqual(
    moved(new Map([['v5', 'd']])).filter(({ vnode }) => vnode === 'v0~1'),
    [],
    'nor where it is',
  )
})
