/** The Placement actor: who is there, and what runs where, with the reason (M10 to M12). */
import type { ActorContext, ActorDefinition } from '../runtime/actor-system/actor-system.js'
import { SwarmError, isSwarmError } from '../runtime/errors.js'
import { actor, call, type Calls, type Decision, type Demand, type Membership, type Profile, untilHeard } from './calls.js'
import { SOURCE, type VNodeDefinition } from '../components/definition.js'
import { asked, assertDrainable, isPatient, keptAtRestart, unknownHost } from './draining.js'
import type { Candidate } from './events.js'
import type { RunDefinition } from './run-definition.js'

/** Deadlines of the membership, in ms. */
export interface MembershipOptions {
  readonly heartbeatMs: number
  /** Silence after which a PNode gets no new VNodes. */
  readonly suspectMs: number
  /** Silence after which its VNodes are placed elsewhere. */
  readonly lostMs: number
  /** Whether heartbeats would arrive: silence counts only while they would (PROTOCOL.md rule 16). Default: always. */
  readonly isHearing?: () => boolean
  /** Told of every heartbeat and every change, for people. */
  readonly onMember?: (member: Membership, reason: string) => void
}

export const DEFAULT_MEMBERSHIP: MembershipOptions = { heartbeatMs: 1_000, suspectMs: 3_000, lostMs: 5_000 }

/** Of so few PNodes a third says nothing. */
const LEAST_FOR_DOUBT = 4
/** How much longer many who fall silent together are waited for. */
const DOUBT = 3

interface Member extends Profile {
  state: Membership['state']
  drains?: Membership['drains']
  busyShare: number
  vnodes: readonly string[]
  heardAtMs: number
  isDraining: boolean
}

interface Memory {
  readonly members: Map<string, Member>
  sweptAtMs: number
}

type Argument<M extends keyof Calls['Placement']> = Calls['Placement'][M][0]

export function placementActor(options: MembershipOptions): ActorDefinition<Memory> {
  const change = (member: Member, state: Member['state'], reason: string) => {
    if (member.state === state) return
    member.state = state
    options.onMember?.(view(member), reason)
  }
  const lose = (context: ActorContext, member: Member, reason: string) => {
    if (member.state === 'lost') return
    change(member, 'lost', reason)
    const argument = { pnode: member.pnode, what: 'pnode', reason } as const
    // Not awaited: Relocation asks this very actor where to go.
    untilHeard(context.clock, context.signal, () => call<'Relocation', 'relocate'>(context, actor.relocation, 'relocate', argument)).catch(
      () => undefined,
    )
  }
  const remember = (context: ActorContext, members: ReadonlyMap<string, Member>) => {
    const there = [...members.values()].filter(({ state, drains }) => state !== 'lost' || drains?.operator !== undefined)
    const known = there.map(({ drains, ...member }) => ({ ...profileOf(member), ...(drains && { drains }) }))
    return context.state.set('members', known)
  }
  const setDrains = (member: Member, drains: Member['drains'], reason: string) => {
    member.drains = drains
    member.isDraining = drains !== undefined
    if (member.state !== 'lost') change(member, member.isDraining ? 'draining' : 'ready', reason)
  }
  const handOver = (context: ActorContext, { pnode, drains = {} }: Member) => {
    const leaving = { pnode, reason: drains.host ?? drains.operator ?? '', isPatient: isPatient(drains) }
    // Not awaited: Relocation asks this very actor where to go. It is told again until nothing is left.
    call<'Relocation', 'drain'>(context, actor.relocation, 'drain', leaving).catch(() => undefined)
  }
  return {
    type: 'Placement',
    activate: async (context) => {
      context.setTimer('sweep', 'sweep', { afterMs: options.heartbeatMs, everyMs: options.heartbeatMs })
      const now = context.clock.now()
      // Those who were there before have the time that everybody has to be heard of.
      const known = ((await context.state.get('members')) ?? []) as unknown as (Profile & Pick<Member, 'drains'>)[]
      const members = known.map(({ drains, ...profile }): [string, Member] => [profile.pnode, newMember(profile, now, drains)])
      return { members: new Map(members), sweptAtMs: now }
    },
    handlers: {
      join: async (context, { members }, profile: Argument<'join'>) => {
        const before = members.get(profile.pnode)
        const isSame = before?.incarnation === profile.incarnation
        const member = newMember(profile, context.clock.now(), isSame ? before.drains : keptAtRestart(before?.drains))
        if (isSame) member.vnodes = before.vnodes
        else if (before) lose(context, before, 'it was started again')
        members.set(profile.pnode, member)
        await remember(context, members)
        change(member, member.isDraining ? 'draining' : 'ready', 'joined')
        call<'Relocation', 'joined'>(context, actor.relocation, 'joined', { pnode: profile.pnode }).catch(() => undefined)
      },
      heartbeat: ({ clock }, { members }, { pnode, busyShare, vnodes }: Argument<'heartbeat'>) => {
        const member = members.get(pnode)
        if (!member) return false
        // One that was given up and is there all the same is welcome: what it had is fenced by its old terms.
        member.heardAtMs = clock.now()
        member.busyShare = busyShare
        member.vnodes = vnodes
        options.onMember?.(view(member), 'heartbeat')
        change(member, member.isDraining ? 'draining' : 'ready', 'heard again')
        return true
      },
      drain: async (context, { members }, { pnode, reason, by = 'host' }: Argument<'drain'>) => {
        const member = members.get(pnode)
        if (by === 'operator') assertDrainable(pnode, member)
        if (!member || member.state === 'lost') return
        setDrains(member, asked(member.drains, by, reason), reason)
        await remember(context, members)
        handOver(context, member)
      },
      undrain: async (context, { members }, { pnode, by }: Argument<'undrain'>) => {
        const member = members.get(pnode)
        if (!member) throw unknownHost(pnode)
        setDrains(member, asked(member.drains, by, undefined), 'it may have VNodes again')
        await remember(context, members)
        if (!member.isDraining) call<'Relocation', 'joined'>(context, actor.relocation, 'joined', { pnode }).catch(() => undefined)
      },
      lend: async (context, { members }, { pnode, memoryBytes, maxVNodes }: Argument<'lend'>) => {
        const member = members.get(pnode)
        if (!member) return
        Object.assign(member, { memoryBytes, maxVNodes })
        await remember(context, members)
        options.onMember?.(view(member), 'its owner lends more, or less')
        call<'Relocation', 'joined'>(context, actor.relocation, 'joined', { pnode }).catch(() => undefined)
      },
      leave: (context, { members }, { pnode, reason }: Argument<'leave'>) => {
        const member = members.get(pnode)
        if (member) lose(context, member, reason)
      },
      forget: async (context, { members }, { pnode }: Argument<'forget'>) => {
        const member = members.get(pnode)
        if (!member) return
        lose(context, member, 'it gave its name back')
        members.delete(pnode)
        await remember(context, members)
      },
      place: (_context, { members }, request: Argument<'place'>) => place([...members.values()], request) as never,
      list: (_context, { members }) => [...members.values()].map(view) as never,
      sweep: (context, memory) => {
        const { members } = memory
        const now = context.clock.now()
        const lateMs = now - memory.sweptAtMs - options.heartbeatMs
        const deafMs = options.isHearing?.() === false ? now - memory.sweptAtMs : 0
        memory.sweptAtMs = now
        // Who was stopped, or cut off itself has heard nobody: everyone gets the time back.
        const forgivenMs = Math.max(deafMs, lateMs > options.heartbeatMs ? lateMs : 0)
        for (const member of members.values()) member.heardAtMs += forgivenMs
        const here = [...members.values()].filter(({ state }) => state !== 'lost')
        const silent = here.filter(({ heardAtMs }) => now - heardAtMs >= options.lostMs)
        // So many at once: it is rather we who do not hear. But not for ever.
        const isSelfSuspect = here.length >= LEAST_FOR_DOUBT && silent.length * 3 > here.length
        for (const member of here) {
          const silentMs = now - member.heardAtMs
          if (silentMs >= options.lostMs * (isSelfSuspect ? DOUBT : 1))
            lose(context, member, `silent for ${(silentMs / 1000).toFixed(1)} s`)
          else if (silentMs >= options.suspectMs) change(member, 'suspect', 'silent')
          else if (member.isDraining && member.vnodes.length > 0) handOver(context, member)
        }
      },
    },
  }
}

const PROFILE = ['pnode', 'incarnation', 'computeClass', 'gflops', 'memoryBytes', 'owner', 'maxVNodes', 'allowsCode', 'isRelayed'] as const

const profileOf = (member: Profile): Profile =>
  Object.fromEntries(PROFILE.flatMap((field) => (member[field] === undefined ? [] : [[field, member[field]]]))) as unknown as Profile

const newMember = (profile: Profile, heardAtMs: number, drains?: Member['drains']): Member => ({
  ...profile,
  drains,
  state: 'suspect',
  busyShare: 0,
  vnodes: [],
  heardAtMs,
  isDraining: drains !== undefined,
})

const view = (member: Member): Membership => {
  const { state, drains, busyShare, vnodes } = member
  return { ...profileOf(member), state, ...(drains && { drains }), busyShare, vnodes }
}

/**
 * Places the most expensive VNode first, each on the PNode on which the longest stage grows least (longest processing time first,
 * Graham 1969); where memory does not allow that, the largest VNode first. Ties go to the name, so that equal circumstances give equal placements.
 * @throws `placement.no-pnode` (retryable: somebody may join)
 */
export function place(members: readonly Member[], request: Argument<'place'>): Decision[] {
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
  members: readonly Member[],
  { demands, staying, avoid, computeClass, code }: Argument<'place'>,
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
    const best = ranked.find(({ pnode }) => pnode === (demand.at ?? near)) ?? ranked.toSorted((a, b) => a.rank - b.rank)[0]
    if (!best) throw noPNode(demand, candidates)
    add(best.pnode, demand)
    return { vnode: demand.vnode, pnode: best.pnode, candidates }
  })
}

function judge(
  member: Member,
  demand: Demand,
  load: Load | undefined,
  wanted: Pick<Argument<'place'>, 'avoid' | 'computeClass' | 'code'>,
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
