/**
 * What a network is made of, as data: definitions (code, found by module and name) and calls of them (plain JSON).
 * Nothing here needs tfjs at run time, so that a definition can be compiled and checked without loading it.
 */
import type { Tensor } from '@tensorflow/tfjs-core'
import type { Json } from '../runtime/actor-system/actor-system.js'
import type { RandomStream } from '../runtime/random.js'
import { SwarmError } from '../runtime/errors.js'

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
  /** At each position of the input, which of `classes` ≥ 2 tokens comes next; labels int32 [batch, tokens]. */
  | { readonly kind: 'tokens'; readonly classes: number }
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
export interface Located {
  /** `import.meta.url` of the module that exports the definition: how workers and hosts find it. */
  readonly module: string
  /** Name of the definition, unique within its module: `[A-Za-z0-9_-]{1,48}`. */
  readonly name: string
  /** The option that YAML's short form sets: `units` for `dense: 256`. Default: there is no short form. */
  readonly positional?: string
}

/** How a definition reads its options. */
interface Configured<O extends Options> {
  /** Fills in the defaults, checks ranges: `forward`, `logits` and `loss` get what it returns. Default: as they are. @throws `definition.invalid` */
  options?(raw: Options): O
}

/** A layer with parameters and gradients by the tape. `D` receives one input unless `merges` says otherwise. */
export interface BlockSpec<O extends Options> extends Located, Configured<O> {
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
  /** What `logits` gave: float32 [batch, classes], [batch × tokens, classes] or [batch, size]. */
  readonly logits: Tensor
  /** One-hot float32 [batch, classes] or [batch × tokens, classes], or the labels as they are, float32 [batch, size]. */
  readonly y: Tensor
  /** The block's output, float32 [batch, …]. */
  readonly h: Tensor
  readonly parameters: Tensors
  readonly target: Target
}

/** What a rule's own step works on. */
export interface RuleStep {
  /** What the block reads, float32 [batch, …] each; one unless it joins several. */
  readonly xs: readonly Tensor[]
  /** Runs the block in training mode: float32 [batch, …], what travels on. To be called exactly once; differentiable by tfjs. */
  readonly forward: () => Tensor
  /** One-hot float32 [batch, classes] or [batch × tokens, classes], or the labels as they are, float32 [batch, size]. */
  readonly y: Tensor
  /** The rule's own, as `init` named them. */
  readonly head: Tensors
  /** All that learns: the block's as `layers/<layer>/<name>`, the rule's as `head/<name>`. */
  readonly parameters: Tensors
  readonly target: Target
  /** The run's step, from 1. */
  readonly step: number
}

/** What a rule's own step found. */
export interface RuleStepResult {
  /** Scalar; shown to people, and the run stops if it is not finite. */
  readonly loss: Tensor
  /** What the optimizer takes for derivatives: by the names of `parameters`, each of its parameter's shape. What is not named stays as it is. */
  readonly gradients: Tensors
  /** As `logits` gives them, if they are at hand. Default: `logits` is asked, before the update. */
  readonly logits?: Tensor
}

/** What a rule sends against the graph, as the step log's frames: part of the run's log, and of its hash. */
export type RuleFeedback =
  /**
   * Derivatives of the loss by outputs: only the output VNode has a head and a loss, all others learn from what comes back. At most `window` ≥ 1
   * batches are under way at a time; with more than one, derivatives are of weights that have moved on meanwhile.
   */
  | { readonly of: 'gradients'; readonly window: number }
  /**
   * One parameter of the output VNode's head, by the name that `init` gives it: the other VNodes have it, too, but do not learn it. At step s
   * they use it as it was after step max(0, n·⌊(s−1)/n⌋ − n), n = `everySteps` ≥ 1.
   */
  | { readonly of: 'head'; readonly parameter: string; readonly everySteps: number }

/** A local learning rule: its own parameters (a head), and a loss that only this VNode sees. */
export interface RuleSpec<O extends Options> extends Located, Configured<O> {
  /** Parameters of the rule for a block whose output has the given shape. */
  init(output: Shape, target: Target & { readonly classes: number }, random: Initializers, options: O): Tensors
  /** The VNode's own answer: float32 [batch, classes], [batch × tokens, classes] or [batch, size]. Also used in evaluation and prediction. Differentiable by tfjs unless there is a `step`. */
  logits(parameters: Tensors, h: Tensor, options: O, target: Target & { readonly classes: number }): Tensor
  /** Scalar; differentiated with respect to the block's and the rule's parameters. With a `step` of its own it only judges in evaluation. */
  loss(values: RuleLoss, options: O): Tensor
  /**
   * A training step in place of the tape: for derivatives by hand, or for rules that are no derivative at all. Runs inside `tf.tidy`.
   * Neither a clock nor unseeded chance: the same arguments, the same bits.
   */
  step?(values: RuleStep, options: O): RuleStepResult
  /** What goes against the graph. Default: nothing, the rule is local. */
  feedback?(options: O): RuleFeedback
  /** True: the whole network is one VNode, learning end to end (the twin that benchmarks compare with). */
  readonly endToEnd?: boolean
}

/** Samples by number; runs where the source runs. */
export interface DatasetSpec<O extends Options> extends Located, Configured<O> {
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
const NAME = /^[A-Za-z0-9_-]{1,48}$/

/** The specs behind calls of users' definitions, so that a network can be compiled where it was written. */
const specs = new WeakMap<object, Located>()

/** The spec behind an export of a module, if it is a definition of that kind. */
export function specOf(value: unknown, kind: 'block' | 'rule' | 'dataset'): Located | undefined {
  const definition = typeof value === 'function' ? (value as { [DEFINITION]?: { kind: string; spec: Located } })[DEFINITION] : undefined
  return definition?.kind === kind ? definition.spec : undefined
}

/** The spec that a call of a user's definition was made from, in this thread; undefined for a copy or what swarmgrad brings along. */
export function specOfCall(call: Call): Located | undefined {
  return specs.get(call)
}

/** What makes calls of a definition: its options may be left out only if none is required. */
export type Maker<O extends Options, Made> = (...options: Partial<O> extends O ? [options?: O] : [options: O]) => Made

/** Defines a block of one's own; export the result from `module`. @throws `definition.invalid` */
export function defineBlock<O extends Options = Options>(spec: BlockSpec<O>): Maker<O, Layer> {
  return mark('block', spec, ['shape', 'forward'], (call) => layerOf([call]))
}

/** Defines a learning rule of one's own; export the result from `module`. @throws `definition.invalid` */
export function defineRule<O extends Options = Options>(spec: RuleSpec<O>): Maker<O, Call<'rule'>> {
  return mark('rule', spec, ['init', 'logits', 'loss', ...(spec?.step === undefined ? [] : ['step'])], (call) => call)
}

/** How a data set is named where it is defined: by `id`, or `name` as everything else. */
type Identified = { readonly id: string; readonly name?: string } | { readonly name: string; readonly id?: string }

/**
 * Defines a data set of one's own; export the result from `module`. The result is the call without options, and a function
 * that makes calls with options. @throws `definition.invalid`
 */
export function defineDataset<O extends Options = Options>(
  spec: Omit<DatasetSpec<O>, 'name'> & Identified,
): Maker<O, Call<'dataset'>> & Call<'dataset'> {
  const named = { ...spec, name: (spec?.name ?? spec?.id) as string }
  const maker = mark<O, 'dataset', Call<'dataset'>>('dataset', named, ['size', 'at'], (call) => call)
  const fields = { kind: 'dataset' as const, name: named.name, module: named.module, options: {} }
  for (const [key, value] of Object.entries(fields)) Object.defineProperty(maker, key, { value, enumerable: true })
  specs.set(maker, named)
  return maker as unknown as Maker<O, Call<'dataset'>> & Call<'dataset'>
}

function mark<O extends Options, Kind extends 'block' | 'rule' | 'dataset', Made>(
  kind: Kind,
  spec: Located,
  functions: readonly string[],
  made: (call: Call<Kind>) => Made,
): Maker<O, Made> {
  validate(kind, spec, functions)
  const maker = (options?: O): Made => {
    const call = { kind, name: spec.name, module: spec.module, options: options ?? {} }
    specs.set(call, spec)
    return made(call)
  }
  return Object.assign(maker as Maker<O, Made>, { [DEFINITION]: { kind, spec } })
}

function validate(kind: string, spec: Located, functions: readonly string[]): void {
  const define = `define${kind[0].toUpperCase()}${kind.slice(1)}`
  const refuse = (what: string, expected: string, got: unknown) =>
    new SwarmError('definition.invalid', { what: `${define}: ${what}`, expected, got: describe(got) })
  if (typeof spec !== 'object' || spec === null) throw refuse('no definition', 'an object', spec)
  if (typeof spec.name !== 'string' || !NAME.test(spec.name)) {
    throw refuse(kind === 'dataset' ? "'id'" : "'name'", '1 to 48 letters, digits, - or _', spec.name)
  }
  if (typeof spec.module !== 'string' || !spec.module.startsWith('file:')) {
    throw refuse(`'module' of '${spec.name}'`, 'import.meta.url of the file that exports it', spec.module)
  }
  for (const name of functions) {
    const value = (spec as unknown as Record<string, unknown>)[name]
    if (typeof value !== 'function') throw refuse(`'${name}' of '${spec.name}'`, 'a function', value)
  }
}

/** A value in a few words, for the `got` of errors. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return value.length > 60 ? `'${value.slice(0, 57)}…'` : `'${value}'`
  if (typeof value === 'function') return 'a function'
  if (value === null || typeof value !== 'object') return value === undefined ? 'nothing' : `${value as number | boolean | null}`
  if (Array.isArray(value)) {
    return value.length <= 8 && value.every((item) => typeof item !== 'object') ? `[${value.join(', ')}]` : `a list of ${value.length}`
  }
  if (value instanceof Promise) return 'a Promise'
  const keys = Object.keys(value)
  return keys.length === 0 ? 'an empty object' : `an object with ${keys.slice(0, 5).join(', ')}${keys.length > 5 ? ' …' : ''}`
}
