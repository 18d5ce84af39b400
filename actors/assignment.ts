/** What runs where, with the reason: pure functions of who is there and what is asked (M12). */
import { SOURCE, type VNodeDefinition } from '../components/definition.js'
import { SwarmError, isSwarmError } from '../runtime/errors.js'
import type { Calls, Decision, Demand, Membership } from './calls.js'
import type { Candidate } from './events.js'
import type { RunDefinition } from './run-definition.js'

type Request = Calls['Placement']['place'][0]

/**
 * Places the most expensive VNode first, each on the PNode on which the longest stage grows least (longest processing time first,
 * Graham 1969); where memory does not allow that, the largest VNode first. Ties go to the name, so that equal circumstances give equal placements.
 * @throws `placement.no-pnode` (retryable: somebody may join)
 */
export function place(members: readonly Membership[], request: Request): Decision[] {
  const moving = request.demands.filter(({ vnode }) => !(vnode in request.staying))
  const byName = (a: Demand, b: Demand) => (a.vnode < b.vnode ? -1 : 1)
  try {
    const expensiveFirst = moving.toSorted((a, b) => b.cost - a.cost || byName(a, b))
    return assign(members, request, expensiveFirst, ({ score }) => score!)
  } catch (error) {
    if (!isSwarmError(error, 'placement.no-pnode')) throw error
    // What is cheap but large found its place taken. Largest first, each where it leaves least room: balance is worth less than a place.
    const largestFirst = moving.toSorted((a, b) => b.memoryBytes - a.memoryBytes || byName(a, b))
    return assign(members, request, largestFirst, (_candidate, freeBytes) => freeBytes)
  }
}

interface Load {
  readonly vnodes: number
  readonly cost: number
  readonly memoryBytes: number
}

/** Gives each VNode in turn to the eligible PNode with the lowest `rank`. */
function assign(
  members: readonly Membership[],
  { demands, staying, avoid, computeClass, code }: Request,
  inOrder: readonly Demand[],
  rank: (candidate: Candidate, freeBytes: number) => number,
): Decision[] {
  const load = new Map<string, Load>()
  const places = new Map<string, string>()
  const add = (pnode: string, { vnode, cost, memoryBytes }: Demand) => {
    places.set(vnode, pnode)
    const before = load.get(pnode) ?? { vnodes: 0, cost: 0, memoryBytes: 0 }
    load.set(pnode, { vnodes: before.vnodes + 1, cost: before.cost + cost, memoryBytes: before.memoryBytes + memoryBytes })
  }
  for (const demand of demands) if (demand.vnode in staying) add(staying[demand.vnode], demand)
  const sorted = members.toSorted((a, b) => (a.pnode < b.pnode ? -1 : 1))
  return inOrder.map((demand) => {
    const candidates = sorted.map((member) => judge(member, demand, load.get(member.pnode), { avoid, computeClass, code }))
    const ranked = sorted.flatMap(({ pnode, memoryBytes }, i) => {
      const freeBytes = memoryBytes - (load.get(pnode)?.memoryBytes ?? 0)
      return candidates[i].score === undefined ? [] : [{ pnode, rank: rank(candidates[i], freeBytes) }]
    })
    const near = demand.near === undefined ? undefined : places.get(demand.near)
    const best = ranked.find(({ pnode }) => pnode === near) ?? ranked.toSorted((a, b) => a.rank - b.rank)[0]
    if (!best) throw noPNode(demand, candidates)
    add(best.pnode, demand)
    return { vnode: demand.vnode, pnode: best.pnode, candidates }
  })
}

function judge(
  member: Membership,
  demand: Demand,
  load: Load | undefined,
  wanted: Pick<Request, 'avoid' | 'computeClass' | 'code'>,
): Candidate {
  const { pnode } = member
  const used = load?.memoryBytes ?? 0
  if (member.state !== 'ready') return { pnode, reason: `it is ${member.state}` }
  if (wanted.avoid.includes(pnode)) return { pnode, reason: 'it has just been lost' }
  if (wanted.computeClass !== undefined && member.computeClass !== wanted.computeClass)
    return { pnode, reason: `its compute class is ${member.computeClass}` }
  const refused = wanted.code.find((sha256) => member.allowsCode && !member.allowsCode.includes(sha256))
  if (refused !== undefined) return { pnode, reason: `its owner does not allow the code ${refused.slice(0, 12)}…` }
  if ((load?.vnodes ?? 0) >= (member.maxVNodes ?? Infinity)) return { pnode, reason: `its owner allows ${member.maxVNodes} VNodes` }
  if (used + demand.memoryBytes > member.memoryBytes)
    return { pnode, reason: `${toMB(demand.memoryBytes)} MB more than its ${toMB(member.memoryBytes)} MB allow` }
  // Milliseconds per step, if it does two flops per multiply-add for the forward and two passes for the gradients.
  const total = (load?.cost ?? 0) + demand.cost
  const score = (total * 6) / (Math.max(member.gflops, 1e-3) * 1e6)
  return {
    pnode,
    score,
    reason: `${score.toFixed(2)} ms a step with ${member.gflops.toFixed(0)} GFLOP/s and ${toMB(used + demand.memoryBytes)} MB`,
  }
}

function noPNode(demand: Demand, candidates: readonly Candidate[]): SwarmError {
  return new SwarmError('placement.no-pnode', {
    what: `no PNode for ${demand.vnode}`,
    got: candidates.length === 0 ? 'no PNodes' : candidates.map(({ pnode, reason }) => `${pnode}: ${reason}`).join('; '),
    retryable: true,
  })
}

const toMB = (bytes: number): string => (bytes / 1e6).toFixed(1)

/** What the source needs: the data, in memory, and to be near its first reader. It computes nothing worth counting. */
export function demandOfSource({ data, network: { input, vnodes } }: RunDefinition): Demand {
  const samples = Object.values(data.splits).reduce((sum, shards) => sum + (shards ?? []).reduce((all, shard) => all + shard.samples, 0), 0)
  const near = vnodes.find(({ inputs }) => inputs.includes(SOURCE))?.id
  return { vnode: SOURCE, cost: 0, memoryBytes: samples * 4 * (input.reduce((a, b) => a * b, 1) + 1), near }
}

/** What a VNode needs: its work per step, and its state with the optimizer's two moments, twice at a cut. */
export function demandOf({ id, cost, parameters, outputShape }: VNodeDefinition, batchSize: number): Demand {
  const outputBytes = 4 * batchSize * outputShape.reduce((a, b) => a * b, 1)
  return { vnode: id, cost: cost * batchSize, memoryBytes: parameters * 4 * 3 * 2 + outputBytes * 8 }
}
