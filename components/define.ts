/**
 * What a network is made of, as data: definitions (code, found by module and name) and calls of them (plain JSON).
 * Nothing here needs tfjs at run time, so that a definition can be compiled and checked without loading it.
 */
import type { Tensor } from '@tensorflow/tfjs-core'
import type { Json } from '../runtime/actor-system/actor-system.js'
import type { RandomStream } from '../runtime/random.js'

/** A shape without the batch dimension: `[28, 28, 1]`. */
export type Shape = readonly number[]
/** Named tensors: parameters or state of a layer. Names match `[A-Za-z0-9_]+`. */
export type Tensors = { [name: string]: Tensor }
/** Options of a definition: plain JSON, since they travel with the network. */
export type Options = { readonly [name: string]: Json | undefined }

/** What a network learns to say. It types the metrics and the labels. */
export type Target =
  /** One of `classes` ≥ 2 classes; labels int32 [batch]. */
  | { readonly kind: 'categorical'; readonly classes: number }
  /** `size` ≥ 1 real numbers; labels float32 [batch, size]. */
  | { readonly kind: 'continuous'; readonly size: number }

/** Tensor makers over a seeded stream. Shapes include every dimension. All are float32. */
export interface Initializers {
  /** Uniform ±√(6/(fanIn+fanOut)) (Glorot & Bengio 2010); for conv kernels [h, w, in, out] the fans count h·w. */
  glorot(shape: Shape): Tensor
  /** Uniform ±√(6/fanIn) (He et al. 2015). */
  he(shape: Shape): Tensor
  /** Mean 0, the given standard deviation (default 1). */
  normal(shape: Shape, deviation?: number): Tensor
  uniform(shape: Shape, low?: number, high?: number): Tensor
  zeros(shape: Shape): Tensor
  ones(shape: Shape): Tensor
}

/** What `forward` is told besides its input. */
export interface ForwardContext {
  /** False in evaluation and prediction: use running statistics, change nothing. */
  readonly training: boolean
  /** The run's step, from 1. */
  readonly step: number
  /** Seeded by (seed, VNode, layer, step): the same numbers whenever this step is applied. */
  readonly random: RandomStream
  /** The layer's own non-trainable tensors, made by `state`. In training an assignment `context.state.mean = next` replaces one. */
  readonly state: Tensors
}

/** Where a definition of a user's module is: file URL, and how it was exported. */
interface Located {
  /** `import.meta.url` of the module that exports the definition: how workers and hosts find it. */
  readonly module: string
  /** Name of the definition, unique within its module. */
  readonly name: string
}

/** A layer with parameters and gradients by the tape. `D` receives one input unless `merges` says otherwise. */
export interface BlockSpec<O extends Options> extends Located {
  /** Shape of the output. @throws any error, which is reported with the layer's name */
  shape(input: Shape, options: O, inputs: readonly Shape[]): Shape
  /** Trainable parameters. Default: none. */
  init?(input: Shape, options: O, random: Initializers): Tensors
  /** Non-trainable tensors (running statistics, counters). Default: none. */
  state?(input: Shape, options: O, random: Initializers): Tensors
  /** float32 [batch, …input] to float32 [batch, …output]; differentiable by tfjs; runs inside `tf.tidy`. */
  forward(parameters: Tensors, x: Tensor, context: ForwardContext, options: O, xs: readonly Tensor[]): Tensor
  /** How many inputs it joins: 1 (default), or 'many' for two or more. */
  readonly arity?: 1 | 'many'
  /** True if it has neither `init` nor needs a VNode of its own; decided from `init` by default. */
  readonly parameterless?: boolean
  /** Multiply-adds of one forward pass of one sample, for placement. Default: the number of parameters. */
  cost?(input: Shape, options: O): number
}

export interface RuleLoss {
  /** What `logits` gave: float32 [batch, classes] or [batch, size]. */
  readonly logits: Tensor
  /** One-hot float32 [batch, classes], or the labels as they are, float32 [batch, size]. */
  readonly y: Tensor
  /** The block's output, float32 [batch, …]. */
  readonly h: Tensor
  readonly parameters: Tensors
  readonly target: Target
}

/** A local learning rule: its own parameters (a head), and a loss that only this VNode sees. */
export interface RuleSpec<O extends Options> extends Located {
  /** Parameters of the rule for a block whose output has the given shape. */
  init(output: Shape, target: Target & { readonly classes: number }, random: Initializers, options: O): Tensors
  /** The VNode's own answer: float32 [batch, classes] or [batch, size]. Also used in evaluation and prediction. */
  logits(parameters: Tensors, h: Tensor, options: O): Tensor
  /** Scalar; differentiated with respect to the block's and the rule's parameters. */
  loss(values: RuleLoss, options: O): Tensor
  /** True: the whole network is one VNode, learning end to end (the twin that benchmarks compare with). */
  readonly endToEnd?: boolean
}

/** Samples by number; runs where the source runs. */
export interface DatasetSpec<O extends Options> extends Located {
  /** How many samples there are in each split. `test` may be absent. */
  size(options: O): Promise<{ train: number; test?: number }> | { train: number; test?: number }
  /** Sample `index` of a split: x has the network's input shape, row-major; label a class index or `size` numbers. Pure: the same index, the same sample. */
  at(
    index: number,
    split: 'train' | 'test',
    options: O,
  ): { x: ArrayLike<number>; label: number | ArrayLike<number> } | Promise<{ x: ArrayLike<number>; label: number | ArrayLike<number> }>
}

/** A call of a definition, as plain data. */
export interface Call<Kind extends string = string> {
  readonly kind: Kind
  readonly name: string
  /** File URL of the user's module; absent for what swarmgrad brings along. */
  readonly module?: string
  readonly options: Options
}

/** A symbolic tensor while a network function is traced; it knows the graph that it belongs to. */
export interface Value {
  /** Adds a layer that reads `inputs` (of which this is the first) to the graph. */
  apply(layer: Layer, inputs: readonly Value[]): Value
}

/** A layer as people use it: a member of a list, or a function of symbolic tensors. */
export interface Layer {
  (x: Value, ...more: readonly Value[]): Value
  /** One call; or the several of a `block(…)`, applied one after another. */
  readonly calls: readonly Call<'block'>[]
  /** True: a VNode of its own (`block(…)`, `vnode(…)`). */
  readonly isVNode: boolean
}

/** Makes a layer of calls. */
export function layerOf(calls: readonly Call<'block'>[], isVNode = false): Layer {
  const layer = (x: Value, ...more: readonly Value[]): Value => x.apply(layer, [x, ...more])
  layer.calls = calls
  layer.isVNode = isVNode
  return layer
}

/** A call of a layer that swarmgrad brings along: `dense`, `flatten` … */
export function builtInLayer(name: string, options: Options = {}): Layer {
  return layerOf([{ kind: 'block', name, options }])
}

/** A spec that swarmgrad brings along: found by name instead of by module. */
export type BuiltIn<Spec> = Omit<Spec, 'module'>

const DEFINITION = Symbol.for('swarmgrad.definition')

/** The spec behind an export of a module, if it is a definition of that kind. */
export function specOf(value: unknown, kind: 'block' | 'rule' | 'dataset'): Located | undefined {
  const definition = typeof value === 'function' ? (value as { [DEFINITION]?: { kind: string; spec: Located } })[DEFINITION] : undefined
  return definition?.kind === kind ? definition.spec : undefined
}

/** Defines a block of one's own; export the result from `module`. @throws `definition.invalid` */
export function defineBlock<O extends Options = Options>(spec: BlockSpec<O>): (options?: O) => Layer {
  return mark('block', spec, (options?: O) => layerOf([{ kind: 'block', name: spec.name, module: spec.module, options: options ?? {} }]))
}

/** Defines a learning rule of one's own; export the result from `module`. @throws `definition.invalid` */
export function defineRule<O extends Options = Options>(spec: RuleSpec<O>): (options?: O) => Call<'rule'> {
  return mark('rule', spec, (options?: O) => ({ kind: 'rule' as const, name: spec.name, module: spec.module, options: options ?? {} }))
}

function mark<Made extends (options?: never) => unknown>(kind: 'block' | 'rule' | 'dataset', spec: Located, made: Made): Made {
  return Object.assign(made, { [DEFINITION]: { kind, spec } })
}
