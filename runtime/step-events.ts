/** What happens to the step log of a VNode, and what it says to do. */

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

/** A neighbour as the newest grant names it. */
export interface Peer {
  readonly vnode: string
  readonly term: number
}

/** What stands between a VNode and its next entry, besides its own compute. */
export interface Wants {
  /** Producers whose next output has not come. */
  readonly inputs?: readonly string[]
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
  /** The oldest issued entry has been applied and gave `ref`. */
  | { readonly type: 'applied'; readonly position: number; readonly ref: Ref }
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
  | { readonly type: 'apply'; readonly entry: Entry; readonly inputs: readonly Ref[] }
  /**
   * The entry is skipped: the state stays as it is. Make the tombstone that is sent for it and answer with `applied` at once; nothing else is
   * issued at the time. A snapshot of its cut comes before it.
   */
  | { readonly type: 'bury'; readonly entry: Entry; readonly inputs: readonly Ref[] }
  /** Copy the state after the entry just issued, before anything else is applied. */
  | { readonly type: 'snapshot'; readonly entry: Entry }
  | { readonly type: 'send'; readonly to: string; readonly entry: Entry; readonly ref: Ref }
  | { readonly type: 'credit'; readonly to: string; readonly next: number; readonly upTo: number; readonly resend: boolean }
  | { readonly type: 'hello'; readonly to: string }
  | { readonly type: 'drop'; readonly reason: DropReason; readonly from: string }
