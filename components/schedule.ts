/** The learning rate as a function of the run's step. */
import type { TrainingDefinition } from './definition.js'

/** Runs of at most this many epochs count as short. */
export const SHORT_RUN_EPOCHS = 10
/** Five epochs at the long runs' rate cost a point of accuracy (measured on Fashion-MNIST, MLP 3×256). */
export const SHORT_RUN_LEARNING_RATE = 2e-3
export const LONG_RUN_LEARNING_RATE = 5e-4
/** At each milestone the rate is multiplied by this (Nøkland & Eidnes 2019). */
export const DEFAULT_DECAY = 0.25
/** As fractions of the run's steps (Nøkland & Eidnes 2019). */
export const DEFAULT_MILESTONES: readonly number[] = [0.5, 0.75, 0.89, 0.94]

/** The learning rate of a run that names none. */
export function defaultLearningRate(epochs: number): number {
  return epochs <= SHORT_RUN_EPOCHS ? SHORT_RUN_LEARNING_RATE : LONG_RUN_LEARNING_RATE
}

/** The learning rate at a step (from 1): × `decay` for each milestone passed, by repeated multiplication. */
export function learningRateAt(
  step: number,
  training: Pick<TrainingDefinition, 'learningRate' | 'decay' | 'milestones' | 'totalSteps'>,
): number {
  let rate = training.learningRate
  for (const milestone of training.milestones) if (step > Math.floor(milestone * training.totalSteps)) rate *= training.decay
  return rate
}
