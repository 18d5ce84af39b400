/**
 * Convergence (PROTOCOL.md rule 23): whether a VNode still learns, and what it does if not. A decision is no input of the log and needs no mark on a
 * step: it follows from the VNode's state alone, so whoever replays the steps decides the same at the same step, and `verify` checks it. It is logged in
 * the state itself, which the hash covers, and told with the checkpoint that has it. Only + − × ÷ here.
 */
import type { Convergence } from './definition.js'

/** What a run says of it: the policy, or the policy and what is to be other than by default. */
export type ConvergenceOptions = Convergence['policy'] | ({ readonly policy: Convergence['policy'] } & Partial<Omit<Convergence, 'policy'>>)

/** What a VNode can do about a stall. A policy that has nothing left to try alerts. */
export const ACTIONS: readonly Convergence['policy'][] = ['alert', 'lowerRate', 'resetHead']
export type Action = Convergence['policy']

/**
 * A window of 100 batches has a mean that chance moves by a few thousandths; five windows without a gain of a hundredth are a plateau, not noise. Two
 * windows are what a fresh head or a lower rate needs to show what it is worth.
 */
export const DEFAULT_CONVERGENCE = { everySteps: 100, patience: 5, minDelta: 0.01, cooldown: 2 } as const
/** Half of it at a time, as far as a hundredth: lower rates change nothing any more. */
export const DEFAULT_LOWERING = { factor: 0.5, minFactor: 0.01 } as const
/** A VNode that stalls again after so many fresh heads does not stall because of its head. */
export const MAX_RESETS = 3

const MOST = { everySteps: 1_000_000, windows: 1000 } as const

/** What `convergence` must be, in words. */
export const CONVERGENCE_FORM =
  `alert, lowerRate or resetHead, or { policy: one of these, everySteps: 2 to ${MOST.everySteps}, patience: 1 to ${MOST.windows}, ` +
  `minDelta: 0 to below 1, cooldown: 0 to ${MOST.windows} }, with lowerRate also factor and minFactor: above 0 to below 1`

const isCount = (value: unknown, least: number, most: number) =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most
const isShare = (value: unknown) => typeof value === 'number' && value > 0 && value < 1

/** Whether it is all that CONVERGENCE_FORM says, with nothing left out, as a definition has it. */
export function isConvergence(value: unknown): value is Convergence {
  if (typeof value !== 'object' || value === null) return false
  const { policy, everySteps, patience, minDelta, cooldown, ...more } = value as Convergence
  const { factor, minFactor, ...others } = more
  if (!ACTIONS.includes(policy) || Object.keys(others).length > 0) return false
  const isLowering = policy === 'lowerRate' ? isShare(factor) && isShare(minFactor) : Object.keys(more).length === 0
  const areWindows = isCount(everySteps, 2, MOST.everySteps) && isCount(patience, 1, MOST.windows) && isCount(cooldown, 0, MOST.windows)
  return isLowering && areWindows && (minDelta === 0 || isShare(minDelta))
}

/** Whether a run may say this of it. */
export function isConvergenceOptions(value: unknown): value is ConvergenceOptions {
  return (typeof value === 'string' || (typeof value === 'object' && value !== null)) && isConvergence(convergenceOf(value as never))
}

/** What a definition says of it. */
export function convergenceOf(options: ConvergenceOptions): Convergence {
  const given = typeof options === 'string' ? { policy: options } : options
  return { ...DEFAULT_CONVERGENCE, ...(given.policy === 'lowerRate' && DEFAULT_LOWERING), ...given }
}

/** What a VNode has measured of its newest whole window; goes with the metrics of its steps and evaluations. */
export interface Measures {
  /** Mean loss of the training steps of the window. */
  readonly averageLoss: number
  /** The lowest of these so far, or since its head began anew. */
  readonly bestLoss: number
  /** By what share `averageLoss` has fallen since the window before; below 0: it has risen. */
  readonly trend: number
  /** Cosine of the change of all parameters over this window and over the one before, −1 to 1, to about ±0.06: at 1 it goes on straight, below 0 it goes to and fro. */
  readonly stability: number
  /** Effective rank of the outputs of the window's last step: as if so many directions had all the variance. Of up to 64 samples or tokens, so below 64. */
  readonly novelty: number
  /** Share of its units (channels) that were never above 0, or always the same, in all outputs of the window's last step. */
  readonly deadUnits: number
  /** What its learning rate is multiplied by. */
  readonly rate: number
}

/** The names of the measures. */
export const MEASURES: readonly (keyof Measures)[] = ['averageLoss', 'bestLoss', 'trend', 'stability', 'novelty', 'deadUnits', 'rate']

/** A decision, with the measures that it was made by; `rate` is that after it. */
export interface Stall extends Measures {
  readonly step: number
  readonly action: Action
}

/** The metrics of a step after which a VNode has decided something. */
export const metricsOfStall = (action: Action): { readonly [name: string]: number } => ({ [action]: 1 })

/** What the metrics of a training step say of a decision; undefined: there was none. */
export function stallOf(step: number, metrics: { readonly [name: string]: number }): Stall | undefined {
  const action = ACTIONS.find((each) => metrics[each] === 1)
  return action && { step, action, ...(Object.fromEntries(MEASURES.map((name) => [name, metrics[name]])) as unknown as Measures) }
}

/** What windows have come to, as numbers that are kept in the state. */
export interface Progress {
  /** Mean loss of the best window that counts. */
  readonly best: number
  /** 0: there is no such window yet. */
  readonly hasBest: number
  /** Windows in a row without progress. */
  readonly waited: number
  /** Windows that are not counted any more. */
  readonly cooldown: number
  /** 1: an alert was told, and there was no progress since. */
  readonly isAlerted: number
  readonly rate: number
  /** How often the head began anew. */
  readonly resets: number
}

export const FIRST_PROGRESS: Progress = { best: 0, hasBest: 0, waited: 0, cooldown: 0, isAlerted: 0, rate: 1, resets: 0 }

/** What follows from a window. As in Keras and PyTorch (ReduceLROnPlateau), with a relative threshold. @param loss mean over its steps */
export function judge(before: Progress, loss: number, options: Convergence): { readonly after: Progress; readonly action?: Action } {
  const { best, hasBest, waited, cooldown } = before
  const size = best < 0 ? -best : best
  const isBetter = hasBest === 0 || loss < best - options.minDelta * size
  const isCounted = !isBetter && cooldown === 0
  const after: Progress = {
    ...before,
    ...(isBetter && { best: loss, hasBest: 1, isAlerted: 0 }),
    waited: isCounted ? waited + 1 : 0,
    cooldown: cooldown > 0 ? cooldown - 1 : 0,
  }
  return after.waited < options.patience ? { after } : decide({ ...after, waited: 0 }, options)
}

function decide(stalled: Progress, { policy, cooldown, factor = 1, minFactor = 1 }: Convergence): ReturnType<typeof judge> {
  const { rate, resets, isAlerted } = stalled
  if (policy === 'lowerRate' && rate > minFactor) {
    const lowered = rate * factor
    return { after: { ...stalled, cooldown, rate: lowered > minFactor ? lowered : minFactor }, action: policy }
  }
  // What another head had come to says nothing of this one.
  if (policy === 'resetHead' && resets < MAX_RESETS)
    return { after: { ...stalled, cooldown, resets: resets + 1, best: 0, hasBest: 0 }, action: policy }
  return isAlerted ? { after: stalled } : { after: { ...stalled, cooldown, isAlerted: 1 }, action: 'alert' }
}
