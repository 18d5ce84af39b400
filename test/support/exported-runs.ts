/** Small networks of every layer, trained through the actors, and runs that begin with their files. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { openState } from '../../actors/model.js'
import { prepare, type TrainingOptions } from '../../actors/prepare.js'
import { weightsKey } from '../../actors/run/run-definition.js'
import { local, train } from '../../actors/train.js'
import { datasets, openDataset } from '../../components/datasets/index.js'
import * as layers from '../../components/layers/index.js'
import { block, categorical, network, type Network } from '../../components/network.js'
import type { ErrorCode } from '../../runtime/errors.js'
import { SwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'

const { add, avgPool, batchNorm, concat, conv2d, dense, dropout, elu, flatten, gelu, globalAveragePool } = layers
const { layerNorm, leakyRelu, maxPool, relu, selu, sigmoid, silu, softmax, softplus, tanh } = layers

export const TASK = { input: [28, 28, 1], target: categorical(10) } as const
const DATA = datasets.glyphs({ train: 256, test: 64 })
export const TRAINING = { data: DATA, batchSize: 32, epochs: 1, seed: 3 } as const satisfies TrainingOptions
export const ON = local({ pnodes: 2, threads: false })

export const mlp = network(TASK, [
  flatten(),
  block(dense(24), batchNorm(), leakyRelu(0.1), dropout(0.1)),
  block(dense(16, { bias: false }), layerNorm(), gelu()),
  block(dense(12), batchNorm({ epsilon: 1e-3 }), silu()),
])

/** Together they have every layer that TensorFlow.js has too. */
export const NETWORKS = {
  mlp,
  convolutional: network(TASK, [
    block(conv2d(6), batchNorm(), relu(), maxPool()),
    block(conv2d(8, { kernelSize: 5, strides: 2, padding: 'valid', bias: false }), elu(), avgPool(2, { padding: 'same', strides: 1 })),
  ]),
  branching: network(TASK, (x) => {
    const a = block(flatten(), dense(16), tanh())(x)
    const b = block(dense(16), sigmoid())(a)
    const c = block(dense(8), batchNorm(), selu())(b)
    const joined = concat(add(a, b, a), flatten()(c))
    return layers.softmax()(block(dense(12), softplus())(joined))
  }),
  'large images': network(TASK, [block(conv2d(4), relu())]),
  'pooled images': network(TASK, [block(conv2d(5, { strides: 2 }), softmax()), block(conv2d(6), batchNorm(), relu(), globalAveragePool())]),
}

export interface Trained {
  readonly store: ObjectStore
  /** Empty; removed when the test ends. */
  readonly folder: string
}

/** A finished run 'a'. */
export async function trained(t: ExecutionContext, net: Network, options: Partial<TrainingOptions> = {}): Promise<Trained> {
  const store = memoryStore()
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-export-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await train(net, { ...TRAINING, ...options }, { on: ON, store }, { id: 'a' }).result
  return { store, folder }
}

/** Raw samples of the test set. */
export async function samples(): Promise<Uint8Array> {
  const { splits } = await openDataset(DATA, { task: TASK })
  return splits.test!.samples as Uint8Array
}

/** What a network answers before its first step. */
export async function answersAtStart(store: ObjectStore, net: Network, options: Partial<TrainingOptions>, inputs: ArrayLike<number>) {
  const { definition, notes } = await prepare(net, { ...TRAINING, ...options }, store)
  const state = async (vnode: string) => (await store.get(weightsKey(definition.initial![vnode]))).bytes
  const vnodes = definition.network.vnodes.map(({ id }) => id)
  const model = await openState(store, 'new', { definition, step: 0, vnodes, state })
  const { probabilities } = await model.predict(inputs)
  await model.close()
  return { probabilities, notes, initial: definition.initial! }
}

/** One error, of one line. */
export async function refused(t: ExecutionContext, promise: Promise<unknown>, code: ErrorCode, says: RegExp): Promise<void> {
  const error = await t.throwsAsync(promise, { instanceOf: SwarmError })
  t.is(error.code, code, error.message)
  t.regex(error.message, says)
  t.false(error.message.includes('\n'))
}
