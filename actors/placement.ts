/** The Placement actor: who is there, and in what state (M10, M11). What runs where is worked out in `assignment.ts`. */
import type { ActorContext, ActorDefinition } from '../runtime/actor-system/actor-system.js'
import { place } from './assignment.js'
import { actor, call, type Calls, type Decision, type Membership, type Profile, untilHeard } from './calls.js'
import { OtherRuns } from './other-runs.js'
import { OpenRequests, pageOf } from './parts.js'

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
  busyShare: number
  vnodes: readonly string[]
  heardAtMs: number
  isDraining: boolean
}

interface Memory {
  readonly members: Map<string, Member>
  readonly requests: OpenRequests
  readonly others: OtherRuns
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
    const argument = { pnode: member.pnode, incarnation: member.incarnation, what: 'pnode', reason } as const
    // Not awaited: Relocation asks this very actor where to go.
    untilHeard(context.clock, context.signal, () => call<'Relocation', 'relocate'>(context, actor.relocation, 'relocate', argument)).catch(
      () => undefined,
    )
  }
  const remember = (context: ActorContext, members: ReadonlyMap<string, Member>) => {
    const there = [...members.values()].filter(({ state }) => state !== 'lost')
    return context.state.set('members', there.map(profileOf) as never)
  }
  return {
    type: 'Placement',
    activate: async (context) => {
      context.setTimer('sweep', 'sweep', { afterMs: options.heartbeatMs, everyMs: options.heartbeatMs })
      const now = context.clock.now()
      // Those who were there before have the time that everybody has to be heard of.
      const known = ((await context.state.get('members')) ?? []) as unknown as Profile[]
      const members = known.map((profile): [string, Member] => [profile.pnode, newMember(profile, now)])
      return { members: new Map(members), requests: new OpenRequests(), others: new OtherRuns(options.suspectMs), sweptAtMs: now }
    },
    handlers: {
      join: async (context, { members }, profile: Argument<'join'>) => {
        const member = newMember(profile, context.clock.now())
        const before = members.get(profile.pnode)
        if (before?.incarnation === profile.incarnation) Object.assign(member, { vnodes: before.vnodes, isDraining: before.isDraining })
        else if (before) lose(context, before, 'it was started again')
        members.set(profile.pnode, member)
        await remember(context, members)
        change(member, 'ready', 'joined')
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
      drain: (context, { members }, { pnode, reason }: Argument<'drain'>) => {
        const member = members.get(pnode)
        if (!member || member.state === 'lost') return
        member.isDraining = true
        change(member, 'draining', reason)
        // Not awaited: Relocation asks this very actor where to go. Who drains asks again until nothing is left.
        call<'Relocation', 'drain'>(context, actor.relocation, 'drain', { pnode, reason }).catch(() => undefined)
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
      place: ({ clock }, { members, requests, others }, request: Argument<'place'>) =>
        requests.take(request, (whole) => {
          const all = [...members.values()].map(view)
          const decisions = place(all, whole, others.beside(whole, all, clock.now()))
          others.decided(whole, decisions, all, clock.now())
          return decisions.map((decision) => chosen(decision, members.get(decision.pnode)!))
        }) as never,
      placed: (_context, { requests }, { run, writer, from }: Argument<'placed'>) => requests.page(run, writer, from) as never,
      list: (_context, { members }, { after }: Argument<'list'>) => pageOf([...members.values()].map(view), after) as never,
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
        }
      },
    },
  }
}

/** With what the run has to remember of the PNode. */
const chosen = (decision: Decision, { incarnation, computeClass }: Member): Decision => ({ ...decision, incarnation, computeClass })

const PROFILE = ['pnode', 'incarnation', 'computeClass', 'gflops', 'memoryBytes', 'owner', 'maxVNodes', 'allowsCode', 'isRelayed'] as const

const profileOf = (member: Profile): Profile =>
  Object.fromEntries(PROFILE.flatMap((field) => (member[field] === undefined ? [] : [[field, member[field]]]))) as unknown as Profile

const newMember = (profile: Profile, heardAtMs: number): Member => ({
  ...profile,
  state: 'suspect',
  busyShare: 0,
  vnodes: [],
  heardAtMs,
  isDraining: false,
})

const view = (member: Member): Membership => {
  const { state, busyShare, vnodes } = member
  return { ...profileOf(member), state, busyShare, vnodes }
}
