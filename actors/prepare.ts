/** From what a researcher writes to the record that decides a run's hash: compiled, bundled, with its data in the store. */
import { bundleModules, type Bundle } from '../components/bundle.js'
import { compile, modulesOf } from '../components/compile.js'
import { drainsOf, feedbackOf, withSharedShape } from '../components/feedback.js'
import { batchesPerEpoch, type Dataset, openDataset, splitValidation, storeDataset } from '../components/datasets/index.js'
import {
  type BuiltIn,
  type Call,
  type DatasetSpec,
  type Options,
  type RuleSpec,
  type Target,
  type Tensors,
  describe,
  specOfCall,
} from '../components/define.js'
import { AUGMENTATION_FORM, checkAugmentation, isAugmentation } from '../components/augmentation.js'
import { CONVERGENCE_FORM, convergenceOf, isConvergenceOptions, type ConvergenceOptions } from '../components/convergence.js'
import type { Augmentation, Refinement, TrainingDefinition } from '../components/definition.js'
import { builtInLayers } from '../components/layers/index.js'
import { isNetwork, type Network } from '../components/network.js'
import { adam, builtInOptimizers } from '../components/optimizers/index.js'
import { isRefinement, REFINEMENT_FORM } from '../components/refinement.js'
import { builtInRules, pred, predsim } from '../components/rules/index.js'
import { withoutUndefined } from '../components/options.js'
import { resolve } from '../components/resolve.js'
import { defaultLearningRate, isSchedule, SCHEDULE_FORM, type Schedule, scheduleOf } from '../components/schedule.js'
import { type ErrorRecord, SwarmError } from '../runtime/errors.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { putOnce } from '../runtime/object-store/put-once.js'
import { RUN_DEFINITION_VERSION, type RunDefinition, bundleKey, evaluationSplit } from './run/run-definition.js'
import { startingWeights } from './starting-weights.js'

/** What decides the hash. */
export interface TrainingOptions {
  readonly data: Call<'dataset'> | Dataset
  /** Default `predsim()`, for continuous targets `pred()`. */
  readonly rule?: Call<'rule'>
  /** Default `adam()`. */
  readonly optimizer?: Call<'optimizer'>
  /** Samples of one step. Default 128. */
  readonly batchSize?: number
  /** Passes over the training samples. Default 5. */
  readonly epochs?: number
  /** Of weights, order and dropout: a safe integer ≥ 0. Default 1. */
  readonly seed?: number
  /** Of the first step. Default: the optimizer's, else 2e-3 for up to 10 epochs and 5e-4 for more (LEARNING.md). */
  readonly learningRate?: number
  /** How the learning rate changes with the run's step. Default: ×0.25 at 50, 75, 89 and 94 % of the steps. */
  readonly schedule?: Schedule
  /** Fraction of the training samples set apart for the evaluation after each epoch. Default 0, or 0.1 for data without a test set. */
  readonly validation?: number
  /** What becomes of a step whose loss is not finite: the run stops, or the step is skipped, with a dead letter. Default `stop`. */
  readonly nonFinite?: 'stop' | 'skip'
  /**
   * After each training step every VNode that learns makes `passes` passes over its last `inputs` training inputs, oldest first, each a whole local
   * update; what it sends on does not wait for them. `passes` 1 to 16, `inputs` 1 to 64. Default: none.
   */
  readonly refinement?: Refinement
  /** Training images are moved by up to `crop` pixels (1 to 64) and mirrored (`flip`) at random, anew in each epoch. Default: they are not. */
  readonly augmentation?: Augmentation
  /**
   * What becomes of a VNode whose mean loss over `everySteps` steps (100) has not fallen by a share of `minDelta` (0.01) for `patience` windows (5):
   * `alert` tells it, `lowerRate` multiplies this VNode's learning rate by `factor` (0.5) down to `minFactor` (0.01) of it, `resetHead` lets its head begin
   * anew. Then `cooldown` windows (2) do not count. Default: nobody looks.
   */
  readonly convergence?: ConvergenceOptions
  /**
   * What the first weights are: the newest of another run, by its id; or those of a file, a `.safetensors` or the `model.json` of a LayersModel, by its
   * path. The optimizer starts anew.
   */
  readonly from?: string
}

export const DEFAULT_TRAINING = { batchSize: 128, epochs: 5, seed: 1 } as const

/** The rule of a run that names none: what `predsim` compares is classes. */
export function defaultRule(target: Target): Call<'rule'> {
  return target.kind === 'categorical' ? predsim() : pred()
}

/** A run as it can be started. */
export interface Prepared {
  readonly definition: RunDefinition
  readonly dataset: Dataset
  /** What should not surprise whoever starts it, in sentences. */
  readonly notes: readonly string[]
}

/** A note as the warning that events tell of. */
export function noteRecord(note: string): ErrorRecord {
  return new SwarmError('weights.mismatch', note).toJSON()
}

export interface PrepareOptions {
  readonly signal?: AbortSignal
  /** Bytes of a download, or samples made. */
  readonly onProgress?: (done: number, total: number) => void
}

/** The compiled network and the users' modules that it needs. */
export async function compileNetwork(network: Network, rule: Call<'rule'>, others: readonly Call[] = []) {
  const modules = [...new Set([...modulesOf(network), ...[rule, ...others].flatMap(({ module }) => module ?? [])])].toSorted()
  const bundles = await bundleModules(modules)
  const hashes = Object.fromEntries(Object.entries(bundles).map(([url, { sha256 }]) => [url, sha256]))
  const { spec, ref } = resolve<BuiltIn<RuleSpec<any>>>(rule, builtInRules, hashes, 'rule')
  const ruleOptions = spec.options?.(ref.options) ?? ref.options
  const feedback = feedbackOf(spec, ruleOptions)
  const options = { layers: builtInLayers, bundles: hashes, endToEnd: spec.endToEnd === true, ...(feedback && { feedback }) }
  if (modules.length === 0) return { network: withSharedShape(compile(network, options), spec, ruleOptions), rule: ref, bundles, hashes }
  // A user's `init` may compute with what it draws, so it is given real tensors.
  const { tf, startBackend } = await import('../components/tf.js')
  await startBackend()
  return {
    network: tf.tidy(() => {
      const compiled = compile(network, { ...options, zeros: (shape) => tf.zeros([...shape]) })
      return { value: withSharedShape(compiled, spec, ruleOptions) } as unknown as Tensors
    }).value as never,
    rule: ref,
    bundles,
    hashes,
  }
}

/**
 * Compiles and checks everything, and puts data and code into the store.
 * @throws the codes of `compile`, `openDataset`, `bundleModule` and `startingWeights`; `usage` for numbers out of range
 */
export async function prepare(
  network: Network,
  options: TrainingOptions,
  store: ObjectStore,
  { signal, onProgress }: PrepareOptions = {},
): Promise<Prepared> {
  if (!isNetwork(network))
    throw new SwarmError('definition.invalid', {
      what: 'the network to train',
      expected: 'what network(…) returns',
      got: describe(network),
    })
  if (typeof options?.data !== 'object' && typeof options?.data !== 'function') {
    throw new SwarmError('definition.invalid', {
      what: "'data'",
      expected: 'a data set such as datasets.glyphs()',
      got: describe(options?.data),
    })
  }
  const { batchSize, epochs, seed } = checkNumbers(options)
  checkAugmentation(options.augmentation, network.input)
  const rule = options.rule ?? defaultRule(network.target)
  const optimizer = options.optimizer ?? adam()
  const reference = 'splits' in options.data ? undefined : options.data
  const compiled = await compileNetwork(network, rule, reference ? [reference] : [])
  const { ref: optimizerRef } = resolve(optimizer, builtInOptimizers, compiled.hashes, 'optimizer')
  const spec = reference?.module === undefined ? undefined : (specOfCall(reference) as DatasetSpec<Options> | undefined)
  const opened = await openDataset(options.data, { task: { input: network.input, target: network.target }, spec, signal, onProgress })
  const validation = options.validation ?? (opened.splits.test || opened.splits.validation ? 0 : 0.1)
  const dataset = validation > 0 ? splitValidation(opened, validation, seed) : opened
  const data = await storeDataset(store, dataset, { signal })
  await storeBundles(store, Object.values(compiled.bundles))
  const batches = (size: number) => batchesPerEpoch(size, batchSize)
  const stepsPerEpoch = batches(dataset.splits.train.size)
  const learningRate = options.learningRate ?? (optimizerRef.options.learningRate as number | undefined) ?? defaultLearningRate(epochs)
  const training: TrainingDefinition = {
    rule: compiled.rule,
    optimizer: optimizerRef,
    batchSize,
    epochs,
    seed,
    totalSteps: epochs * stepsPerEpoch,
    learningRate,
    ...scheduleOf(options.schedule),
    ...(options.nonFinite === 'skip' && { nonFinite: 'skip' as const }),
    ...(options.refinement && { refinement: options.refinement }),
    ...(options.augmentation && { augmentation: options.augmentation }),
    ...(options.convergence && { convergence: convergenceOf(options.convergence) }),
  }
  const { of: goesBack } = compiled.network.vnodes.find(({ id }) => id === compiled.network.output)?.feedback ?? {}
  for (const option of ['refinement', 'convergence'] as const) {
    if (goesBack !== 'gradients' || !options[option]) continue
    const what = `'${option}' with rule '${rule.name}', whose VNodes have no loss of their own`
    throw new SwarmError('usage', { what, fix: 'Leave one of them out' })
  }
  const definition: RunDefinition = {
    v: RUN_DEFINITION_VERSION,
    network: compiled.network,
    training,
    data,
    timetable: {
      epochs,
      stepsPerEpoch,
      ...drainsOf(compiled.network),
      evaluationBatches: batches(evaluationSplit(dataset, false).size),
      finalBatches: batches(evaluationSplit(dataset, true).size),
    },
    validation,
    bundles: Object.values(compiled.bundles)
      .map(({ sha256 }) => sha256)
      .toSorted(),
  }
  if (options.from === undefined) return { definition, dataset, notes: [] }
  const { initial, notes } = await startingWeights(store, options.from, definition)
  return { definition: { ...definition, initial }, dataset, notes }
}

async function storeBundles(store: ObjectStore, bundles: readonly Bundle[]): Promise<void> {
  for (const { sha256, code } of bundles) await putOnce(store, bundleKey(sha256), code)
}

function checkNumbers(options: TrainingOptions) {
  const { batchSize, epochs, seed } = { ...DEFAULT_TRAINING, ...withoutUndefined(options) }
  const check = (name: string, isValid: boolean, expected: string, got: unknown) => {
    if (!isValid) throw new SwarmError('usage', { what: `${name} out of range`, expected, got: String(got) })
  }
  check('batchSize', Number.isSafeInteger(batchSize) && batchSize >= 1 && batchSize <= 65_536, 'an integer from 1 to 65,536', batchSize)
  check('epochs', Number.isSafeInteger(epochs) && epochs >= 1 && epochs <= 1_000_000, 'an integer from 1 to 1,000,000', epochs)
  check('seed', Number.isSafeInteger(seed) && seed >= 0, 'an integer ≥ 0', seed)
  const { learningRate, schedule, validation, refinement, augmentation, convergence, nonFinite = 'stop' } = options
  check('learningRate', learningRate === undefined || (Number.isFinite(learningRate) && learningRate > 0), 'a number above 0', learningRate)
  check('validation', validation === undefined || (validation >= 0 && validation < 1), 'a fraction from 0 to below 1', validation)
  check('nonFinite', nonFinite === 'stop' || nonFinite === 'skip', 'stop or skip', nonFinite)
  if (schedule !== undefined && !isSchedule(schedule))
    throw new SwarmError('usage', { what: 'schedule', expected: SCHEDULE_FORM, got: JSON.stringify(schedule) })
  if (augmentation !== undefined && !isAugmentation(augmentation))
    throw new SwarmError('usage', { what: 'augmentation', expected: AUGMENTATION_FORM, got: JSON.stringify(augmentation) })
  if (convergence !== undefined && !isConvergenceOptions(convergence))
    throw new SwarmError('usage', { what: 'convergence', expected: CONVERGENCE_FORM, got: JSON.stringify(convergence) })
  if (refinement !== undefined && !isRefinement(refinement))
    throw new SwarmError('usage', { what: 'refinement', expected: REFINEMENT_FORM, got: JSON.stringify(refinement) })
  return { batchSize, epochs, seed }
}
