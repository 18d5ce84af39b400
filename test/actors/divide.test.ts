import test from 'ava'
import { place } from '../../actors/placement/assignment.js'
import { divide } from '../../actors/placement/divide.js'
import type { Demand, Membership } from '../../actors/calls.js'
import { isSwarmError } from '../../runtime/errors.js'
import { RandomStream } from '../../runtime/random.js'

/** What the issue asks for. */
const BAR = 1.05

interface Instance {
  readonly members: readonly Membership[]
  readonly demands: readonly Demand[]
  readonly staying: { readonly [vnode: string]: string }
}

const placesOf = ({ members, demands, staying }: Instance) => {
  const decisions = place(members, { run: 'r', demands, staying, avoid: [], code: [] })
  return { ...staying, ...Object.fromEntries(decisions.map(({ vnode, pnode }) => [vnode, pnode])) }
}

/** Time of the longest stage, in units of cost per speed; Infinity if a limit or a constraint is broken. Written without the code that is tested. */
function longest({ members, demands }: Instance, at: { readonly [vnode: string]: string }): number {
  const times = members.map(({ pnode, gflops, memoryBytes, maxVNodes = Infinity, tier = 1 }) => {
    const here = demands.filter(({ vnode }) => at[vnode] === pnode)
    const keys = here.flatMap(({ spread }) => spread ?? [])
    const isTorn = here.some(({ group }) => group !== undefined && demands.some((one) => one.group === group && at[one.vnode] !== pnode))
    const isBroken = here.some(({ minTier = 3 }) => tier > minTier) || new Set(keys).size < keys.length || isTorn
    const isOver = here.length > maxVNodes || here.reduce((sum, one) => sum + one.memoryBytes, 0) > memoryBytes
    return isBroken || isOver ? Infinity : here.reduce((sum, { cost }) => sum + cost, 0) / gflops
  })
  const classes = new Set(members.filter(({ pnode }) => Object.values(at).includes(pnode)).map(({ computeClass }) => computeClass))
  return classes.size > 1 ? Infinity : Math.max(...times)
}

/** The best that any placement reaches, or `best` if none is better: every one is tried but those that are too long already. */
function optimum(instance: Instance, best: number): number {
  const { members, demands, staying } = instance
  const moving = demands.filter(({ vnode }) => !(vnode in staying)).toSorted((a, b) => b.cost - a.cost)
  const at: { [vnode: string]: string } = { ...staying }
  const cost = members.map(({ pnode }) => demands.reduce((sum, one) => sum + (staying[one.vnode] === pnode ? one.cost : 0), 0))
  const used = members.map(({ pnode }) => demands.reduce((sum, one) => sum + (staying[one.vnode] === pnode ? one.memoryBytes : 0), 0))
  const search = (i: number): void => {
    if (i === moving.length) {
      best = Math.min(best, longest(instance, at))
      return
    }
    const { vnode, cost: more, memoryBytes } = moving[i]
    members.forEach((member, m) => {
      if (used[m] + memoryBytes > member.memoryBytes || (cost[m] + more) / member.gflops >= best) return
      at[vnode] = member.pnode
      cost[m] += more
      used[m] += memoryBytes
      search(i + 1)
      cost[m] -= more
      used[m] -= memoryBytes
    })
  }
  search(0)
  return best
}

/** What placement makes of it; Infinity if it finds no place. */
function lengthOf(instance: Instance): number {
  try {
    const length = longest(instance, placesOf(instance))
    return length === Infinity ? Number.NaN : length
  } catch (error) {
    if (!isSwarmError(error, 'placement.no-pnode')) throw error
    return Infinity
  }
}

const member = (pnode: string, more: Partial<Membership> = {}): Membership => ({
  pnode,
  incarnation: pnode,
  computeClass: 'wasm',
  gflops: 10,
  memoryBytes: 1e9,
  state: 'ready',
  busyShare: 0,
  vnodes: [],
  ...more,
})

interface Kind {
  readonly vnodes: number
  readonly pnodes: number
  readonly member: (random: RandomStream, totalBytes: number, pnodes: number) => Partial<Membership>
  readonly demand?: (random: RandomStream, i: number) => Partial<Demand>
  readonly stays?: number
}

const speed = (random: RandomStream) => ({ gflops: 1 + random.below(20) })
/** Little more room than is needed: the difficult instances. */
const tight = (random: RandomStream, totalBytes: number, pnodes: number) => ({
  ...speed(random),
  memoryBytes: Math.ceil((totalBytes * (1.05 + random.uniform() * 0.5)) / pnodes),
})

const KINDS: { readonly [name: string]: Kind } = {
  'equal PNodes': { vnodes: 11, pnodes: 4, member: () => ({}) },
  'PNodes of different speeds': { vnodes: 10, pnodes: 4, member: speed },
  'little memory': { vnodes: 9, pnodes: 4, member: tight },
  'few VNodes allowed': { vnodes: 10, pnodes: 4, member: (random) => ({ ...speed(random), maxVNodes: 2 + random.below(3) }) },
  'tiers, groups and spread': {
    vnodes: 9,
    pnodes: 4,
    member: (random, bytes, pnodes) => ({ ...tight(random, bytes * 1.5, pnodes), tier: (1 + random.below(3)) as 1 | 2 | 3 }),
    demand: (random, i) => ({
      ...(random.below(4) === 0 && { minTier: (1 + random.below(3)) as 1 | 2 | 3 }),
      ...(i < 2 ? { group: 'g' } : i < 5 ? { spread: 's' } : {}),
    }),
  },
  'some that stay': { vnodes: 11, pnodes: 4, member: speed, stays: 5 },
  'two compute classes': {
    vnodes: 8,
    pnodes: 5,
    member: (random) => ({ ...speed(random), computeClass: random.below(2) ? 'native' : 'wasm' }),
  },
}

function draw({ vnodes, pnodes, member: ofMember, demand: ofDemand, stays = 0 }: Kind, random: RandomStream): Instance {
  const demands = Array.from({ length: 2 + random.below(vnodes - 1) }, (_, i): Demand => {
    const [cost, memoryBytes] = [1 + random.below(100), 1 + random.below(100)]
    return { vnode: `v${i}`, cost, memoryBytes, ...ofDemand?.(random, i) }
  })
  const count = 2 + random.below(pnodes - 1)
  const totalBytes = demands.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)
  const members = Array.from({ length: count }, (_, m) => member(`p${m}`, ofMember(random, totalBytes, count)))
  const staying = Object.fromEntries(demands.slice(0, random.below(stays + 1)).map(({ vnode }) => [vnode, `p${random.below(count)}`]))
  return { members, demands, staying }
}

for (const [name, kind] of Object.entries(KINDS)) {
  test(`the longest stage is at most ${BAR} times the optimum, and a place is found where there is one: ${name}`, (t) => {
    const random = new RandomStream(1, 'balance', name)
    let [possible, sum, worst] = [0, 0, 1]
    for (let i = 0; i < 300; i++) {
      const instance = draw(kind, random)
      const found = lengthOf(instance)
      const best = optimum(instance, found)
      t.true(found < Infinity || best === Infinity, `instance ${i}: there is a place within all limits`)
      if (found === Infinity) continue
      possible++
      sum += found / best
      worst = Math.max(worst, found / best)
    }
    t.log(`${possible} instances, mean ${(sum / possible).toFixed(4)}, worst ${worst.toFixed(4)} of the optimum`)
    t.true(possible > 100)
    t.true(worst <= BAR, `${worst}`)
  })
}

/** Work that was cut from stages of equal length: the optimum is known, however much there is. */
function cut(vnodes: number, pnodes: number, random: RandomStream, spareBytes: number): Instance {
  const lists = Array.from({ length: pnodes }, (): number[] => [])
  for (let i = 0; i < vnodes; i++) lists[i < pnodes ? i : random.below(pnodes)].push(0.2 + random.uniform())
  const demands: Demand[] = []
  const members = lists.map((parts, m) => {
    const gflops = 1 + random.below(20)
    const whole = parts.reduce((a, b) => a + b, 0)
    const own = parts.map((part): Demand => ({ vnode: '', cost: (gflops * part) / whole, memoryBytes: 1 + random.below(100) }))
    demands.push(...own)
    const bytes = own.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)
    return member(`p${m}`, { gflops, memoryBytes: Math.ceil(bytes * spareBytes) })
  })
  const order = random.permutation(demands.length)
  return { members, demands: demands.map((one, i) => ({ ...one, vnode: `v${1_000 + order[i]}` })), staying: {} }
}

test(`the longest stage is at most ${BAR} times the optimum where that is known by construction, for up to 300 VNodes`, (t) => {
  const random = new RandomStream(2, 'balance')
  for (const spareBytes of [100, 1.5]) {
    for (const [vnodes, pnodes] of [
      [12, 5],
      [30, 10],
      [60, 20],
      [150, 40],
      [300, 60],
    ]) {
      let worst = 1
      for (let i = 0; i < 20; i++) {
        const instance = cut(vnodes, pnodes, random, spareBytes)
        worst = Math.max(worst, longest(instance, placesOf(instance)))
      }
      t.log(`${vnodes} VNodes on ${pnodes} PNodes with ${spareBytes} times the memory: worst ${worst.toFixed(4)}`)
      t.true(worst <= BAR, `${vnodes} on ${pnodes} with ${spareBytes}: ${worst}`)
    }
  }
})

test('what costs nothing is not divided anew: nobody has less to do for it', (t) => {
  const [count, each] = [30, 33]
  const machines = Array.from({ length: count }, (_, m) => ({ speed: 1, load: m % 3, freeBytes: 1e9, freeSlots: each }))
  const allowed = new Uint8Array(count).fill(1)
  let looks = 0
  const look = () => {
    looks++
    return 0
  }
  const piece = { bytes: 1, slots: 1, allowed, apart: [] }
  const pieces = Array.from({ length: count * each }, () => Object.defineProperty({ ...piece, cost: 0 }, 'cost', { get: look }))
  const { division, missing } = divide(machines, pieces)
  t.is(missing, undefined)
  for (const m of machines.keys()) t.is(division.on(m).length, each)
  t.true(looks < 20 * pieces.length, `${looks} looks at the costs of ${pieces.length} pieces`)
})

test('with a standby for each of 60 VNodes all limits hold, no two copies have one owner, and the balance is still near the bound', (t) => {
  const random = new RandomStream(5, 'balance')
  for (let i = 0; i < 10; i++) {
    const members = Array.from({ length: 20 }, (_, m) =>
      member(`p${10 + m}`, { ...speed(random), owner: `o${m % 7}`, maxVNodes: 12, memoryBytes: 900, tier: (1 + (m % 3)) as 1 | 2 | 3 }),
    )
    const demands = Array.from({ length: 120 }, (_, d): Demand => {
      const id = Math.floor(d / 2)
      const near = id > 0 && d % 2 === 0 ? { near: `v${100 + 2 * (id - 1)}` } : {}
      const tier = id % 5 === 0 ? ({ minTier: 2 } as const) : {}
      return { vnode: `v${100 + d}`, cost: 20 + ((id * 37) % 50), memoryBytes: 20 + ((id * 53) % 90), spread: `s${id}`, ...near, ...tier }
    })
    const instance = { members, demands, staying: {} }
    const at = placesOf(instance)
    const bound = demands.reduce((sum, { cost }) => sum + cost, 0) / members.reduce((sum, { gflops }) => sum + gflops, 0)
    t.true(longest(instance, at) < bound * BAR, `instance ${i}: ${longest(instance, at)} and ${bound}`)
    const ownerOf = (vnode: string) => members.find(({ pnode }) => pnode === at[vnode])?.owner
    const shared = demands.filter(({ vnode }, d) => d % 2 === 0 && ownerOf(vnode) === ownerOf(`v${101 + d}`))
    t.deepEqual(shared, [], `instance ${i}`)
  }
})

test('what is chosen has the best score of what was weighed', (t) => {
  for (const [vnodes, pnodes] of [
    [12, 5],
    [16, 6],
    [90, 30],
    [300, 60],
  ]) {
    const { members, demands } = cut(vnodes, pnodes, new RandomStream(4, 'balance', vnodes), 1.3)
    for (const { vnode, pnode, candidates } of place(members, { run: 'r', demands, staying: {}, avoid: [], code: [] })) {
      const scores = candidates.flatMap(({ score }) => score ?? [])
      const own = candidates.find((one) => one.pnode === pnode)?.score ?? Infinity
      t.true(own <= Math.min(...scores) * (1 + 1e-6), `${vnode} on ${pnode}`)
    }
  }
})

test('a large placement is the same in whatever order members and demands come', (t) => {
  const { members, demands } = cut(400, 50, new RandomStream(3, 'balance'), 1.4)
  const linked = demands.map((one, i) => (i % 3 === 0 ? one : { ...one, near: demands[i - 1].vnode }))
  const one = placesOf({ members, demands: linked, staying: {} })
  t.deepEqual(placesOf({ members: members.toReversed(), demands: linked.toReversed(), staying: {} }), one)
})
