/** The layers that swarmgrad brings along. */
import type { BlockSpec, BuiltIn } from '../define.js'
import { activationSpecs } from './activations.js'
import { selfAttentionSpec, transformerBlockSpec } from './attention.js'
import { batchNormSpec } from './batch-norm.js'
import { conv2dSpec } from './conv2d.js'
import { denseSpec } from './dense.js'
import { dropoutSpec } from './dropout.js'
import { embeddingSpec, positionEmbeddingSpec } from './embedding.js'
import { headSpec } from '../network.js'
import { flattenSpec } from './flatten.js'
import { addSpec, concatSpec } from './merging.js'
import { layerNormSpec, rmsNormSpec } from './normalization.js'
import { poolingSpecs } from './pooling.js'

export { elu, gelu, leakyRelu, relu, selu, sigmoid, silu, softmax, softplus, tanh } from './activations.js'
export { selfAttention, transformerBlock } from './attention.js'
export { batchNorm } from './batch-norm.js'
export { conv2d } from './conv2d.js'
export { dense } from './dense.js'
export { dropout } from './dropout.js'
export { embedding, positionEmbedding } from './embedding.js'
export { flatten } from './flatten.js'
export { add, concat } from './merging.js'
export { layerNorm, rmsNorm } from './normalization.js'
export { avgPool, globalAveragePool, maxPool } from './pooling.js'

/** By the name in a definition. */
export const builtInLayers: { readonly [name: string]: BuiltIn<BlockSpec<any>> } = {
  ...activationSpecs,
  ...poolingSpecs,
  add: addSpec,
  batchNorm: batchNormSpec,
  concat: concatSpec,
  conv2d: conv2dSpec,
  dense: denseSpec,
  dropout: dropoutSpec,
  embedding: embeddingSpec,
  flatten: flattenSpec,
  head: headSpec,
  layerNorm: layerNormSpec,
  positionEmbedding: positionEmbeddingSpec,
  rmsNorm: rmsNormSpec,
  selfAttention: selfAttentionSpec,
  transformerBlock: transformerBlockSpec,
}
