/** The control messages: who can be called, by which name, with what. Short, idempotent, at most 64 KB (DESIGN.md §5). */
import type { ActorRef, ActorSystem, Json } from '../runtime/actor-system/actor-system.js'
import type { Clock } from '../runtime/clock.js'
import { type ErrorCode, isSwarmError } from '../runtime/errors.js'
import type { Placed, SignedGrant } from '../runtime/grant.js'
import type { SegmentRef } from '../runtime/head.js'
import type { Roots } from '../runtime/log-root.js'
import type { Refusal, Tier } from './placement/admission.js'
import type { DrainedBy, Drains } from './placement/draining.js'
import type { Candidate } from './events.js'
import type { Claim, Commit, Evaluated, Failure, Whereabouts } from './reports.js'
import type { Quarantine } from './trust/host-record.js'
import type { ReputationEvent } from './trust/reputation.js'

/** What a PNode says of itself when it joins. */
export interface Profile {
  readonly pnode: string
  /** Of this start of its process: another one under the same name has nothing of what the one before had. */
  readonly incarnation: string
  readonly computeClass: string
  /** Measured speed of matrix products on one thread. */
  readonly gflops: number
  /** What VNodes may use. */
  readonly memoryBytes: number
  /** The largest block of memory that could be had and written, in bytes; no more than 512 MiB is tried. Absent: embedded, not measured. */
  readonly largestAllocationBytes?: number
  /** To and from the object store, for one object of up to 1 MiB. Absent: there is no network between. */
  readonly uploadBytesPerS?: number
  readonly downloadBytesPerS?: number
  /** A question to control and back, over the broker. Absent: there is no network between. */
  readonly roundTripMs?: number
  /** Whose machine it is. */
  readonly owner?: string
  /** At most so many VNodes at a time. Default: as many as fit. */
  readonly maxVNodes?: number
  /** SHA-256 of users' modules that its owner lets in. Absent: any. */
  readonly allowsCode?: readonly string[]
  /** Its sidecar cannot be reached from outside: calls to its actors go over its connection to the broker. */
  readonly isRelayed?: boolean
}

/** What a PNode says of itself every second. */
export interface Heartbeat {
  readonly pnode: string
  /** Share of the last second that its worker computed, 0 to 1. */
  readonly busyShare: number
  /** `<run>/<vnode>` of what it hosts. */
  readonly vnodes: readonly string[]
  /** What those of each run are thought to need of its memory, in bytes. */
  readonly placedBytes?: { readonly [run: string]: number }
}

/** What one VNode needs of its PNode. */
export interface Demand {
  readonly vnode: string
  /** Multiply-adds of one step. */
  readonly cost: number
  /** State, and outputs kept. */
  readonly memoryBytes: number
  /** It goes where this VNode is, if that makes no stage longer: what it sends there needs no network. */
  readonly near?: string
  /** Its PNode is of this tier or a better one; 1 is the best. Absent: any. */
  readonly minTier?: 1 | 2 | 3
  /** Its PNode is one whose word settles disputes. */
  readonly isForTrusted?: true
  /** Demands with the same are on one PNode. */
  readonly group?: string
  /** Demands with the same are on different PNodes, and if possible of different owners. */
  readonly spread?: string
  /** It goes to this PNode, if it may. */
  readonly at?: string
}

/** Where a VNode goes, and why. */
export interface Decision {
  readonly vnode: string
  readonly pnode: string
  /** The start of the PNode's process that was chosen. */
  readonly incarnation?: string
  readonly computeClass?: string
  readonly isTrusted?: true
  /** All that it is to apply, as a follower. */
  readonly audits?: SegmentRef
  readonly candidates: readonly Candidate[]
  /** Followers that have to make room for it. */
  readonly displaces?: readonly string[]
}

/** A PNode, or the machines of its worker, are gone; or VNodes stand still there. */
export interface Loss {
  readonly pnode: string
  readonly what: 'pnode' | 'worker' | 'standstill'
  readonly reason: string
  /** Which start of its process is gone; absent: whichever it was. */
  readonly incarnation?: string
  /** `<run>/<vnode>` of what is lost; absent: everything that it has. */
  readonly vnodes?: readonly string[]
}

/** A PNode that is to have nothing. */
export interface Leaving {
  readonly pnode: string
  readonly reason: string
  /** What it has goes on there until somebody else can take it. Default: it stands still. */
  readonly isPatient?: boolean
}

/** What became of something that a host did, or was waited for to do. */
export interface TrustEvent {
  readonly pnode: string
  readonly event: ReputationEvent
  /** What it was done for; empty: for no run in particular. */
  readonly vnode: string
  /** The last one of the segment; 0: of none. */
  readonly step: number
  /** Key of what shows it. */
  readonly evidence?: string
  /** What was verified, for the ledger. Absent: nothing is booked. */
  readonly work?: {
    readonly generation: number
    /** Of the segment, which ends with `step`. */
    readonly firstStep: number
    readonly multiplyAdds: number
  }
}

/** What is told of hosts at once. */
export interface Told {
  /** Of all who tell, another one for each: the same is not counted twice. Up to 512 characters. */
  readonly key: string
  /** Empty: of none in particular. */
  readonly run: string
  readonly events: readonly TrustEvent[]
}

/** How much a host is believed. */
export interface HostStanding {
  readonly pnode: string
  /** Share of its segments to audit; above 0, at most 1. The source of a host that is not trusted is audited whole, whatever this says. */
  readonly auditShare: number
  /** Above 0, below 1. */
  readonly integrity: number
  /** 0 to 1. */
  readonly availability: number
  readonly isOnProbation: boolean
  /** It gets nothing of any run. */
  readonly quarantined?: Quarantine
}

/** What placement has to know of a host. */
export interface Regard {
  readonly pnode: string
  /** Of two that are equal otherwise the one with the larger weight gets more: above 0, below 1. */
  readonly weight: number
  readonly quarantine?: Pick<Quarantine, 'reason' | 'untilMs'>
}

/** Every control message: actor, method, argument, result. */
export interface Calls {
  Placement: {
    join: [Profile, null]
    /** It has measured itself again. */
    measured: [Profile, null]
    /** What its steps have shown of its speed; null: what it says is right. From control alone. */
    rate: [{ pnode: string; gflops: number | null; reason: string }, null]
    /** False: nobody of this name has joined, or it was taken for lost for good; it has to join again. */
    heartbeat: [Heartbeat, boolean]
    leave: [{ pnode: string; reason: string }, null]
    /** It gave its name back: nobody waits for it any more. */
    forget: [{ pnode: string }, null]
    /** It gets no new VNodes; those that it has are handed over. Default of `by`: the PNode itself. `host.unknown`, `host.lost` for others. */
    drain: [{ pnode: string; reason: string; by?: DrainedBy }, null]
    /** Its owner lends more, or less, than it said when it joined: what there is no room for any more moves. */
    lend: [{ pnode: string } & Pick<Profile, 'memoryBytes' | 'maxVNodes'>, null]
    /** It may have VNodes again, unless somebody else still wants it to have none. `host.unknown` */
    undrain: [{ pnode: string; by: DrainedBy }, null]
    /** Whole, or in parts (`parts.ts`): the last one is answered. `placement.no-pnode` */
    place: [
      {
        run: string
        demands: readonly Demand[]
        staying: { readonly [vnode: string]: string }
        computeClass?: string
        /** SHA-256 of users' modules that run in it. */
        code: readonly string[]
        avoid: readonly string[]
        /** It has no place yet, and waits if there is no room. */
        isBeginning?: boolean
        part?: { readonly writer: number; readonly index: number; readonly isLast: boolean }
      },
      readonly Decision[],
    ]
    /** The decisions of the last `place` from a number on: as many as a call takes. `actor.busy` if they are forgotten. */
    placed: [{ run: string; writer: number; from: number }, readonly Decision[]]
    /** Members in order of names, from the one after `after` on: as many as a call takes, none if there are no more. */
    list: [{ after: string }, readonly Membership[]]
    /** Of these hosts, members or not, this holds from now on. From the quarantine service alone. */
    regard: [{ readonly hosts: readonly Regard[] }, null]
  }
  Quarantine: {
    /** Durable, and a conviction in effect, when it is answered; harmless when repeated. */
    tell: [Told, null]
    /** In the order asked. */
    standings: [{ readonly pnodes: readonly string[] }, readonly HostStanding[]]
    /** Its quarantine is over, and it begins on probation. False: it was in none. `host.unknown`: nothing is known of it. */
    release: [{ readonly pnode: string }, boolean]
    /** Reads these records anew, which others may have changed, or all of them if none is named; and has placement know. */
    look: [{ readonly pnodes: readonly string[] }, null]
    /** What waits to be written into the ledger is. */
    settle: [null, null]
  }
  Relocation: {
    watch: [{ run: string }, null]
    forget: [{ run: string }, null]
    relocate: [Loss, null]
    /** What is left there: `<run>/<vnode>`; `<run>/?` where the run could not be asked. */
    drain: [Leaving, readonly string[]]
    /** There is another PNode: for what had nowhere to go, and for runs that it would speed up. */
    joined: [{ pnode: string }, null]
  }
  Run: {
    start: [null, null]
    committed: [Commit, null]
    /** From a follower: what it compares with the commit of whom it follows. */
    claimed: [Claim, null]
    evaluated: [Evaluated, null]
    failed: [Failure, null]
    hostLost: [Loss, null]
    /** The PNode goes: its VNodes are handed over at the next checkpoint. Which are still there. */
    drain: [Leaving, readonly string[]]
    /** Another PNode is there: it may get work, at a checkpoint. */
    joined: [{ pnode: string }, null]
    pause: [null, null]
    /** Somebody is trusted, or is not any more. */
    trustChanged: [null, null]
    /** Goes on where an owner before this one was, if the run is under way; harmless when repeated. */
    wake: [null, { readonly isRunning: boolean }]
  }
  VNode: {
    grant: [SignedGrant, null]
    neighbour: [Placed, null]
    manifest: [{ position: number }, null]
    stop: [{ term: number }, null]
    /** To the source: a checkpoint at the next step; a pause there. */
    cut: [null, null]
    pause: [null, null]
    /** To one that is about to move: nothing more after the next checkpoint. `asOf`: the last term that had been drawn. */
    hold: [{ asOf: number }, null]
    /** To one that was to move: it goes on, unless it was asked later than that. */
    release: [{ asOf: number }, null]
  }
  PNode: {
    describe: [null, { readonly pnode: string; readonly vnodes: readonly string[] }]
    /** What VNodes and followers have read and put out up to a position; null: not known here, or not yet. */
    roots: [{ run: string; position: number; vnodes: readonly (readonly [vnode: string, term: number])[] }, readonly (Roots | null)[]]
    /** Where VNodes of a run stand, with their terms; null: not here under this one. */
    whereabouts: [{ run: string; vnodes: readonly (readonly [vnode: string, term: number])[] }, readonly (Whereabouts | null)[]]
  }
}

/** `observer`: it is here, and not good enough to get VNodes (admission.ts). `quarantined`: it was found to lie, and gets nothing of any run. */
export type MembershipState = 'ready' | 'observer' | 'draining' | 'quarantined' | 'suspect' | 'lost'

/** A PNode as the placement service knows it. */
export interface Membership extends Profile {
  readonly state: MembershipState
  /** What it says itself, where its steps show less: `gflops` is what they show then. */
  readonly saidGflops?: number
  /** Why it is taken for slower than it says. */
  readonly ratedBecause?: string
  /** 1 is the best; absent: an observer. */
  readonly tier?: Tier
  /** What an observer lacks. */
  readonly refusal?: Refusal
  /** Whoever runs the cluster answers for it: its word settles disputes. */
  readonly isTrusted?: true
  /** Why it gets no VNodes, if somebody wants that. */
  readonly drains?: Drains
  /** Why it is in quarantine, and until when. */
  readonly quarantine?: Regard['quarantine']
  /** Share of its speed that counts when work is divided, for its reputation: ½ to below 1. Absent: all of it. */
  readonly worth?: number
  readonly busyShare: number
  /** `<run>/<vnode>` of what it said it hosts. */
  readonly vnodes: readonly string[]
}

/** A typed call. VNode and PNode actors have one type per host: that is how an actor is put on a chosen machine. */
export async function call<A extends keyof Calls, M extends keyof Calls[A] & string>(
  system: Pick<ActorSystem, 'call'>,
  target: ActorRef & { readonly actor?: A },
  method: M,
  argument: Calls[A][M] extends [infer Argument, unknown] ? Argument : never,
  signal?: AbortSignal,
): Promise<Calls[A][M] extends [unknown, infer Result] ? Result : never> {
  return (await system.call(target, method, argument as Json, { signal })) as never
}

/** References by role. */
export const actor = {
  placement: { type: 'Placement', id: 'cluster' } as ActorRef & { actor?: 'Placement' },
  relocation: { type: 'Relocation', id: 'cluster' } as ActorRef & { actor?: 'Relocation' },
  quarantine: { type: 'Quarantine', id: 'cluster' } as ActorRef & { actor?: 'Quarantine' },
  run: (run: string): ActorRef & { actor?: 'Run' } => ({ type: 'Run', id: run }),
  vnode: (pnode: string, run: string, vnode: string): ActorRef & { actor?: 'VNode' } => ({ type: `VNode.${pnode}`, id: `${run}/${vnode}` }),
  pnode: (pnode: string): ActorRef & { actor?: 'PNode' } => ({ type: `PNode.${pnode}`, id: pnode }),
}

const FIRST_RETRY_MS = 20
const LONGEST_RETRY_MS = 2_000

/** Whether the same call may succeed later: an actor that is nowhere may be one whose host is being started again. */
export function isTransient(error: unknown): boolean {
  return isSwarmError(error) && (error.retryable || TRANSIENT.has(error.code))
}
const TRANSIENT: ReadonlySet<ErrorCode> = new Set(['actor.not-found', 'actor.closed'])

/** Repeats `attempt` while it fails with an error that may pass, ever more slowly, until the signal aborts. */
export async function untilHeard<T>(
  clock: Clock,
  signal: AbortSignal,
  attempt: () => Promise<T>,
  mayPass: (error: unknown) => boolean = isTransient,
): Promise<T> {
  for (let delayMs = FIRST_RETRY_MS; ; delayMs = Math.min(delayMs * 2, LONGEST_RETRY_MS)) {
    try {
      return await attempt()
    } catch (error) {
      if (!mayPass(error)) throw error
      await clock.sleep(delayMs, signal)
    }
  }
}
