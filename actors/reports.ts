/** What a VNode reports: to its Run actor, which decides by it, and to observers, who only look. */
import type { Stall } from '../components/convergence.js'
import type { ErrorRecord } from '../runtime/errors.js'
import type { Roots } from '../runtime/log-root.js'
import type { Entry, Wants } from '../runtime/step-log.js'
import type { FrameSuspicion } from './pnode/frame-checks.js'

/** What a VNode tells its Run actor. */
export type RunReport =
  | { readonly method: 'committed'; readonly argument: Commit }
  | { readonly method: 'claimed'; readonly argument: Claim }
  | { readonly method: 'evaluated'; readonly argument: Evaluated }
  | { readonly method: 'failed'; readonly argument: Failure }

/** A state in the store after a cut. */
export interface Commit {
  readonly vnode: string
  readonly term: number
  readonly generation: number
  readonly step: number
  readonly position: number
  /** Bits of MARK of the step. */
  readonly marks: number
  readonly hash: string
  readonly sizeBytes: number
  /** CRC-32 of each step's output since the cut before, as base64 of little-endian u32. */
  readonly digests: string
  /** The step of the first digest. */
  readonly firstStep: number
  /** SHA-256 of the digests of the batches that it has applied from the first step on, one after the other: all VNodes have the same. */
  readonly batches: string
  readonly computeClass: string
  /** Of all that it has read and put out up to here. Absent: nobody compares it. */
  readonly roots?: Roots
  /** It applies nothing after this cut, as it was asked to when the last term was this one: it can be handed over as it is. */
  readonly heldAsOf?: number
  /** What it has decided since the newest manifest that it knows of, oldest first. Absent: nothing. */
  readonly stalls?: readonly Stall[]
}

/** What a follower says that the state after a cut is, and what was put out up to there. */
export type Claim = Pick<Commit, 'vnode' | 'term' | 'generation' | 'step' | 'position' | 'hash' | 'roots'>

/** Sums over the evaluation batches after one step. */
export interface Evaluated {
  readonly vnode: string
  readonly term: number
  readonly generation: number
  readonly step: number
  /** Of its last batch, and what was read and put out up to there. Absent: nobody compares it. */
  readonly position?: number
  readonly roots?: Roots
  /** Sums over samples: `loss`, `correct`, `count` … */
  readonly sums: { readonly [name: string]: number }
}

/** A VNode stopped: its owner decides what follows. */
export interface Failure {
  readonly vnode: string
  readonly term: number
  readonly generation: number
  readonly error: ErrorRecord
  /** The entry that was being applied, if one was, and the digest of its batch. */
  readonly entry?: Entry
  readonly batch?: string
  /** What it has read up to and with that entry, by producer. Absent: nobody compares it. */
  readonly read?: Roots['inputs']
  /** The step was given up after a multiple of what others took, not after the time that any step has. */
  readonly isHasty?: boolean
}

/** Where a VNode stands. */
export interface Whereabouts {
  /** Position of the last entry that it has applied, or, the source, sent. */
  readonly applied: number
  /** Its state is being restored. */
  readonly isRestoring?: true
  /** The first cut whose state is on its way to the object store, and the bytes of all states that are. */
  readonly storing?: { readonly position: number; readonly bytes: number }
  /** Number of its first report that the run's owner has not confirmed. */
  readonly untold?: number
  readonly wants: Wants
}

/** What happened on a host, for progress displays, metrics and benchmarks. */
export type Observation =
  | {
      readonly type: 'restored'
      readonly run: string
      readonly vnode: string
      readonly term: number
      readonly pnode: string
      readonly step: number
    }
  | {
      readonly type: 'applied'
      readonly run: string
      readonly vnode: string
      readonly term: number
      readonly pnode: string
      readonly entry: Entry
      /** How long the compute worked on it, in ms. */
      readonly busyMs: number
      readonly metrics: { readonly [name: string]: number }
    }
  /** @property count messages, at least 1. Default 1 */
  | { readonly type: 'dropped'; readonly run: string; readonly vnode: string; readonly reason: string; readonly count?: number }
  /** A VNode has got a frame that is odd. */
  | ({ readonly type: 'suspected'; readonly run: string; readonly vnode: string } & FrameSuspicion)
