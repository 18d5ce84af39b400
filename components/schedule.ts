/** The learning rate as a function of the run's step. */
import type { Annealing, TrainingDefinition } from './definition.js'

/** Runs of at most this many epochs count as short. */
export const SHORT_RUN_EPOCHS = 10
/** Five epochs at the long runs' rate cost a point of accuracy (measured on Fashion-MNIST, MLP 3×256). */
export const SHORT_RUN_LEARNING_RATE = 2e-3
export const LONG_RUN_LEARNING_RATE = 5e-4
/** At each milestone the rate is multiplied by this (Nøkland & Eidnes 2019). */
export const DEFAULT_DECAY = 0.25
/** As fractions of the run's steps (Nøkland & Eidnes 2019). */
export const DEFAULT_MILESTONES: readonly number[] = [0.5, 0.75, 0.89, 0.94]

/** How the learning rate changes with the run's step. */
export interface Schedule {
  /** Steps, the first ones, in which it rises in equal parts to what it is to be. Default 0. */
  readonly warmup?: number
  /** `steps`: multiplied by `decay` at each milestone; `linear`, `cosine`: falls to `end` times what it was, from the warm-up to the last step. Default `steps`. */
  readonly kind?: 'steps' | Annealing['kind']
  /** Of `steps`: fractions of the run's steps, rising. Default 0.5, 0.75, 0.89, 0.94. */
  readonly milestones?: readonly number[]
  /** Of `steps`. Default 0.25. */
  readonly decay?: number
  /** Of `linear` and `cosine`: a share, 0 to 1. Default 0. */
  readonly end?: number
}

/** What a schedule must be, for errors. */
export const SCHEDULE_FORM =
  'steps of warm-up, and milestones with decay, or linear or cosine with end: { kind: cosine, warmup: 100, end: 0.1 }'

const isShare = (value: unknown): boolean => typeof value === 'number' && value >= 0 && value <= 1

export function isSchedule(value: unknown): value is Schedule {
  if (typeof value !== 'object' || value === null) return false
  const { kind = 'steps', warmup = 0, ...more } = value as Schedule
  if (!Number.isSafeInteger(warmup) || warmup < 0) return false
  const known = kind === 'steps' ? ['milestones', 'decay'] : ['end']
  if (!['steps', 'linear', 'cosine'].includes(kind) || !Object.keys(more).every((key) => known.includes(key))) return false
  const { milestones = [], decay = 1, end = 0 } = more
  const isRising = Array.isArray(milestones) && milestones.every((each, i) => isShare(each) && (i === 0 || each > milestones[i - 1]))
  return isRising && Number.isFinite(decay) && decay > 0 && isShare(end)
}

/** What a definition says of a schedule. */
export function scheduleOf({ kind = 'steps', warmup = 0, milestones, decay, end = 0 }: Schedule = {}): Pick<
  TrainingDefinition,
  'decay' | 'milestones' | 'warmup' | 'annealing'
> {
  const isSteps = kind === 'steps'
  return {
    decay: isSteps ? (decay ?? DEFAULT_DECAY) : 1,
    milestones: isSteps ? (milestones ?? DEFAULT_MILESTONES) : [],
    ...(warmup > 0 && { warmup }),
    ...(!isSteps && { annealing: { kind, end } }),
  }
}

/** The learning rate of a run that names none. */
export function defaultLearningRate(epochs: number): number {
  return epochs <= SHORT_RUN_EPOCHS ? SHORT_RUN_LEARNING_RATE : LONG_RUN_LEARNING_RATE
}

/** The learning rate at a step (from 1): only + − × ÷, so that it is the same everywhere. */
export function learningRateAt(
  step: number,
  training: Pick<TrainingDefinition, 'learningRate' | 'decay' | 'milestones' | 'totalSteps' | 'warmup' | 'annealing'>,
): number {
  const { warmup = 0, annealing, totalSteps } = training
  let rate = training.learningRate
  // By repeated multiplication.
  for (const milestone of training.milestones) if (step > Math.floor(milestone * totalSteps)) rate *= training.decay
  if (step <= warmup) return (rate * step) / warmup
  if (!annealing) return rate
  // 0 at the first step after the warm-up, 1 at the last.
  const progress = Math.min(1, (step - warmup - 1) / Math.max(1, totalSteps - warmup - 1))
  const left = annealing.kind === 'linear' ? 1 - progress : (1 + cosineOfHalfTurns(progress)) / 2
  return rate * (annealing.end + (1 - annealing.end) * left)
}

/** cos(πx) for x from 0 to 1, to 1e-9: sin(π(½ − x)) by its power series. Math.cos may differ from machine to machine. */
function cosineOfHalfTurns(x: number): number {
  const angle = Math.PI * (0.5 - x)
  const square = angle * angle
  let term = angle
  let sum = angle
  for (let n = 2; n <= 16; n += 2) {
    term *= -square / (n * (n + 1))
    sum += term
  }
  return Math.max(-1, Math.min(1, sum))
}
