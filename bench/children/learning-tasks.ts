/** The tasks of LEARNING.md's bars: a network, its data and what is trained how long; everything else is the product's default. */
import type { TrainingOptions } from '../../actors/prepare.js'
import {
  adam,
  backprop,
  batchNorm,
  block,
  datasets,
  dense,
  dropout,
  embedding,
  flatten,
  leakyRelu,
  network,
  positionEmbedding,
  pred,
  predsim,
  solo,
  tokens,
  transformerBlock,
} from '../../index.js'
import type { Network } from '../../components/network.js'
import { IMAGES, vgg } from './networks.js'

export interface Task {
  readonly network: Network
  readonly training: Omit<TrainingOptions, 'rule' | 'seed'>
  readonly pnodes: number
  /** Default `wasm`. */
  readonly backend?: 'native'
}

function mlp(units: number, rate: number): Network {
  const hidden = () => block(dense(units), batchNorm(), leakyRelu(), dropout(rate))
  return network(IMAGES, [flatten(), hidden(), hidden(), hidden()])
}

/** Four blocks of 128, as in `examples/char-lm.ts`. */
function transformer(): Network {
  const own = () => transformerBlock({ heads: 4, activation: 'relu', norm: 'rms' })
  return network({ input: [64], target: tokens(65) }, [block(embedding(65, 128), positionEmbedding(), own()), own(), own(), own()])
}

export const TASKS: { readonly [task: string]: Task } = {
  'fashion-256': { network: mlp(256, 0.025), training: { data: datasets.fashionMnist(), epochs: 5 }, pnodes: 4 },
  'fashion-1024': { network: mlp(1024, 0.025), training: { data: datasets.fashionMnist(), epochs: 15 }, pnodes: 2, backend: 'native' },
  'fashion-conv': { network: vgg(), training: { data: datasets.fashionMnist(), epochs: 5 }, pnodes: 2, backend: 'native' },
  'mnist-1024': { network: mlp(1024, 0.1), training: { data: datasets.mnist(), epochs: 15 }, pnodes: 2, backend: 'native' },
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
