/**
 * Networks as people write them: layers in a list, or a function of symbolic tensors that is traced once. The result is a
 * plain graph of named layers; nothing is checked here but what only tracing can see (compile.ts does the rest).
 */
import { SwarmError } from '../runtime/errors.js'
import { builtInLayer, describe, layerOf } from './define.js'
import type { BlockSpec, BuiltIn, Call, Layer, Shape, Target, Value } from './define.js'
import { SOURCE } from './definition.js'

/** What goes in, and what is to be learned. */
export interface Task<T extends Target = Target> {
  /** Shape of one sample, without the batch dimension. */
  readonly input: Shape
  readonly target: T
}

/** One layer of a graph. */
export interface LayerNode {
  /** Unique in the network, `[A-Za-z0-9_-]{1,64}`: `dense-2`, or the user's own. */
  readonly name: string
  readonly call: Call<'block'>
  /** The layers that it reads, in order, or SOURCE. */
  readonly from: readonly string[]
  /** Layers with the same key are one VNode (`block(…)`, `vnode(…)`); without it compile.ts decides. */
  readonly vnode?: { readonly key: number; readonly name?: string }
  /** Where it was written, for errors: `net.yaml:7`. */
  readonly place?: string
}

/** A network before it is compiled: plain, immutable, in the order in which it was written. */
export interface Network<T extends Target = Target> {
  readonly input: Shape
  readonly target: T
  readonly layers: readonly LayerNode[]
  /** The layer that answers. */
  readonly output: string
}

/** One layer of a graph given as data; what is left out is as in a list: it reads the layer before, and is named by number. */
export interface GraphEntry {
  readonly layer: Layer
  readonly name?: string
  readonly from?: readonly string[]
  readonly place?: string
  /** Entries with the same key are one VNode. Default: what `layer` says. */
  readonly vnode?: { readonly key: number; readonly name?: string }
}

/** One of `classes` classes (2 or more); labels are class indices. @throws `definition.invalid` */
export function categorical(classes: number): { readonly kind: 'categorical'; readonly classes: number } {
  return Object.freeze({ kind: 'categorical', classes: integer('categorical(n)', classes, 2) })
}

/**
 * Which of `classes` tokens (2 or more) comes next, at each position of an input [tokens] of token numbers; labels are the tokens that do.
 * @throws `definition.invalid`
 */
export function tokens(classes: number): { readonly kind: 'tokens'; readonly classes: number } {
  return Object.freeze({ kind: 'tokens', classes: integer('tokens(n)', classes, 2) })
}

/** `size` real numbers (1 or more). @throws `definition.invalid` */
export function continuous(size: number): { readonly kind: 'continuous'; readonly size: number } {
  return Object.freeze({ kind: 'continuous', size: integer('continuous(n)', size, 1) })
}

/** Several layers, one after another, as one VNode. @throws `definition.invalid` */
export function block(...layers: readonly Layer[]): Layer {
  if (layers.length === 0) throw new SwarmError('definition.invalid', { what: 'block()', expected: 'one layer or more', got: 'none' })
  return layerOf(
    layers.flatMap((layer, i) => asLayer(layer, `layer ${i + 1} of block(…)`).calls),
    true,
  )
}

/** A layer as a VNode of its own, whether it has parameters or not. @throws `definition.invalid` */
export function vnode(layer: Layer): Layer {
  return layerOf(asLayer(layer, 'vnode(…)').calls, true)
}

/** The learning rule's head and loss as a VNode of their own; what it is given it passes on. */
export function head(): Layer {
  return vnode(builtInLayer('head'))
}

/** `head`: the identity. */
export const headSpec: BuiltIn<BlockSpec<{}>> = {
  name: 'head',
  shape: (input) => input,
  forward: (_parameters, x) => x.clone(),
  cost: () => 0,
}

/**
 * A network: its layers in a list, or a function that applies them to a symbolic tensor and returns the result.
 * @throws `definition.invalid`, `graph.dangling` (a value of another network)
 */
export function network<const T extends Task>(task: T, layers: readonly Layer[] | ((x: Value) => Value)): Network<T['target']> {
  checkTask(task)
  const graph = new Graph()
  const source = graph.value(SOURCE)
  const output = Array.isArray(layers)
    ? (layers as readonly unknown[]).reduce<Value>((x, layer, i) => asLayer(layer, `layer ${i + 1} of the network`)(x), source)
    : typeof layers === 'function'
      ? layers(source)
      : undefined
  if (output === undefined && typeof layers !== 'function') {
    throw new SwarmError('definition.invalid', { what: 'network(task, layers)', expected: 'a list or a function', got: describe(layers) })
  }
  const name = graph.nameOf(output)
  if (name === undefined) {
    const fix = 'Return the result of the last layer'
    throw new SwarmError('definition.invalid', { what: "the network's function", expected: 'a value', got: describe(output), fix })
  }
  return finish(task, graph.close(), name)
}

/**
 * A network from a graph given as data; entries may refer to later ones, so that cycles and unknown names are possible
 * until it is compiled. Its output is the last entry that nothing reads.
 * @throws `definition.invalid`
 */
export function networkOf<const T extends Task>(task: T, entries: readonly GraphEntry[]): Network<T['target']> {
  checkTask(task)
  const graph = new Graph(entries.flatMap(({ name, vnode }) => [name, vnode?.name]).filter((name) => name !== undefined))
  let previous = SOURCE
  for (const { layer, name, from, place, vnode } of entries) {
    previous = graph.add(asLayer(layer, name ? `'${name}'` : 'a layer'), from ?? [previous], { name, place, vnode })
  }
  const layers = resolveBlocks(graph.close())
  const read = new Set(layers.flatMap(({ from }) => from))
  return finish(task, layers, layers.findLast(({ name }) => !read.has(name))?.name ?? previous)
}

/** Who reads a block by its name reads its last layer. */
function resolveBlocks(layers: readonly LayerNode[]): readonly LayerNode[] {
  const ends = new Map(layers.flatMap(({ name, vnode }) => (vnode?.name === undefined ? [] : [[vnode.name, name]])))
  for (const { name } of layers) ends.delete(name)
  if (ends.size === 0) return layers
  return Object.freeze(
    layers.map((layer) => Object.freeze({ ...layer, from: Object.freeze(layer.from.map((name) => ends.get(name) ?? name)) })),
  )
}

/** True for what `network` returned; also if another copy of swarmgrad made it. */
export function isNetwork(value: unknown): value is Network {
  const { input, target, layers, output } = (value ?? {}) as Partial<Network>
  return Array.isArray(input) && typeof target === 'object' && Array.isArray(layers) && typeof output === 'string'
}

/** The graph while it grows; values know theirs. */
class Graph {
  readonly #layers: LayerNode[] = []
  readonly #taken: Set<string>
  readonly #counts = new Map<string, number>()
  readonly #names = new WeakMap<object, string>()
  #blocks = 0
  #closed = false

  /** @param named the names that users gave: numbered ones keep clear of them */
  constructor(named: readonly string[] = []) {
    this.#taken = new Set([SOURCE, ...named])
  }

  value(name: string): Value {
    const value: Value = Object.freeze({
      apply: (layer: Layer, inputs: readonly Value[]) => {
        const from = inputs.map((input, i) => this.nameOf(input) ?? this.#refuse(layer, input, i))
        return this.value(this.add(layer, from))
      },
    })
    this.#names.set(value, name)
    return value
  }

  nameOf(value: unknown): string | undefined {
    return typeof value === 'object' && value !== null ? this.#names.get(value) : undefined
  }

  /** Adds the calls of a layer, one after another; the name of the last. */
  add(layer: Layer, from: readonly string[], as: Omit<GraphEntry, 'layer' | 'from'> = {}): string {
    if (this.#closed) throw new SwarmError('graph.dangling', `layer '${layer.calls[0].name}' reads a value of a finished network`)
    const vnode = as.vnode ?? (layer.isVNode ? { key: --this.#blocks, ...(as.name && { name: as.name }) } : undefined)
    const single = layer.calls.length === 1 ? as.name : undefined
    let inputs = from
    for (const call of layer.calls) {
      const name = single ?? this.#number(call.name)
      const node = { name, call, from: Object.freeze([...inputs]), ...(vnode && { vnode }), ...(as.place && { place: as.place }) }
      this.#layers.push(Object.freeze(node))
      inputs = [name]
    }
    return inputs[0]
  }

  close(): readonly LayerNode[] {
    this.#closed = true
    return Object.freeze(this.#layers)
  }

  #number(name: string): string {
    const count = (this.#counts.get(name) ?? 0) + 1
    this.#counts.set(name, count)
    const numbered = `${name}-${count}`
    return this.#taken.has(numbered) ? this.#number(name) : numbered
  }

  #refuse(layer: Layer, input: unknown, i: number): never {
    const where = `input ${i + 1} of layer '${layer.calls[0].name}'`
    if (typeof (input as Value | undefined)?.apply === 'function' && typeof input === 'object') {
      throw new SwarmError('graph.dangling', `${where} is a value of another network`)
    }
    throw new SwarmError('definition.invalid', { what: where, expected: 'a value', got: describe(input) })
  }
}

function finish<T extends Task>(task: T, layers: readonly LayerNode[], output: string): Network<T['target']> {
  if (layers.length === 0) {
    throw new SwarmError('definition.invalid', { what: 'the network', expected: 'one layer or more', got: 'none' })
  }
  const input = Object.freeze([...task.input])
  return Object.freeze({ input, target: Object.freeze({ ...task.target }), layers, output })
}

function checkTask(task: Task): void {
  const refuse = (what: string, expected: string, got: unknown) =>
    new SwarmError('definition.invalid', { what: `the task's ${what}`, expected, got: describe(got) })
  const { input, target } = (task ?? {}) as Partial<Task>
  if (!isShape(input) || input.length === 0) throw refuse("'input'", 'a shape such as [28, 28, 1]', input)
  if (target?.kind === 'categorical') categorical(target.classes)
  else if (target?.kind === 'continuous') continuous(target.size)
  else if (target?.kind !== 'tokens') throw refuse("'target'", 'categorical(n), tokens(n) or continuous(n)', target)
  else if (tokens(target.classes) && input.length !== 1) throw refuse("'input' for tokens(n)", 'one number, of tokens: [64]', input)
}

/** True for a list of integers ≥ 1. */
export function isShape(value: unknown): value is Shape {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 1)
}

function asLayer(value: unknown, where: string): Layer {
  const layer = value as Layer
  if (typeof value === 'function' && Array.isArray(layer.calls) && layer.calls.length > 0) return layer
  const fix = typeof value === 'function' ? 'Call it to make the layer: dense(10)' : undefined
  throw new SwarmError('definition.invalid', { what: where, expected: 'a layer', got: describe(value), fix })
}

function integer(what: string, value: number, minimum: number): number {
  if (Number.isSafeInteger(value) && value >= minimum) return value
  throw new SwarmError('definition.invalid', { what, expected: `an integer ≥ ${minimum}`, got: describe(value) })
}
