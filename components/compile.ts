/** From a network as written to the definition that is stored with the run: checked, shapes inferred, cut into VNodes. */
import type { Tensor } from '@tensorflow/tfjs-core'
import { isSwarmError, SwarmError } from '../runtime/errors.js'
import { describe } from './define.js'
import type { BlockSpec, BuiltIn, Initializers, Options, RuleFeedback, Shape } from './define.js'
import { DEFINITION_VERSION, END_TO_END, SOURCE } from './definition.js'
import type { LayerDefinition, NetworkDefinition, VNodeDefinition } from './definition.js'
import { cut } from './cut.js'
import { withFeedback } from './feedback.js'
import type { Group, ResolvedLayer } from './cut.js'
import { sortGraph } from './graph.js'
import { headSpec, isShape } from './network.js'
import type { LayerNode, Network } from './network.js'
import { resolve } from './resolve.js'
import type { BundleHashes, Specs } from './resolve.js'

export interface CompileOptions {
  /** What swarmgrad brings along (`builtInLayers`). Users' own are found by their calls. */
  readonly layers: Specs<BuiltIn<BlockSpec<any>>>
  /** The bundles of users' modules (`bundleModules(modulesOf(network))`). */
  readonly bundles?: BundleHashes
  /** What the rule sends against the graph. Default: nothing. */
  readonly feedback?: RuleFeedback
  /** One VNode with the whole graph as its program, for rules that learn end to end. Default false. */
  readonly endToEnd?: boolean
  /**
   * Makes real tensors (`tf.zeros`) for an `init` that computes with what it draws; the caller wraps `compile` in `tf.tidy`.
   * Default: such an `init` is refused.
   */
  readonly zeros?: (shape: Shape) => Tensor
}

/**
 * Compiles a network; pure: the same network, the same definition. tfjs is not loaded.
 * @throws `graph.cycle`, `graph.dangling`, `graph.shape`, `graph.unknown`, `definition.invalid`, each with the layer's name
 */
export function compile(network: Network, options: CompileOptions): NetworkDefinition {
  const sorted = sortGraph(network)
  const layers = new Map<string, ResolvedLayer>()
  for (const node of sorted) layers.set(node.name, inferLayer(node, network, layers, options))
  const all = [...layers.values()]
  const groups = options.endToEnd ? [{ id: END_TO_END, members: all }] : cut(all)
  const local = groups.map((group) => toVNode(group, groups, network))
  const output = groups.find(({ members }) => members.some(({ node }) => node.name === network.output))?.id ?? ''
  const vnodes = options.feedback ? withFeedback(local, output, options.feedback) : local
  return { v: DEFINITION_VERSION, input: network.input, target: network.target, vnodes, output }
}

/** The files of users' modules that a network's layers come from. */
export function modulesOf(network: Network): string[] {
  return [...new Set(network.layers.flatMap(({ call }) => call.module ?? []))].sort()
}

function inferLayer(node: LayerNode, network: Network, before: ReadonlyMap<string, ResolvedLayer>, options: CompileOptions): ResolvedLayer {
  const where = placeOf(node)
  const { spec, ref } = resolve<BuiltIn<BlockSpec<any>>>(node.call, { head: headSpec, ...options.layers }, options.bundles, where)
  const inputShapes = node.from.map((name) => (name === SOURCE ? network.input : before.get(name)!.outputShape))
  const [wanted, fits] = spec.arity === 'many' ? ['2 or more', inputShapes.length > 1] : ['1', inputShapes.length === 1]
  if (!fits) throw new SwarmError('graph.shape', { what: 'wrong number of inputs', where, expected: wanted, got: inputShapes.length })
  const outputShape = inferShape(spec, ref.options, inputShapes, where)
  const parameters = countParameters(spec, ref.options, inputShapes[0], where, options.zeros)
  const cost = spec.cost ? spec.cost(inputShapes[0], ref.options) : parameters
  if (!Number.isFinite(cost) || cost < 0) {
    throw new SwarmError('definition.invalid', { what: `cost of '${ref.name}'`, where, expected: 'a number ≥ 0', got: describe(cost) })
  }
  return { node, spec, ref, inputShapes, outputShape, parameters, cost }
}

function inferShape(spec: BuiltIn<BlockSpec<any>>, options: Options, inputs: readonly Shape[], where: string): Shape {
  const got = inputs.map((shape) => describe(shape)).join(' and ')
  let shape: Shape
  try {
    shape = spec.shape(inputs[0], options, inputs)
  } catch (error) {
    if (isSwarmError(error, 'graph.shape')) {
      throw new SwarmError('graph.shape', { what: `layer ${where}: ${error.message}`, cause: error })
    }
    const message = error instanceof Error ? error.message : String(error)
    throw new SwarmError('graph.shape', { what: `layer ${where} cannot take its input: ${message}`, got, cause: error })
  }
  if (isShape(shape) && shape.length > 0) return Object.freeze([...shape])
  const what = `layer ${where} makes a shape that cannot be from ${got}`
  throw new SwarmError('graph.shape', { what, expected: 'a list of integers ≥ 1', got: describe(shape) })
}

/** The size of what `init` would make, without making it. */
function countParameters(
  spec: BuiltIn<BlockSpec<any>>,
  options: Options,
  input: Shape,
  where: string,
  zeros: CompileOptions['zeros'],
): number {
  if (!spec.init) return 0
  const attempt = (make: (shape: Shape) => Tensor) =>
    Object.entries(spec.init!(input, options, initializersOf(make, where))).reduce((sum, [name, tensor]) => {
      if (/^[A-Za-z0-9_]+$/.test(name) && isShape(tensor?.shape)) return sum + tensor.shape.reduce((a, b) => a * b, 1)
      const expected = 'tensors under names of letters, digits and _'
      throw new SwarmError('definition.invalid', { what: `init of '${spec.name}'`, where, expected, got: `'${name}'` })
    }, 0)
  try {
    try {
      return attempt((shape) => ({ shape, size: shape.reduce((a, b) => a * b, 1), dtype: 'float32' }) as unknown as Tensor)
    } catch (error) {
      if (!zeros || isSwarmError(error)) throw error
      return attempt(zeros)
    }
  } catch (error) {
    if (isSwarmError(error)) throw error
    const message = error instanceof Error ? error.message : String(error)
    throw new SwarmError('definition.threw', { what: `init of layer ${where} threw: ${message}`, cause: error })
  }
}

function initializersOf(make: (shape: Shape) => Tensor, where: string): Initializers {
  const checked = (shape: Shape) => {
    if (isShape(shape)) return make(shape)
    const expected = 'integers ≥ 1'
    throw new SwarmError('graph.shape', { what: `init of layer ${where} asks for a tensor`, expected, got: describe(shape) })
  }
  return { glorot: checked, he: checked, normal: checked, uniform: checked, zeros: checked, ones: checked }
}

function toVNode({ id, members }: Group, groups: readonly Group[], network: Network): VNodeDefinition {
  const own = new Map(members.map(({ node }, i) => [node.name, i]))
  const last = members[members.length - 1]
  const inputs: string[] = []
  const inputShapes: Shape[] = []
  const inputNumber = (name: string, shape: Shape): number => {
    const producer = name === SOURCE ? SOURCE : groups.find((group) => group.members.some(({ node }) => node.name === name))!.id
    let number = inputs.indexOf(producer)
    if (number < 0) {
      number = inputs.push(producer) - 1
      inputShapes.push(shape)
    }
    return number
  }
  const layers = members.map(({ node, ref, inputShapes, outputShape }): LayerDefinition => {
    const from = node.from.map((name, i) => own.get(name) ?? -1 - inputNumber(name, inputShapes[i]))
    return { id: node.name, layer: ref, inputs: from, inputShapes, outputShape }
  })
  const parameters = members.reduce((sum, layer) => sum + layer.parameters, 0)
  const hasHead = parameters > 0 || own.has(network.output) || members.some(({ ref }) => ref.name === 'head' && !ref.bundle)
  const cost = members.reduce((sum, layer) => sum + layer.cost, 0)
  return { id, inputs, inputShapes, outputShape: last.outputShape, layers, hasHead, parameters, cost }
}

/** A layer's name, and where it was written if that is known. */
function placeOf({ name, place }: LayerNode): string {
  return place ? `'${name}', ${place}` : `'${name}'`
}
