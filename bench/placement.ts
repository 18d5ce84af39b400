/** 10,000 VNodes on 1,000 PNodes, by the pure function and by calls of 64 KB; then one PNode is lost. On one thread. */
import { place } from '../actors/placement/assignment.js'
import { actor, call, type Decision, type Demand, type Membership, type Profile } from '../actors/calls.js'
import { askPlaces } from '../actors/placement/parts.js'
import { DEFAULT_MEMBERSHIP, placementActor } from '../actors/placement/placement.js'
import { localActors } from '../runtime/actor-system/local-actors.js'
import { systemClock } from '../runtime/clock.js'
import { memoryStore } from '../runtime/object-store/memory-store.js'
import { RandomStream } from '../runtime/random.js'
import { median, type Report } from './measure.js'

const VNODES = 10_000
const PNODES = 1_000
const ROUNDS = 5

type Request = Parameters<typeof place>[1]

/** PNodes of 5 to 100 GFLOP/s, tiers and memory limits; VNodes whose costs differ by a factor of a hundred, in a chain. */
function draw(seed: number): { readonly members: Membership[]; readonly request: Request } {
  const random = new RandomStream(seed, 'placement')
  const members = Array.from({ length: PNODES }, (_, i): Membership => {
    const pnode = `pnode-${i}`
    const gflops = 5 + random.below(96)
    const memoryBytes = 2 ** 30 * (2 + random.below(15))
    const tier = (1 + random.below(3)) as 1 | 2 | 3
    const owner = `owner-${random.below(300)}`
    return { pnode, incarnation: pnode, computeClass: 'wasm', gflops, memoryBytes, tier, owner, state: 'ready', busyShare: 0, vnodes: [] }
  })
  const demands = Array.from({ length: VNODES }, (_, i): Demand => {
    const near = i === 0 ? {} : { near: `dense-${i - 1}` }
    const cost = 1e6 * (1 + random.below(100))
    return { vnode: `dense-${i}`, cost, memoryBytes: 2 ** 20 * (1 + random.below(500)), ...near, ...(i % 10 === 0 && { minTier: 2 }) }
  })
  return { members, request: { run: 'r', demands, staying: {}, avoid: [], code: [] } }
}

/** The longest stage over what it would be if work could be cut as finely as one likes. */
function balanceOf(members: readonly Membership[], { demands }: Request, at: ReadonlyMap<string, string>): number {
  const load = new Map<string, number>()
  for (const { vnode, cost } of demands) load.set(at.get(vnode)!, (load.get(at.get(vnode)!) ?? 0) + cost)
  const longest = Math.max(...members.map(({ pnode, gflops }) => (load.get(pnode) ?? 0) / gflops))
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
  return longest / (sum(demands.map(({ cost }) => cost)) / sum(members.map(({ gflops }) => gflops)))
}

/** On a busy machine the time on the clock is more than the time of the processor. */
async function timed<T>(work: () => T | Promise<T>): Promise<{ readonly ms: number; readonly cpuMs: number; readonly made: T }> {
  const [before, cpuBefore] = [performance.now(), process.cpuUsage()]
  const made = await work()
  const { user, system } = process.cpuUsage(cpuBefore)
  return { ms: performance.now() - before, cpuMs: (user + system) / 1e3, made }
}

const placesOf = (decisions: readonly Decision[]) => new Map(decisions.map(({ vnode, pnode }) => [vnode, pnode]))

export async function placement(): Promise<Report> {
  const figures = {
    wholeMs: [] as number[],
    wholeCpuMs: [] as number[],
    overFractional: [] as number[],
    lostVNodes: [] as number[],
    lostMs: [] as number[],
  }
  const calls = { callsMs: [] as number[], answerKB: [] as number[] }
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const { members, request } = draw(seed)
    const whole = await timed(() => place(members, request))
    const at = placesOf(whole.made)
    figures.wholeMs.push(whole.ms)
    figures.wholeCpuMs.push(whole.cpuMs)
    figures.overFractional.push(balanceOf(members, request, at))
    calls.answerKB.push(JSON.stringify(whole.made).length / 1e3)

    const [{ pnode: lost }] = members
    const staying = Object.fromEntries([...at].filter(([, pnode]) => pnode !== lost))
    const rest = await timed(() => place(members, { ...request, staying, avoid: [lost] }))
    figures.lostVNodes.push(rest.made.length)
    figures.lostMs.push(rest.ms)

    calls.callsMs.push(await byCalls(members, request))
  }
  return {
    figures: { ...figures, ...calls },
    bars: [
      { name: 'wholeMs', value: median(figures.wholeMs), atMost: 1_000 },
      { name: 'overFractional', value: Math.max(...figures.overFractional), atMost: 1.05 },
    ],
  }
}

/** The same as a Run actor does it: from joining on, since members are in the service's hands. */
async function byCalls(members: readonly Membership[], request: Request): Promise<number> {
  const system = localActors({ store: memoryStore(), clock: systemClock, onError: () => {} })
  system.register(placementActor({ ...DEFAULT_MEMBERSHIP, lostMs: 600_000, suspectMs: 600_000 }))
  for (const { state: _state, busyShare: _busyShare, vnodes: _vnodes, ...profile } of members)
    await call<'Placement', 'join'>(system, actor.placement, 'join', profile satisfies Profile)
  const { ms, made } = await timed(() => askPlaces(system, request, 1))
  await system.close()
  if (made.length !== VNODES) throw new Error(`${made.length} decisions of ${VNODES}`)
  return ms
}
