/**
 * What waits on a node, and what has gone through it (M19): inputs on their way in, local passes over buffered batches, outputs on their way
 * out. What was let in is done, waits, or was left behind by a VNode that went: `enqueued = done + depth + dropped.gone`.
 */
import type { StepLog } from '../../runtime/step-log.js'

export interface QueueStats {
  /** What waits now. */
  readonly depth: number
  readonly enqueued: number
  readonly done: number
  /** By reason: refused at the door, or `gone` with its VNode. */
  readonly dropped: { readonly [reason: string]: number }
}

export interface Queues {
  /** Inputs, until a step takes them. */
  readonly inbound: QueueStats
  /** Local updates on kept inputs, until they are made (`refinement` of the run's options). */
  readonly refinement: QueueStats
  /** Outputs, until no checkpoint needs them. */
  readonly outbound: QueueStats
}

const EMPTY: QueueStats = { depth: 0, enqueued: 0, done: 0, dropped: {} }
export const NO_QUEUES: Queues = { inbound: EMPTY, refinement: EMPTY, outbound: EMPTY }

/** Of one VNode. @param dropped inputs that it refused, by reason */
export function queuesOf(
  log: Pick<StepLog<unknown>, 'counts' | 'waiting' | 'retained'>,
  dropped: ReadonlyMap<string, number>,
  refinement: QueueStats = EMPTY,
): Queues {
  const { counts, waiting, retained } = log
  return {
    inbound: { depth: waiting, enqueued: counts.received, done: counts.taken, dropped: Object.fromEntries(dropped) },
    refinement,
    outbound: { depth: retained, enqueued: counts.kept, done: counts.released, dropped: {} },
  }
}

/** Of a VNode that has gone: what waited is done by nobody here. */
export function leftBehind({ inbound, refinement, outbound }: Queues): Queues {
  const leave = ({ depth, dropped, ...counts }: QueueStats): QueueStats => ({
    ...counts,
    depth: 0,
    dropped: depth > 0 ? { ...dropped, gone: (dropped.gone ?? 0) + depth } : dropped,
  })
  return { inbound: leave(inbound), refinement: leave(refinement), outbound: leave(outbound) }
}

export function sumOf(all: readonly Queues[]): Queues {
  return all.reduce(
    (sum, each) => ({
      inbound: plus(sum.inbound, each.inbound),
      refinement: plus(sum.refinement, each.refinement),
      outbound: plus(sum.outbound, each.outbound),
    }),
    NO_QUEUES,
  )
}

function plus(a: QueueStats, b: QueueStats): QueueStats {
  const reasons = new Set([...Object.keys(a.dropped), ...Object.keys(b.dropped)])
  return {
    depth: a.depth + b.depth,
    enqueued: a.enqueued + b.enqueued,
    done: a.done + b.done,
    dropped: Object.fromEntries([...reasons].map((reason) => [reason, (a.dropped[reason] ?? 0) + (b.dropped[reason] ?? 0)])),
  }
}
