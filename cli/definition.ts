/** From flags and a file to a network and the rest of what decides the hash. */
import { extname } from 'node:path'
import type { TrainingOptions } from '../actors/prepare.js'
import { DATASET_NAMES, type Dataset, datasets, openDataset } from '../components/datasets/index.js'
import type { Call, Target } from '../components/define.js'
import {
  batchNorm,
  dense,
  dropout,
  embedding,
  flatten,
  leakyRelu,
  positionEmbedding,
  transformerBlock,
} from '../components/layers/index.js'
import { loadDefinition } from '../components/load-definition.js'
import { block, categorical, type Network, network, tokens } from '../components/network.js'
import { backprop, pred, predsim, relay, solo } from '../components/rules/index.js'
import { suggest } from '../components/suggest.js'
import type { LoadedDefinition } from '../components/training-fields.js'
import { SwarmError } from '../runtime/errors.js'
import type { FlagName, Settings } from './flags.js'

const RULES = { backprop, pred, predsim, relay, solo }
const DEFAULT_TRANSFORMER = { blocks: 4, width: 128, heads: 4 } as const
/** The MLP of LEARNING.md's bars. */
const DEFAULT_MLP = { blocks: 3, units: 256, dropout: 0.025 } as const
const SHAKESPEARE = { input: [64], target: tokens(65) } as const
const IMAGES = { input: [28, 28, 1], target: categorical(10) } as const

/** What can be trained. */
export interface Plan {
  readonly network: Network
  readonly training: TrainingOptions
}

export interface PlanOptions {
  readonly settings: Settings
  /** Settings that a definition's own values override. */
  readonly configured: ReadonlySet<FlagName>
  readonly signal?: AbortSignal
}

/** Flag, else environment, else the definition, else the configuration. @throws `usage`, `definition.…`, `dataset.…` */
export async function makePlan(file: string | undefined, { settings, configured, signal }: PlanOptions): Promise<Plan> {
  const own: Partial<LoadedDefinition> = file === undefined ? {} : await loadDefinition(file)
  const choose = <T>(name: FlagName, given: T | undefined, defined: T | undefined): T | undefined =>
    configured.has(name) ? (defined ?? given) : (given ?? defined)
  const data = choose('data', settings.data === undefined ? undefined : await datasetOf(settings, signal), own.data) ?? datasets.glyphs()
  const rule = choose('rule', settings.rule && RULES[settings.rule](), own.rule)
  return {
    network: own.network ?? defaultNetwork('input' in data ? data : data.name === 'tiny-shakespeare' ? SHAKESPEARE : IMAGES),
    training: {
      data,
      rule,
      optimizer: own.optimizer,
      batchSize: choose('batchSize', settings.batchSize, own.batchSize),
      epochs: choose('epochs', settings.epochs, own.epochs),
      seed: choose('seed', settings.seed, own.seed),
      learningRate: choose('learningRate', settings.learningRate, own.learningRate),
      schedule: own.schedule,
      validation: choose('validation', settings.validation, own.validation),
      nonFinite: choose('nonFinite', settings.nonFinite, own.nonFinite),
      refinement: choose('refinement', settings.refinement, own.refinement),
      augmentation: own.augmentation,
      convergence: choose('convergence', settings.convergence, own.convergence),
    },
  }
}

/** What learns from data without a definition: the networks of LEARNING.md's bars. */
function defaultNetwork(task: { readonly input: readonly number[]; readonly target: Target }): Network {
  return task.target.kind === 'tokens' ? transformer(task.input, task.target.classes) : mlp(task)
}

function transformer(input: readonly number[], vocabulary: number): Network {
  const { blocks, width, heads } = DEFAULT_TRANSFORMER
  const rest = Array.from({ length: blocks - 1 }, () => transformerBlock({ heads }))
  const first = block(embedding(vocabulary, width), positionEmbedding(), transformerBlock({ heads }))
  return network({ input, target: tokens(vocabulary) }, [first, ...rest])
}

/** A multilayer perceptron, each block of which is one VNode. */
export function mlp(
  task: { readonly input: readonly number[]; readonly target: Target },
  { blocks, units, dropout: rate }: { readonly blocks: number; readonly units: number; readonly dropout: number } = DEFAULT_MLP,
): Network {
  const hidden = () => block(dense(units), batchNorm(), leakyRelu(), dropout(rate))
  return network({ input: task.input, target: task.target }, [flatten(), ...Array.from({ length: blocks }, hidden)])
}

/** A table or a text is opened at once: it decides the shape of the default network. */
async function datasetOf({ data, label = 'label' }: Settings, signal?: AbortSignal): Promise<Call<'dataset'> | Dataset> {
  switch (data!) {
    case 'glyphs':
      return datasets.glyphs()
    case 'mnist':
      return datasets.mnist()
    case 'tiny-shakespeare':
      return datasets.tinyShakespeare()
    case 'fashion-mnist':
      return datasets.fashionMnist()
    default:
      if (extname(data!).toLowerCase() === '.csv') return openDataset(datasets.csv(data!, { label }), { signal })
      if (extname(data!).toLowerCase() === '.txt') return openDataset(datasets.text(data!), { signal })
      throw new SwarmError('usage', {
        what: '--data',
        expected: 'fashion-mnist, mnist, glyphs, tiny-shakespeare or the path of a .csv or .txt file',
        got: `'${data}'`,
        fix: suggest(
          data!,
          DATASET_NAMES.filter((name) => name !== 'csv' && name !== 'text'),
        ),
      })
  }
}
