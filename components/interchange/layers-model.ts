/**
 * A network's answer as a LayersModel of TensorFlow.js: `model.json`, the topology and where each weight is, and `weights.bin`. It computes what
 * `predict` does, of inputs that are normalised already. Golden bytes are in test/components/layers-model.test.ts.
 */
import { SwarmError } from '../../runtime/errors.js'
import type { Json } from '../../runtime/actor-system/actor-system.js'
import type { StateTensor } from '../../runtime/state.js'
import { type DefinitionRef, type LayerDefinition, type NetworkDefinition, SOURCE, type VNodeDefinition } from '../definition.js'
import type { Shape } from '../define.js'
import { isOfClasses, widthOf } from '../targets.js'
import { builtInRules } from '../rules/index.js'
import { headLogits } from '../rules/pred.js'
import { poolWindow } from '../rules/features.js'
import { type KerasLayer, kerasLayerOf } from './keras-layers.js'
import { WEIGHTS_VERSION, type WeightsOrigin } from './weights.js'

/** Files of a model. */
export interface LayersModel {
  readonly json: string
  /** Of the file that `json` names `weights.bin`, in pieces to be written one after another. */
  readonly weights: readonly Uint8Array[]
}

export interface LayersModelOptions {
  readonly network: NetworkDefinition
  readonly rule: DefinitionRef
  /** By `<vnode>/…`, as `Weights` has them. */
  readonly tensors: ReadonlyMap<string, StateTensor>
  readonly origin: WeightsOrigin
  /** What people have to know of its inputs and answers: normalisation, names of classes. */
  readonly about: { readonly [name: string]: Json }
}

/** What TensorFlow.js writes itself. */
const KERAS_VERSION = 'tfjs-layers 4.22.0'
/** Names that TensorFlow.js takes. */
const KERAS_NAME = /^[A-Za-z0-9]/

/** The model's files. @throws `export.unsupported` naming the layer or the rule */
export function layersModelOf({ network, rule, tensors, origin, about }: LayersModelOptions): LayersModel {
  const graph = new KerasGraph(network)
  const outputs = new Map([[SOURCE, graph.input(network.input)]])
  let answer = ''
  for (const vnode of network.vnodes) {
    const within: string[] = []
    for (const layer of vnode.layers) {
      const from = layer.inputs.map((input) => (input < 0 ? outputs.get(vnode.inputs[-1 - input])! : within[input]))
      within.push(graph.add(graph.nameOf(layer), kerasLayerOf(layer), { vnode: vnode.id, from }))
    }
    outputs.set(vnode.id, within[within.length - 1])
    if (vnode.id === network.output) answer = addHead(graph, vnode, rule, { network, from: within[within.length - 1] })
  }
  const weights = graph.weights.map(([name, own]) => ({ name, tensor: tensors.get(own)! }))
  const json = {
    format: 'layers-model',
    generatedBy: `swarmgrad ${origin.version}`,
    convertedBy: null,
    modelTopology: {
      class_name: 'Model',
      config: {
        name: 'swarmgrad',
        layers: graph.layers,
        input_layers: [[outputs.get(SOURCE), 0, 0]],
        output_layers: [[answer, 0, 0]],
      },
      keras_version: KERAS_VERSION,
      backend: 'tensor_flow.js',
    },
    weightsManifest: [{ paths: ['weights.bin'], weights: weights.map(({ name, tensor: { shape, dtype } }) => ({ name, shape, dtype })) }],
    userDefinedMetadata: {
      swarmgrad: { format: WEIGHTS_VERSION, ...origin, tensors: Object.fromEntries(graph.weights), ...about },
    },
  }
  const pieces = weights.map(({ tensor: { values } }) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  return { json: `${JSON.stringify(json)}\n`, weights: pieces }
}

/** Rules that come along and whose answer is that. */
const LINEAR = Object.keys(builtInRules).filter((name) => hasLinearHead({ name, options: {} }))

/** True for rules whose answer is a linear layer on (pooled) features, `head` and `bias`. */
export function hasLinearHead({ name, bundle }: DefinitionRef): boolean {
  return bundle === undefined && Object.hasOwn(builtInRules, name) && builtInRules[name].logits === headLogits
}

/** What the rule's `logits` computes, and the softmax behind it; the name of the last layer. */
function addHead(
  graph: KerasGraph,
  { id, outputShape }: VNodeDefinition,
  rule: DefinitionRef,
  { network: { target }, from }: { readonly network: NetworkDefinition; readonly from: string },
): string {
  if (!hasLinearHead(rule)) {
    throw new SwarmError('export.unsupported', {
      what: `a LayersModel has nothing like the head of rule '${rule.name}'`,
      expected: `one of ${LINEAR.join(', ')}`,
      got: rule.bundle === undefined ? `'${rule.name}', whose head has more` : 'a rule of your own',
      fix: 'Export it with --format safetensors, which takes every network',
    })
  }
  let last = from
  const append = (name: string, className: string, config: KerasLayer['config'], weights: KerasLayer['weights'] = []) => {
    last = graph.add(graph.unique(`${id}-${name}`), { className, config, weights }, { vnode: id, from: [last] })
  }
  const window = outputShape.length === 3 ? poolWindow(outputShape) : 1
  const size = [window, window]
  if (window > 1) append('pool', 'AveragePooling2D', { pool_size: size, strides: size, padding: 'valid', data_format: 'channels_last' })
  if (outputShape.length > 1) append('features', 'Flatten', {})
  const activation = isOfClasses(target) ? 'softmax' : 'linear'
  append('head', 'Dense', { units: widthOf(target), activation, use_bias: true }, [
    ['kernel', 'head/head'],
    ['bias', 'head/bias'],
  ])
  return last
}

/** The layers of a functional model while it grows. */
class KerasGraph {
  readonly layers: {
    readonly name: string
    readonly class_name: string
    readonly config: object
    readonly inbound_nodes: readonly unknown[]
  }[] = []
  /** Each weight, and `<vnode>/…` of the tensor that it is. */
  readonly weights: (readonly [keras: string, own: string])[] = []
  readonly #names = new Map<string, string>()
  readonly #taken: Set<string>

  constructor({ vnodes }: NetworkDefinition) {
    const ids = vnodes.flatMap(({ layers }) => layers.map(({ id }) => id))
    this.#taken = new Set(ids.filter((id) => KERAS_NAME.test(id)))
    for (const id of ids) this.#names.set(id, KERAS_NAME.test(id) ? id : this.unique(`layer${id}`))
  }

  nameOf({ id }: LayerDefinition): string {
    return this.#names.get(id)!
  }

  /** A name that no layer has. */
  unique(wanted: string): string {
    let name = KERAS_NAME.test(wanted) ? wanted : `layer${wanted}`
    while (this.#taken.has(name)) name += '_'
    this.#taken.add(name)
    return name
  }

  input(shape: Shape): string {
    const name = this.unique('input')
    const config = { batch_input_shape: [null, ...shape], dtype: 'float32', sparse: false, name }
    this.layers.push({ name, class_name: 'InputLayer', config, inbound_nodes: [] })
    return name
  }

  /** Adds a layer that reads those named in `from`; its name. */
  add(name: string, layer: KerasLayer, { vnode, from }: { readonly vnode: string; readonly from: readonly string[] }): string {
    const config = { name, trainable: true, dtype: 'float32', ...layer.config }
    this.layers.push({ name, class_name: layer.className, config, inbound_nodes: [from.map((input) => [input, 0, 0, {}])] })
    for (const [keras, own] of layer.weights) this.weights.push([`${name}/${keras}`, `${vnode}/${own}`])
    return name
  }
}
