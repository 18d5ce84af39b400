/** Small runs whose end is known: what each of them trains. Nothing here needs a data set that could be missing. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  batchNorm,
  block,
  categorical,
  conv2d,
  datasets,
  dense,
  dropout,
  embedding,
  flatten,
  leakyRelu,
  maxPool,
  network,
  positionEmbedding,
  pred,
  tokens,
  transformerBlock,
} from '../../index.js'
import type { Layer } from '../../components/define.js'
import type { BackendName } from '../../components/backends.js'
import type { Network } from '../../components/network.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { RandomStream } from '../../runtime/random.js'
import { temporaryFolder } from '../support/idx-files.js'

export interface ExpectedRun {
  readonly backend: BackendName
  readonly network: Network
  readonly training: TrainingOptions
}

const IMAGES = { input: [28, 28, 1], target: categorical(10) } as const
/** Behind what has weights. */
const usual = (...between: readonly Layer[]): Layer[] => [batchNorm(), leakyRelu(), ...between, dropout(0.1)]

const conv = network(IMAGES, [
  block(conv2d(8), ...usual(maxPool(2))),
  block(conv2d(16), ...usual(maxPool(2))),
  block(flatten(), dense(32), ...usual()),
])

const WORDS = 'a and at blue boat bridge by cloud far from green hill in light night of old on river sky stone the tree under wind'
/** Words by chance: how they are spelt can be learnt, which comes next cannot. Deterministic, like all that is drawn from a seed. */
function textOf(words: number): string {
  const random = new RandomStream(1, 'words')
  const all = WORDS.split(' ')
  return Array.from({ length: words }, () => all[random.below(all.length)]).join(' ')
}
const CHARACTERS = new Set(WORDS).size
const file = join(await temporaryFolder(), 'words.txt')
await writeFile(file, textOf(2_000))

const [context, width] = [32, 32]
const transformer = network({ input: [context], target: tokens(CHARACTERS) }, [
  block(
    embedding(CHARACTERS, width, { deviation: 0.3 }),
    positionEmbedding({ deviation: 0.3 }),
    transformerBlock({ heads: 2 }),
    dropout(0.05),
  ),
  transformerBlock({ heads: 2 }),
])

const hidden = (): Layer => block(dense(64), ...usual())
const mlp = network(IMAGES, [flatten(), hidden(), hidden(), hidden()])

const runs = {
  'conv net': {
    backend: 'wasm',
    network: conv,
    training: { data: datasets.glyphs({ train: 1_280, test: 256 }), rule: pred(), epochs: 3, batchSize: 32, learningRate: 5e-3 },
  },
  transformer: {
    backend: 'wasm',
    network: transformer,
    training: { data: datasets.text(file, { context, stride: 16 }), rule: pred(), epochs: 6, batchSize: 16, learningRate: 1e-2 },
  },
  'MLP on TensorFlow': {
    backend: 'native',
    network: mlp,
    training: { data: datasets.glyphs({ train: 2_560, test: 512 }), rule: pred(), epochs: 4, batchSize: 32 },
  },
} as const satisfies { readonly [name: string]: ExpectedRun }

export type RunName = keyof typeof runs
export const RUNS: { readonly [name in RunName]: ExpectedRun } = runs
export const RUN_NAMES = Object.keys(runs) as RunName[]
