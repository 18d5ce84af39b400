/** The tasks of LEARNING.md's bars: a network, its data and what is trained how long; everything else is the product's default. */
import type { TrainingOptions } from '../../actors/prepare.js'
import {
  adam,
  backprop,
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
  predsim,
  solo,
  tokens,
  transformerBlock,
} from '../../index.js'
import type { Network } from '../../components/network.js'

export interface Task {
  readonly network: Network
  readonly training: Omit<TrainingOptions, 'rule' | 'seed'>
  readonly pnodes: number
}

const IMAGES = { input: [28, 28, 1], target: categorical(10) } as const

function mlp(units: number, rate: number): Network {
  const hidden = () => block(dense(units), batchNorm(), leakyRelu(), dropout(rate))
  return network(IMAGES, [flatten(), hidden(), hidden(), hidden()])
}

/** [16, 32, M, 64, M, 64, M] and a fully connected layer. */
function conv(): Network {
  const layer = (filters: number, ...more: readonly ReturnType<typeof maxPool>[]) =>
    block(conv2d(filters), batchNorm(), leakyRelu(), ...more, dropout(0.1))
  const filters = [layer(16), layer(32, maxPool(2)), layer(64, maxPool(2)), layer(64, maxPool(2))]
  return network(IMAGES, [...filters, block(flatten(), dense(256), batchNorm(), leakyRelu(), dropout(0.1))])
}

/** Four blocks of 128, as in `examples/char-lm.ts`. */
function transformer(): Network {
  const own = () => transformerBlock({ heads: 4, activation: 'relu', norm: 'rms' })
  return network({ input: [64], target: tokens(65) }, [block(embedding(65, 128), positionEmbedding(), own()), own(), own(), own()])
}

export const TASKS: { readonly [task: string]: Task } = {
  'fashion-256': { network: mlp(256, 0.025), training: { data: datasets.fashionMnist(), epochs: 5 }, pnodes: 4 },
  'fashion-1024': { network: mlp(1024, 0.025), training: { data: datasets.fashionMnist(), epochs: 15 }, pnodes: 2 },
  'fashion-conv': { network: conv(), training: { data: datasets.fashionMnist(), epochs: 5 }, pnodes: 2 },
  'mnist-1024': { network: mlp(1024, 0.1), training: { data: datasets.mnist(), epochs: 15 }, pnodes: 2 },
  shakespeare: {
    network: transformer(),
    training: {
      data: datasets.tinyShakespeare({ context: 64 }),
      optimizer: adam({ clipNorm: 1 }),
      batchSize: 32,
      epochs: 4,
      learningRate: 2e-3,
      schedule: { kind: 'cosine', warmup: 100 },
    },
    pnodes: 2,
  },
}

export const RULES = { pred, predsim, solo, backprop }
export type RuleName = keyof typeof RULES
