/** swarmgrad: train neural networks on machines that come and go, to identical bits whatever is killed. */
export { tf } from './components/tf.js'
export { defineBlock, defineDataset, defineRule } from './components/define.js'
export type {
  BlockSpec,
  DatasetSpec,
  ForwardContext,
  Initializers,
  Layer,
  Options,
  RuleFeedback,
  RuleSpec,
  RuleStep,
  RuleStepResult,
  Shape,
  Target,
  Tensors,
} from './components/define.js'
export { block, categorical, continuous, head, network, tokens, vnode } from './components/network.js'
export type { Network, Task } from './components/network.js'
export { backprop, pred, predsim, relay, solo } from './components/rules/index.js'
export { adam, sgd } from './components/optimizers/index.js'
export type { ConvergenceOptions, Measures } from './components/convergence.js'
export type { Schedule } from './components/schedule.js'
export {
  add,
  avgPool,
  batchNorm,
  concat,
  conv2d,
  dense,
  dropout,
  elu,
  flatten,
  gelu,
  globalAveragePool,
  embedding,
  layerNorm,
  positionEmbedding,
  selfAttention,
  transformerBlock,
  leakyRelu,
  maxPool,
  relu,
  rmsNorm,
  selu,
  sigmoid,
  silu,
  softmax,
  softplus,
  tanh,
} from './components/layers/index.js'
export { datasets, fromArrays } from './components/datasets/index.js'
export { cluster } from './actors/cluster.js'
export type { Cluster } from './actors/cluster.js'
export { deleteRun } from './actors/run/delete-run.js'
export { local, resume, train } from './actors/train.js'
export type { Constraints } from './actors/run/constraints.js'
export type { CheckpointOptions } from './actors/run/run-settings.js'
export type { Local, Run, RunOptions, RunResult } from './actors/train.js'
export type { TrainingOptions } from './actors/prepare.js'
export type { Model, Prediction } from './actors/model.js'
export { openModel } from './actors/model.js'
export type { ExportOptions } from './actors/export-model.js'
export type { GenerateOptions } from './actors/generate.js'
export type { Metrics, MetricsOf, PNodeView, RunEvent, VNodeView } from './actors/events.js'
export type { HistoryRow } from './actors/run/history.js'
export { SwarmError, isSwarmError } from './runtime/errors.js'
export type { ErrorCode } from './runtime/errors.js'
