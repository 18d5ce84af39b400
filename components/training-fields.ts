/** What a definition consists of, and what each part must be. */
import { SwarmError } from '../runtime/errors.js'
import { describe } from './define.js'
import type { Call } from './define.js'
import { AUGMENTATION_FORM, isAugmentation } from './augmentation.js'
import { CONVERGENCE_FORM, isConvergenceOptions, type ConvergenceOptions } from './convergence.js'
import type { Augmentation, Refinement } from './definition.js'
import { isNetwork } from './network.js'
import type { Dataset } from './datasets/index.js'
import type { Network } from './network.js'
import { isRefinement, REFINEMENT_FORM } from './refinement.js'
import { isSchedule, SCHEDULE_FORM, type Schedule } from './schedule.js'

/** A definition as a file gives it; what it leaves out, the caller decides. */
export interface LoadedDefinition {
  readonly network: Network
  readonly data?: Call<'dataset'> | Dataset
  readonly rule?: Call<'rule'>
  readonly optimizer?: Call<'optimizer'>
  readonly batchSize?: number
  readonly epochs?: number
  readonly seed?: number
  readonly learningRate?: number
  /** How the learning rate changes with the run's step. */
  readonly schedule?: Schedule
  /** Fraction of the training samples that is set apart to choose by. */
  readonly validation?: number
  /** What becomes of a step whose loss is not finite. */
  readonly nonFinite?: 'stop' | 'skip'
  /** Local updates after each training step. */
  readonly refinement?: Refinement
  /** What is done to training images before each step. */
  readonly augmentation?: Augmentation
  /** What becomes of a VNode that stalls. */
  readonly convergence?: ConvergenceOptions
}

const isCall = (kind: string) => (value: unknown) => (value as Call | null)?.kind === kind
const isDataset = (value: unknown) => typeof value === 'object' && value !== null && 'splits' in value && 'sha256' in value
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1

/** What each field must be. */
const FIELDS: { readonly [field in keyof LoadedDefinition]-?: readonly [(value: unknown) => boolean, string] } = {
  network: [isNetwork, 'what network(…) returns'],
  data: [(value) => isCall('dataset')(value) || isDataset(value), 'a data set such as datasets.fashionMnist()'],
  rule: [isCall('rule'), 'a learning rule such as predsim()'],
  optimizer: [isCall('optimizer'), 'an optimizer such as adam()'],
  batchSize: [isCount, 'an integer ≥ 1'],
  epochs: [isCount, 'an integer ≥ 1'],
  seed: [(value) => Number.isSafeInteger(value) && (value as number) >= 0, 'an integer ≥ 0'],
  learningRate: [(value) => Number.isFinite(value) && (value as number) > 0, 'a number above 0'],
  schedule: [isSchedule, SCHEDULE_FORM],
  validation: [(value) => Number.isFinite(value) && (value as number) >= 0 && (value as number) < 1, 'a fraction from 0 to below 1'],
  nonFinite: [(value) => value === 'stop' || value === 'skip', 'stop or skip'],
  refinement: [isRefinement, REFINEMENT_FORM],
  augmentation: [isAugmentation, AUGMENTATION_FORM],
  convergence: [isConvergenceOptions, CONVERGENCE_FORM],
}

/** The names of the fields: `network` and the rest. */
export const DEFINITION_FIELDS: readonly string[] = Object.keys(FIELDS)

/**
 * Checks the fields of a definition; undefined ones are left out.
 * @param where the file, or by field its place in the file
 * @throws `definition.invalid`
 */
export function checkFields(fields: { readonly [field: string]: unknown }, where: string | ((field: string) => string)): LoadedDefinition {
  const checked: { [field: string]: unknown } = {}
  for (const [field, [fits, expected]] of Object.entries(FIELDS)) {
    const value = fields[field]
    if (value === undefined && field !== 'network') continue
    if (!fits(value)) {
      const place = typeof where === 'string' ? where : where(field)
      const fix = typeof value === 'function' ? `Call it: ${field}()` : undefined
      throw new SwarmError('definition.invalid', { what: `'${field}'`, where: place, expected, got: describe(value), fix })
    }
    checked[field] = value
  }
  return checked as unknown as LoadedDefinition
}
