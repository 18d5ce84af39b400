/** What the step log of a VNode is told, at first and then, and what it says to do. */
import { MARK } from './frame.js'

/** One entry of the log. */
export interface Entry {
  readonly position: number
  /** Number of the training batch, from 1; for an evaluation batch the step that it comes after. */
  readonly step: number
  /** 0: a training batch. */
  readonly evaluation: number
  /** Bits of MARK: what happens after this entry. */
  readonly marks: number
}

/** Whether it is a batch to learn from. */
export const isTraining = ({ evaluation, marks }: Pick<Entry, 'evaluation' | 'marks'>): boolean =>
  evaluation === 0 && (marks & MARK.drain) === 0

/** A neighbour as the newest grant names it. */
export interface Peer {
  readonly vnode: string
  readonly term: number
}

export interface StepLogOptions {
  readonly vnode: string
  readonly generation: number
  /** Everything up to this position is in the state: the manifest's. 0 at the start. */
  readonly from: number
  /** Producers in the definition's order; empty for the source. */
  readonly inputs: readonly Peer[]
  /** Consumers. */
  readonly outputs: readonly Peer[]
  /** Which of these two are of feedback. Default: none. */
  readonly feedback?: FeedbackEdges
  /** It applies in silence what another one applies: it sends nothing, and nobody waits for it, until it is promoted. */
  readonly isFollower?: boolean
  /** Entries in flight on each edge. Range 1 to 1,024. */
  readonly window: number
  /** How far it may be ahead of the newest manifest that it has heard of, in entries: what retention has room for. Default: no limit. */
  readonly maxAhead?: number
  /** Positions of entries that this VNode skips, after `from`. */
  readonly skips?: readonly number[]
  /** Entries that may be with the compute at once. Default 2, so that it never waits for us. */
  readonly maxIssued?: number
}

/**
 * What goes against the graph, from a VNode to one that is before it: what it gives at position p is for position p + lag there, so that
 * nobody waits for what waits for it. Every position gives some, if only to say that there is nothing.
 */
export interface FeedbackEdges {
  /** Those of the inputs that give it, in the order in which the step gets it. */
  readonly from: readonly string[]
  /** Those of the outputs that get it, and nothing else. */
  readonly to: readonly string[]
  /** Positions, at least 1. */
  readonly lag: number
}

/** What stands between a VNode and its next entry, besides its own compute. */
export interface Wants {
  /** Producers whose next output has not come. */
  readonly inputs?: readonly string[]
  /** Producers of feedback that has not come, with the position at which they give it. */
  readonly feedback?: { readonly [vnode: string]: number }
  /** Consumers that leave no room for more, with the first position that each is known to lack. */
  readonly readers?: { readonly [vnode: string]: number }
}

/** Things that happened. `Ref` is whatever the driver uses to find a frame's bytes. */
export type StepEvent<Ref> =
  | {
      readonly type: 'frame'
      readonly from: string
      readonly generation: number
      readonly term: number
      readonly entry: Entry
      readonly ref: Ref
      /** The producer has skipped the entry, or one before it has. */
      readonly isTombstone?: boolean
      /** It goes against the graph; the entry's position is the one that it is for. */
      readonly isFeedback?: boolean
    }
  /** A consumer has everything before `next` and takes up to `upTo`; `resend`: it believes that something was lost. */
  | {
      readonly type: 'credit'
      readonly from: string
      readonly generation: number
      readonly term: number
      readonly next: number
      readonly upTo: number
      readonly resend: boolean
    }
  /** A producer (re)started and does not know our credit. */
  | { readonly type: 'hello'; readonly from: string; readonly generation: number; readonly term: number }
  /** A grant names a neighbour's new term. */
  | { readonly type: 'granted'; readonly peer: Peer }
  /** A follower is the owner from now on. Its neighbours as its grant names them. */
  | { readonly type: 'promoted'; readonly inputs: readonly Peer[]; readonly outputs: readonly Peer[] }
  /** The oldest issued entry has been applied and gave `ref`, and feedback if anybody gets any from it. */
  | { readonly type: 'applied'; readonly position: number; readonly ref: Ref; readonly feedback?: Ref }
  /** A manifest is complete: outputs up to `position` are no longer needed by anybody. */
  | { readonly type: 'manifest'; readonly position: number }
  /** Time passes: what was lost is asked for again. */
  | { readonly type: 'tick' }
  /** The bus lost messages to us. */
  | { readonly type: 'lost' }
  /** This VNode is about to move: nothing is applied after the next cut. */
  | { readonly type: 'hold' }
  /** It does not move after all, or not at that cut: it goes on. */
  | { readonly type: 'release' }

export const DROP_REASONS = ['generation', 'term', 'ungranted', 'duplicate', 'beyond-credit', 'behind-manifest', 'stranger'] as const
export type DropReason = (typeof DROP_REASONS)[number]

/** Things to do, in this order. */
export type StepCommand<Ref> =
  | { readonly type: 'apply'; readonly entry: Entry; readonly inputs: readonly Ref[]; readonly feedback?: readonly Ref[] }
  /**
   * The entry is skipped: the state stays as it is. Make the tombstone that is sent for it and answer with `applied` at once; nothing else is
   * issued at the time. A snapshot of its cut comes before it.
   */
  | { readonly type: 'bury'; readonly entry: Entry; readonly inputs: readonly Ref[]; readonly feedback?: readonly Ref[] }
  /** Copy the state after the entry just issued, before anything else is applied. */
  | { readonly type: 'snapshot'; readonly entry: Entry }
  | { readonly type: 'send'; readonly to: string; readonly entry: Entry; readonly ref: Ref }
  | { readonly type: 'credit'; readonly to: string; readonly next: number; readonly upTo: number; readonly resend: boolean }
  | { readonly type: 'hello'; readonly to: string }
  | { readonly type: 'drop'; readonly reason: DropReason; readonly from: string }
