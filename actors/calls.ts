/** The control messages: who can be called, by which name, with what. Short, idempotent, at most 64 KB (DESIGN.md §5). */
import type { ActorRef, ActorSystem, Json } from '../runtime/actor-system/actor-system.js'
import type { Clock } from '../runtime/clock.js'
import { isSwarmError } from '../runtime/errors.js'
import type { Placed, SignedGrant } from '../runtime/grant.js'
import type { Candidate } from './events.js'
import type { Commit, Evaluated, Failure } from './reports.js'

/** What a PNode says of itself when it joins. */
export interface Profile {
  readonly pnode: string
  readonly computeClass: string
  /** Measured speed of matrix products on one thread. */
  readonly gflops: number
  /** What VNodes may use. */
  readonly memoryBytes: number
}

/** What one VNode needs of its PNode. */
export interface Demand {
  readonly vnode: string
  /** Multiply-adds of one step. */
  readonly cost: number
  /** State, and outputs kept. */
  readonly memoryBytes: number
}

/** Where a VNode goes, and why. */
export interface Decision {
  readonly vnode: string
  readonly pnode: string
  readonly candidates: readonly Candidate[]
}

/** Every control message: actor, method, argument, result. */
export interface Calls {
  Placement: {
    join: [Profile, null]
    heartbeat: [{ pnode: string; busyShare: number; vnodes: readonly string[] }, null]
    leave: [{ pnode: string; reason: string }, null]
    place: [
      {
        run: string
        demands: readonly Demand[]
        staying: { readonly [vnode: string]: string }
        computeClass?: string
        avoid: readonly string[]
      },
      readonly Decision[],
    ]
    list: [null, readonly Membership[]]
  }
  Relocation: {
    watch: [{ run: string }, null]
    forget: [{ run: string }, null]
    relocate: [{ pnode: string; what: 'pnode' | 'worker'; reason: string; vnodes?: readonly string[] }, null]
    retry: [null, null]
  }
  Run: {
    start: [null, null]
    committed: [Commit, null]
    evaluated: [Evaluated, null]
    failed: [Failure, null]
    hostLost: [{ pnode: string; what: 'pnode' | 'worker'; reason: string; vnodes?: readonly string[] }, null]
    pause: [null, null]
  }
  Source: {
    grant: [SignedGrant, null]
    neighbour: [Placed, null]
    manifest: [{ position: number }, null]
    cut: [null, null]
    pause: [null, null]
    stop: [null, null]
  }
  VNode: {
    grant: [SignedGrant, null]
    neighbour: [Placed, null]
    manifest: [{ position: number }, null]
    stop: [{ term: number }, null]
  }
  PNode: {
    describe: [null, { readonly pnode: string; readonly vnodes: readonly string[] }]
  }
}

export type MembershipState = 'ready' | 'suspect' | 'lost'

/** A PNode as the placement service knows it. */
export interface Membership extends Profile {
  readonly state: MembershipState
  readonly busyShare: number
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
  run: (run: string): ActorRef & { actor?: 'Run' } => ({ type: 'Run', id: run }),
  source: (run: string): ActorRef & { actor?: 'Source' } => ({ type: 'Source', id: run }),
  vnode: (pnode: string, run: string, vnode: string): ActorRef & { actor?: 'VNode' } => ({ type: `VNode.${pnode}`, id: `${run}/${vnode}` }),
  pnode: (pnode: string): ActorRef & { actor?: 'PNode' } => ({ type: `PNode.${pnode}`, id: pnode }),
}

const FIRST_RETRY_MS = 20
const LONGEST_RETRY_MS = 2_000

/** Repeats `attempt` while it fails with a retryable error, ever more slowly, until the signal aborts. */
export async function untilHeard<T>(clock: Clock, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (let delayMs = FIRST_RETRY_MS; ; delayMs = Math.min(delayMs * 2, LONGEST_RETRY_MS)) {
    try {
      return await attempt()
    } catch (error) {
      if (!isSwarmError(error) || !error.retryable) throw error
      await clock.sleep(delayMs, signal)
    }
  }
}
