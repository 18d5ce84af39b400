/** The Placement actor: who is there, and in what state (M10, M11). What runs where is worked out in `assignment.ts`. */
import { setMaxListeners } from 'node:events'
import type { ActorContext, ActorDefinition } from '../../runtime/actor-system/actor-system.js'
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import { believedGflops, passesAdmission, ratedAnew, ratedBySteps, type Tiers } from './admission.js'
import { place } from './assignment.js'
import { actor, call, type Calls, type Decision, type Membership, untilHeard } from '../calls.js'
import { asked, assertDrainable, isPatient, keptAtRestart, unknownHost } from './draining.js'
import { type Known, type Member, newMember, profileOf, view } from './member.js'
import { OtherRuns } from './other-runs.js'
import { OpenRequests, pageOf } from './parts.js'
import { Regards } from './regards.js'
import { WaitingRuns } from './waiting-runs.js'
import { hostOf, type HeardContext } from '../who-may.js'

/** Deadlines of the membership, in ms, and who may be part of it. */
export interface MembershipOptions {
  readonly heartbeatMs: number
  /** Silence after which a PNode gets no new VNodes. */
  readonly suspectMs: number
  /** Silence after which its VNodes are placed elsewhere. */
  readonly lostMs: number
  /** How long a run stands still, though everybody is heard, before PNodes are asked why, at least; Infinity: they never are. */
  readonly standstillMs: number
  /** Whether heartbeats would arrive: silence counts only while they would (PROTOCOL.md rule 16). Default: always. */
  readonly isHearing?: () => boolean
  /** What each tier wants; who does not reach the third gets no VNodes. Default `DEFAULT_TIERS`. */
  readonly tiers?: Tiers
  /** PNodes whose word settles disputes. Default: none. */
  readonly isTrusted?: (pnode: string) => boolean
  /** How often steps are compared with what hosts say of their speed. Default `RATE_MS`. */
  readonly rateMs?: number
  /** Told of every heartbeat and every change, for people. */
  readonly onMember?: (member: Membership, reason: string) => void
}

export const DEFAULT_MEMBERSHIP: MembershipOptions = { heartbeatMs: 1_000, suspectMs: 3_000, lostMs: 5_000, standstillMs: 10_000 }

/** @throws `usage` */
export function assertTimes({ heartbeatMs, suspectMs, lostMs, standstillMs }: Omit<MembershipOptions, 'onMember'>): void {
  if (heartbeatMs > 0 && heartbeatMs < suspectMs && suspectMs <= lostMs && standstillMs > 0) return
  throw new SwarmError('usage', {
    what: 'times of the membership',
    expected: 'heartbeat < suspect ≤ lost, and all of them above 0',
    got: `heartbeat ${heartbeatMs} ms, suspect ${suspectMs} ms, lost ${lostMs} ms, standstill ${standstillMs} ms`,
  })
}

/** Of so few PNodes a third says nothing. */
const LEAST_FOR_DOUBT = 4
/** How much longer many who fall silent together are waited for. */
const DOUBT = 3
/** An observer that still has VNodes is drained again after so long, in ms. */
const PUSH_AGAIN_MS = 2_000
/** So often it is asked whether who is in quarantine still is, in ms: somebody may have ended it. */
const LOOK_MS = 5_000
/** Weights are kept as seldom as this, in ms: a lost one comes again with what is told next. Quarantines are kept at once. */
const KEEP_REGARDS_MS = 60_000
/** Names in one call. */
const MOST_LOOKED_AT = 500
/** Having delivered counts once in so long, in ms: who takes and gives back VNodes all the time does no more than others. */
const DELIVERED_MS = 60_000

interface Memory {
  readonly members: Map<string, Member>
  readonly requests: OpenRequests
  readonly others: OtherRuns
  readonly waiting: WaitingRuns
  readonly regards: Regards
  lookedAtMs: number
  keptAtMs: number
  sweptAtMs: number
}

type Argument<M extends keyof Calls['Placement']> = Calls['Placement'][M][0]

/** @throws `usage`: times that do not fit together */
export function placementActor(options: MembershipOptions): ActorDefinition<Memory> {
  assertTimes(options)
  const seen = (member: Member): Membership => ({ ...view(member), ...(options.isTrusted?.(member.pnode) && { isTrusted: true as const }) })
  const change = (member: Member, state: Member['state'], reason: string) => {
    if (member.state === state) return
    member.state = state
    options.onMember?.(view(member), reason)
  }
  /** What it has is placed elsewhere. Not awaited: Relocation asks this very actor where to go. */
  const relocate = (context: ActorContext, { pnode, incarnation }: { pnode: string; incarnation?: string }, reason: string) => {
    const loss = { pnode, ...(incarnation !== undefined && { incarnation }), what: 'pnode', reason } as const
    const told = () => call<'Relocation', 'relocate'>(context, actor.relocation, 'relocate', loss)
    untilHeard(context.clock, context.signal, told).catch(() => undefined)
  }
  const lose = (context: ActorContext, member: Member, reason: string) => {
    if (member.state === 'lost') return
    change(member, 'lost', reason)
    if (member.vnodes.length > 0) tell(context, member, 'missed')
    relocate(context, member, reason)
  }
  /** Whether it is there when it is waited for. Not awaited: the quarantine service asks this very actor who is there. */
  const tell = (context: ActorContext, { pnode, incarnation }: Member, event: 'delivered' | 'missed') => {
    const told = { key: `${event} ${pnode} ${incarnation} ${context.clock.now()}`, run: '', events: [{ pnode, event, vnode: '', step: 0 }] }
    // Of many such events one does not count.
    call<'Quarantine', 'tell'>(context, actor.quarantine, 'tell', told).catch(() => undefined)
  }
  /** It has nothing of any run any more: nobody waits for anything of it. */
  const deliver = (context: ActorContext, member: Member) => {
    const now = context.clock.now()
    if (member.state !== 'ready' && member.state !== 'draining') return
    if (now - (member.deliveredAtMs ?? -Infinity) < DELIVERED_MS) return
    member.deliveredAtMs = now
    tell(context, member, 'delivered')
  }
  /** Who is in quarantine since just now has nothing any more, and who is not may have something. @param isNew a quarantine has begun; else one is over */
  const regardAnew = (context: ActorContext, { members, regards }: Memory, pnode: string, isNew: boolean) => {
    const quarantine = regards.quarantineOf(pnode)
    const why = `it is in quarantine: ${quarantine?.reason}`
    if (isNew) relocate(context, { pnode }, why)
    const member = members.get(pnode)
    if (!member) return
    member.quarantine = quarantine
    if (member.state === 'lost') return
    if (isNew) return change(member, 'quarantined', why)
    if (member.state === 'quarantined') change(member, standing(member), 'its quarantine is over')
    if (member.state === 'ready') welcome(context, pnode)
  }
  const remember = (context: ActorContext, members: ReadonlyMap<string, Member>) => {
    const there = [...members.values()].filter(({ state, drains }) => state !== 'lost' || drains?.operator !== undefined)
    const known = there.map(({ drains, rating, ...member }): Known => ({
      ...profileOf(member),
      ...(rating && { rating }),
      ...(drains && { drains }),
    }))
    return context.state.set('members', known as never)
  }
  const setDrains = (member: Member, drains: Member['drains'], reason: string) => {
    member.drains = drains
    member.isDraining = drains !== undefined
    if (member.state !== 'lost') change(member, standing(member), reason)
  }
  const handOver = (context: ActorContext, { pnode, drains = {} }: Member) => {
    const leaving = { pnode, reason: drains.host ?? drains.operator ?? '', isPatient: isPatient(drains) }
    // Not awaited: Relocation asks this very actor where to go. It is told again until nothing is left.
    call<'Relocation', 'drain'>(context, actor.relocation, 'drain', leaving).catch(() => undefined)
  }
  const admit = (member: Member): Member => {
    const gflops = believedGflops(member.gflops, member.rating)
    return Object.assign(member, { admission: passesAdmission({ ...profileOf(member), gflops }, options.tiers) })
  }
  /** What it is to be while it is heard of. */
  const standing = ({ isDraining, admission, quarantine }: Member): Member['state'] =>
    quarantine ? 'quarantined' : isDraining ? 'draining' : admission?.passes === false ? 'observer' : 'ready'
  /** A member was measured or rated anew: as an observer it hands over what it has, and as none it may get something. */
  const settle = (context: ActorContext, members: ReadonlyMap<string, Member>, member: Member, reason: string) => {
    admit(member)
    if (member.state !== 'ready' && member.state !== 'observer') return options.onMember?.(view(member), reason)
    const before = member.state
    member.state = standing(member)
    options.onMember?.(view(member), reason)
    if (member.state === 'observer') return push(context, members, member)
    if (before === 'observer') return welcome(context, member.pnode)
    // Slower than it was thought to be: somebody else may be better for some of what it has.
    const others = [...members.values()].filter(({ pnode, state }) => state === 'ready' && pnode !== member.pnode)
    const [fastest] = others.map(view).toSorted((a, b) => b.gflops - a.gflops || (a.pnode < b.pnode ? -1 : 1))
    if (reason === RATED && fastest) welcome(context, fastest.pnode)
  }
  const welcome = (context: ActorContext, pnode: string) =>
    void call<'Relocation', 'joined'>(context, actor.relocation, 'joined', { pnode }).catch(() => undefined)
  /** Quarantines end by time, and because somebody has ended them. */
  const lookAgain = (context: ActorContext, memory: Memory) => {
    const { regards } = memory
    const now = context.clock.now()
    // What is kept ends at the same time.
    for (const pnode of regards.expire(now)) regardAnew(context, memory, pnode, false)
    const pnodes = regards.quarantined.slice(0, MOST_LOOKED_AT)
    if (pnodes.length === 0 || now - memory.lookedAtMs < LOOK_MS) return
    memory.lookedAtMs = now
    call<'Quarantine', 'look'>(context, actor.quarantine, 'look', { pnodes }).catch(() => undefined)
  }
  /** An observer's VNodes are handed over, if there is anybody to take them. */
  const push = (context: ActorContext, members: ReadonlyMap<string, Member>, member: Member) => {
    const now = context.clock.now()
    if (now - (member.pushedAtMs ?? -Infinity) < PUSH_AGAIN_MS) return
    const isWanted = ({ state, computeClass }: Member) => state === 'ready' && computeClass === member.computeClass
    if (member.vnodes.length === 0 || ![...members.values()].some(isWanted)) return
    member.pushedAtMs = now
    // Better there than to stand still for want of a place.
    const argument = { pnode: member.pnode, reason: 'it is an observer', isPatient: true }
    call<'Relocation', 'drain'>(context, actor.relocation, 'drain', argument).catch(() => undefined)
  }
  return {
    type: 'Placement',
    activate: async (context) => {
      // Each loss is told until it is heard.
      setMaxListeners(0, context.signal)
      context.setTimer('sweep', 'sweep', { afterMs: options.heartbeatMs, everyMs: options.heartbeatMs })
      const now = context.clock.now()
      // Those who were there before have the time that everybody has to be heard of.
      const known = ((await context.state.get('members')) ?? []) as unknown as Known[]
      const regards = new Regards((await context.state.get<never>('regards')) ?? [])
      const members = known.map((profile): [string, Member] => [
        profile.pnode,
        Object.assign(admit(newMember(profile, now)), { quarantine: regards.quarantineOf(profile.pnode) }),
      ])
      // What was told before may not have been heard.
      for (const pnode of regards.quarantined) relocate(context, { pnode }, 'it is in quarantine')
      return {
        members: new Map(members),
        requests: new OpenRequests(),
        others: new OtherRuns(options.suspectMs),
        waiting: new WaitingRuns(),
        regards,
        lookedAtMs: now,
        keptAtMs: -Infinity,
        sweptAtMs: now,
      }
    },
    handlers: {
      join: async (context, { members, regards }, profile: Argument<'join'>) => {
        const before = members.get(profile.pnode)
        const isSame = before?.incarnation === profile.incarnation
        const drains = isSame ? before.drains : keptAtRestart(before?.drains)
        const member = newMember({ ...profile, drains }, context.clock.now())
        if (isSame) member.vnodes = before.vnodes
        else if (before) lose(context, before, 'it was started again')
        // Who was found out does not get rid of it by starting anew.
        const quarantine = regards.quarantineOf(profile.pnode)
        admit(Object.assign(member, { quarantine, rating: ratedAnew(before?.rating, member.heardAtMs) }))
        members.set(profile.pnode, member)
        await remember(context, members)
        change(member, standing(member), 'joined')
        if (member.state === 'ready') welcome(context, profile.pnode)
      },
      measured: async (context, { members }, profile: Argument<'measured'>) => {
        const member = members.get(profile.pnode)
        if (member?.incarnation !== profile.incarnation) return
        Object.assign(member, profileOf(profile), { rating: ratedAnew(member.rating, context.clock.now()) })
        await remember(context, members)
        settle(context, members, member, 'measured again')
      },
      rate: async (context, { members }, { pnode, gflops, reason }: Argument<'rate'>) => {
        const member = members.get(pnode)
        if (!member || member.state === 'lost') return
        member.rating = ratedBySteps(member.rating, { gflops: gflops ?? undefined, reason }, context.clock.now())
        await remember(context, members)
        settle(context, members, member, RATED)
      },
      heartbeat: (context, { members, others }, { pnode, busyShare, vnodes, placedBytes = {} }: Argument<'heartbeat'>) => {
        const member = members.get(pnode)
        if (!member) return false
        // One that was given up and is there all the same is welcome: what it had is fenced by its old terms.
        member.heardAtMs = context.clock.now()
        if (member.vnodes.length > 0 && vnodes.length === 0) deliver(context, member)
        member.busyShare = busyShare
        member.vnodes = vnodes
        others.heard(pnode, placedBytes)
        options.onMember?.(view(member), 'heartbeat')
        change(member, standing(member), 'heard again')
        return true
      },
      drain: async (context, { members }, { pnode, reason, by = 'host' }: Argument<'drain'>) => {
        const member = members.get(pnode)
        if (by === 'operator') assertDrainable(pnode, member)
        if (!member || member.state === 'lost' || isOfThePast(context, member)) return
        setDrains(member, asked(member.drains, by, reason), reason)
        await remember(context, members)
        handOver(context, member)
      },
      undrain: async (context, { members }, { pnode, by }: Argument<'undrain'>) => {
        const member = members.get(pnode)
        if (!member) throw unknownHost(pnode)
        if (isOfThePast(context, member)) return
        setDrains(member, asked(member.drains, by, undefined), 'it may have VNodes again')
        await remember(context, members)
        if (!member.isDraining) welcome(context, pnode)
      },
      lend: async (context, { members }, { pnode, memoryBytes, maxVNodes }: Argument<'lend'>) => {
        const member = members.get(pnode)
        if (!member || isOfThePast(context, member)) return
        Object.assign(member, { memoryBytes, maxVNodes })
        await remember(context, members)
        options.onMember?.(view(member), 'its owner lends more, or less')
        welcome(context, pnode)
      },
      leave: (context, { members }, { pnode, reason }: Argument<'leave'>) => {
        const member = members.get(pnode)
        if (member && !isOfThePast(context, member)) lose(context, member, reason)
      },
      forget: async (context, { members }, { pnode }: Argument<'forget'>) => {
        const member = members.get(pnode)
        if (!member) return
        lose(context, member, 'it gave its name back')
        members.delete(pnode)
        await remember(context, members)
      },
      place: ({ clock }, { members, requests, others, waiting, regards }, request: Argument<'place'>) =>
        requests.take(request, (whole) => {
          const all = regards.weighed([...members.values()].map(seen))
          const now = clock.now()
          if (whole.isBeginning) waiting.assertTurn(whole, now, (other) => fits(all, other))
          const decisions = placeOrWait(
            whole,
            () => place(all, whole, others.beside(whole, all, now)),
            (each) => waiting.refused(each, now),
          )
          waiting.begun(whole.run)
          others.decided(whole, decisions, all, now)
          return decisions.map((decision) => chosen(decision, seen(members.get(decision.pnode)!)))
        }) as never,
      placed: (_context, { requests }, { run, writer, from }: Argument<'placed'>) => requests.page(run, writer, from) as never,
      list: (_context, { members, regards }, { after }: Argument<'list'>) =>
        pageOf(regards.weighed([...members.values()].map(seen)), after) as never,
      regard: async (context, memory, { hosts }: Argument<'regard'>) => {
        const { regards } = memory
        const changed = hosts.flatMap((host) => {
          const before = regards.quarantineOf(host.pnode)
          regards.take(host)
          const member = memory.members.get(host.pnode)
          if (member) member.quarantine = host.quarantine
          return (before === undefined) === (host.quarantine === undefined) ? [] : [{ pnode: host.pnode, isNew: before === undefined }]
        })
        const now = context.clock.now()
        if (changed.length > 0 || now - memory.keptAtMs >= KEEP_REGARDS_MS) {
          memory.keptAtMs = now
          await context.state.set('regards', regards.all as never)
        }
        for (const { pnode, isNew } of changed) regardAnew(context, memory, pnode, isNew)
      },
      sweep: (context, memory) => {
        const { members } = memory
        const now = context.clock.now()
        const lateMs = now - memory.sweptAtMs - options.heartbeatMs
        const deafMs = options.isHearing?.() === false ? now - memory.sweptAtMs : 0
        memory.sweptAtMs = now
        // Who was stopped, or cut off itself has heard nobody: everyone gets the time back.
        const forgivenMs = Math.max(deafMs, lateMs > options.heartbeatMs ? lateMs : 0)
        for (const member of members.values()) member.heardAtMs += forgivenMs
        lookAgain(context, memory)
        const here = [...members.values()].filter(({ state }) => state !== 'lost')
        const silent = here.filter(({ heardAtMs }) => now - heardAtMs >= options.lostMs)
        // So many at once: it is rather we who do not hear. But not for ever.
        const isSelfSuspect = here.length >= LEAST_FOR_DOUBT && silent.length * 3 > here.length
        for (const member of here) {
          const silentMs = now - member.heardAtMs
          if (silentMs >= options.lostMs * (isSelfSuspect ? DOUBT : 1))
            lose(context, member, `silent for ${(silentMs / 1000).toFixed(1)} s`)
          else if (silentMs >= options.suspectMs) change(member, 'suspect', 'silent')
          else if (member.state === 'quarantined') continue
          else if (member.isDraining && member.vnodes.length > 0) handOver(context, member)
          else if (member.state === 'observer') push(context, members, member)
        }
      },
    },
  }
}

/** Whether it is said by a start of its process that is over. */
function isOfThePast(context: HeardContext, { incarnation }: Member): boolean {
  const host = hostOf(context)
  return host !== undefined && host.incarnation !== incarnation
}

/** Whether a run could begin here, if there were no others. */
function fits(members: readonly Membership[], request: Argument<'place'>): boolean {
  try {
    return place(members, request).length > 0
  } catch (error) {
    if (!isSwarmError(error, 'placement.no-pnode')) throw error
    return false
  }
}

function placeOrWait(request: Argument<'place'>, decide: () => Decision[], waits: (request: Argument<'place'>) => void): Decision[] {
  try {
    return decide()
  } catch (error) {
    if (request.isBeginning && isSwarmError(error, 'placement.no-pnode')) waits(request)
    throw error
  }
}

/** With what the run has to remember of the PNode. */
const chosen = (decision: Decision, { incarnation, computeClass, isTrusted }: Membership): Decision => ({
  ...decision,
  incarnation,
  computeClass,
  ...(isTrusted && { isTrusted }),
})

/** Why members change that were rated by their steps, as `onMember` is told. */
export const RATED = 'rated'
