/** What a run tells about itself: a versioned union, the same in `run.events()`, in `swarmgrad events` and in `--json`. */
import type { Measures, Stall } from '../components/convergence.js'
import type { Target } from '../components/define.js'
import type { ErrorRecord } from '../runtime/errors.js'
import type { RunStatus } from '../runtime/head.js'
import type { MembershipState } from './calls.js'
import type { SuspicionReason } from './pnode/frame-checks.js'

export const EVENT_VERSION = 1

/** Numbers by name: `loss`, `accuracy`, `count` … */
export type Metrics = { readonly [name: string]: number }

/**
 * What is measured of answers of a kind: means over the samples of an evaluation, and how many there were. With `convergence` also what the VNode has
 * measured of its training.
 */
export type MetricsOf<T extends Target> = Target extends T
  ? Metrics
  : T extends { readonly classes: number }
    ? { readonly loss: number; /** 0 to 1. */ readonly accuracy: number; readonly count: number } & Partial<Measures>
    : { readonly loss: number; readonly absoluteError: number; readonly squaredError: number; readonly count: number } & Partial<Measures>

/** One VNode as people see it. */
export interface VNodeView {
  readonly vnode: string
  readonly pnode: string
  readonly term: number
  /** The last step applied. */
  readonly step: number
  /** Exponential average of the local training loss; absent without a head. */
  readonly loss?: number
  /** Exponential average of the head's training accuracy, 0 to 1; absent without a head or for continuous targets. */
  readonly accuracy?: number
  readonly state: 'restoring' | 'running'
}

/** One PNode as people see it. */
export interface PNodeView {
  readonly pnode: string
  readonly state: MembershipState
  /** VNodes that it hosts. */
  readonly vnodes: readonly string[]
  /** Speed of its matrix products as it measured it, or less if its steps show less. */
  readonly gflops: number
  /** Share of the last second in which its compute was busy, 0 to 1. */
  readonly load: number
}

/** A candidate for a VNode and why it was chosen or not. */
export interface Candidate {
  readonly pnode: string
  /** Milliseconds of a step of all that it would have; lower is better. Absent if it was not eligible, or one of several. */
  readonly score?: number
  readonly reason: string
  /** So many other PNodes for the same reason. */
  readonly more?: number
}

export type RunEvent<M extends Metrics = Metrics> = {
  readonly v: typeof EVENT_VERSION
  readonly run: string
  readonly atMs: number
} & RunEventBody<M>

/** What must never happen, counted all the same. */
export interface Faults {
  readonly stepsLost?: number
  readonly stepsDoubled?: number
}

export type RunEventBody<M extends Metrics = Metrics> =
  | {
      readonly type: 'snapshot'
      readonly status: RunStatus
      readonly step: number
      readonly totalSteps: number
      readonly vnodes: readonly VNodeView[]
      readonly pnodes: readonly PNodeView[]
    }
  | {
      readonly type: 'started'
      readonly generation: number
      readonly step: number
      readonly totalSteps: number
      readonly epochs: number
      readonly batchSize: number
      readonly samples: number
    }
  | {
      readonly type: 'placed'
      readonly vnode: string
      readonly pnode: string
      readonly term: number
      readonly reason: string
      readonly candidates: readonly Candidate[]
    }
  | {
      readonly type: 'progress'
      readonly step: number
      readonly totalSteps: number
      readonly epoch: number
      readonly epochs: number
      readonly samplesPerSecond: number
      readonly secondsLeft: number
      readonly vnodes: readonly VNodeView[]
      readonly pnodes: readonly PNodeView[]
    }
  | { readonly type: 'checkpoint'; readonly step: number; readonly generation: number; readonly key: string }
  | {
      readonly type: 'evaluated'
      readonly step: number
      readonly epoch: number
      readonly split: 'validation' | 'test'
      readonly metrics: M
      readonly vnodes: readonly { readonly vnode: string; readonly metrics: M }[]
    }
  /**
   * A VNode does not learn any more, and has done something about it after this step, as the run's policy says. Told with the checkpoint that has it, before
   * that: so once, whatever is replayed, and again only where the run goes back behind such a checkpoint.
   */
  | ({ readonly type: 'stalled'; readonly vnode: string } & Stall)
  | { readonly type: 'joined'; readonly pnode: string; readonly gflops: number }
  /** Its steps show another speed than it had until now; `state`: it is good enough for VNodes, or not. */
  | {
      readonly type: 'rated'
      readonly pnode: string
      readonly state: MembershipState
      readonly gflops: number
      /** What it says itself. */
      readonly saidGflops: number
      readonly reason: string
    }
  | {
      readonly type: 'lost'
      readonly pnode: string
      readonly what: 'pnode' | 'worker' | 'standstill'
      readonly reason: string
      readonly vnodes: readonly string[]
    }
  | {
      readonly type: 'relocated'
      readonly vnode: string
      readonly from: string
      readonly to: string
      readonly term: number
      readonly fromStep: number
      readonly stepsReplayed: number
      readonly firstStepMs: number
      readonly caughtUpMs: number
      /** Its compute class promises no equal bits: what it has replayed may differ from what was lost (PROTOCOL.md rule 21). Absent: it does. */
      readonly isDivergence?: true
    }
  /** Nobody who is there may have these VNodes: they wait for a PNode that may. */
  | { readonly type: 'waiting'; readonly vnodes: readonly string[]; readonly reason: string }
  | { readonly type: 'rolledBack'; readonly generation: number; readonly step: number; readonly reason: string }
  | ({ readonly type: 'paused'; readonly step: number } & Faults)
  /** An entry is given up for a VNode: it is skipped, there and in everything that reads from there. */
  | {
      readonly type: 'deadLettered'
      /** Of the dead letter. */
      readonly id: string
      readonly vnode: string
      readonly step: number
      /** 0: a training batch. */
      readonly evaluation: number
      readonly position: number
      readonly error: ErrorRecord
      /** Where it was tried; once for each time. */
      readonly pnodes: readonly string[]
    }
  /**
   * What a PNode sends or says is odd: a frame that was refused (docs/trust.md), or batches that were not the source's. It is told, and decides nothing: audits do.
   */
  | {
      readonly type: 'suspected'
      /** Whose frame it was, where that VNode was then, under which term. */
      readonly vnode: string
      readonly pnode: string
      readonly term: number
      readonly step: number
      readonly reason: SuspicionReason
      /** The VNode that says so, and where it was. */
      readonly by: string
      readonly byPnode: string
    }
  /** A PNode has said something wrong of a VNode: it has no part in the run any more. */
  | {
      readonly type: 'audited'
      readonly vnode: string
      /** Whose segment it was. */
      readonly pnode: string
      /** The step that it ends with. */
      readonly step: number
      /** Who has applied it as well, and says the same. */
      readonly by: readonly string[]
    }
  /** Nobody could be found to apply a segment that was to be audited: it stays unverified. */
  | {
      readonly type: 'unaudited'
      readonly vnode: string
      readonly pnode: string
      readonly step: number
      readonly reason: string
    }
  /** Somebody gave something else than the log does, or said so of somebody who had not. */
  | {
      readonly type: 'convicted'
      readonly pnode: string
      readonly vnode: string
      /** Of the checkpoint, or of the failure, that was looked at. */
      readonly step: number
      /** Its own VNode, or, as a follower, another's. */
      readonly for: 'claim' | 'slander'
      readonly by: 'agreement' | 'arbiter' | 'panel'
      /** Key of what was said, by everybody. */
      readonly evidence: string
    }
  /** Something went wrong that the run has survived. */
  | { readonly type: 'warning'; readonly error: ErrorRecord }
  | { readonly type: 'failed'; readonly error: ErrorRecord }
  | ({ readonly type: 'done'; readonly steps: number; readonly hash: string; readonly metrics: M } & Faults)
  | { readonly type: 'dropped'; readonly count: number }
