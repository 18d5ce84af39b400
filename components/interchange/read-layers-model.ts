/** Reads the weights of a LayersModel: of our own by the names that they were exported under, of somebody else's by the order of the layers. */
import { z } from 'zod'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import type { StateTensor } from '../../runtime/state.js'
import { describe } from '../define.js'
import type { DefinitionRef, NetworkDefinition } from '../definition.js'
import { sizeOf } from '../shapes.js'
import { type KerasLayer, kerasLayerOf } from './keras-layers.js'
import { hasLinearHead } from './layers-model.js'
import { checkVersion, damaged, type Weights } from './weights.js'

const size = z.int().min(0)
/** Of `model.json` what we read; whoever wrote it may have put more there. */
const group = z.looseObject({
  paths: z.array(z.string()),
  weights: z.array(
    z.looseObject({
      name: z.string(),
      shape: z.array(size),
      dtype: z.string(),
      quantization: z.unknown().optional(),
      group: z.string().optional(),
    }),
  ),
})
const layer = z.looseObject({
  name: z.string().optional(),
  class_name: z.string(),
  config: z.looseObject({ name: z.string().optional() }).optional(),
})
const topology = z.looseObject({ config: z.union([z.array(layer), z.looseObject({ layers: z.array(layer) })]) })
const metadata = z.looseObject({
  format: z.unknown(),
  version: z.string(),
  run: z.string(),
  step: size,
  network: z.string(),
  rule: z.string(),
  tensors: z.record(z.string(), z.string()),
})
const model = z.looseObject({
  modelTopology: z.union([topology, z.looseObject({ model_config: topology })]),
  weightsManifest: z.array(group),
  userDefinedMetadata: z.looseObject({ swarmgrad: metadata.optional() }).nullish(),
})
type ModelJson = z.infer<typeof model>
type TopologyLayer = z.infer<typeof layer>

/** What the weights are for. */
export interface Receiver {
  readonly network: NetworkDefinition
  readonly rule: DefinitionRef
}

export interface ReadOptions extends Receiver {
  /** Path of `model.json`, for errors. */
  readonly where: string
  /** The bytes of a file beside `model.json`. */
  readonly read: (path: string) => Promise<Uint8Array>
}

/**
 * The weights in a `model.json` and the files that it names.
 * @throws `weights.damaged`, `weights.version`, `weights.mismatch`, what `read` throws
 */
export async function readLayersModel(text: string, { where, read, ...receiver }: ReadOptions): Promise<Weights> {
  const { modelTopology, weightsManifest, userDefinedMetadata } = parse(text, where)
  const named = new Map<string, StateTensor>()
  for (const each of weightsManifest) for (const tensor of await readGroup(each, where, read)) named.set(tensor.name, tensor)
  const own = userDefinedMetadata?.swarmgrad
  if (!own) return { tensors: byOrder(layersOf(modelTopology), named, receiver, where), isAnswerOnly: true }
  const { version, run, step, network, rule } = own
  const tensors = new Map<string, StateTensor>()
  for (const [keras, name] of Object.entries(own.tensors)) {
    const tensor = named.get(keras)
    if (tensor) tensors.set(name, { ...tensor, name })
  }
  return { tensors, origin: { version, run, step, network, rule }, isAnswerOnly: true }
}

function parse(text: string, where: string): ModelJson {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw damaged(where, 'no JSON', cause)
  }
  const { format, userDefinedMetadata } = (json ?? {}) as { readonly [key: string]: unknown }
  if (typeof json !== 'object' || (format !== undefined && format !== 'layers-model')) {
    const got = typeof format === 'string' ? `format '${format}'` : describe(json)
    const fix = 'Export it with swarmgrad, or save it with model.save() of TensorFlow.js; a graph model has no layers any more'
    throw new SwarmError('weights.mismatch', {
      what: 'not a LayersModel',
      where,
      expected: "a model.json of format 'layers-model'",
      got,
      fix,
    })
  }
  // Another version may look otherwise.
  const own = (userDefinedMetadata as { readonly swarmgrad?: { readonly format?: unknown; readonly version?: unknown } } | undefined)
    ?.swarmgrad
  if (own) checkVersion(own.format, where, own.version)
  const checked = model.safeParse(json)
  if (checked.success) return checked.data
  const [{ path, message }] = checked.error.issues
  throw damaged(where, `'${path.join('.')}' of a LayersModel: ${message}`)
}

async function readGroup({ paths, weights }: z.infer<typeof group>, where: string, read: ReadOptions['read']): Promise<StateTensor[]> {
  const bytes = new Uint8Array(Buffer.concat(await Promise.all(paths.map((path) => read(path)))))
  const tensors: StateTensor[] = []
  let at = 0
  for (const { name, shape, dtype, quantization, group: part } of weights) {
    if (quantization || (dtype !== 'float32' && dtype !== 'int32')) {
      const fix = 'Save it in full, without quantization'
      const got = quantization ? 'quantized elements' : dtype
      throw new SwarmError('weights.mismatch', { what: `elements of tensor '${name}'`, where, expected: 'float32 or int32', got, fix })
    }
    const end = at + 4 * sizeOf(shape)
    if (end > bytes.byteLength) throw damaged(where, `tensor '${name}' is cut short`)
    const { buffer } = bytes.slice(at, end)
    at = end
    // What model.save() keeps of its optimizer is of no use here.
    if (part === 'optimizer') continue
    tensors.push({ name, dtype, shape, values: dtype === 'float32' ? new Float32Array(buffer) : new Int32Array(buffer) })
  }
  if (at !== bytes.byteLength) throw damaged(where, `${bytes.byteLength - at} bytes that belong to no tensor`)
  return tensors
}

/** The layers of a model, whoever wrote it: TensorFlow.js, or a converter from Python. */
function layersOf(given: ModelJson['modelTopology']): readonly TopologyLayer[] {
  const { config } = (given.model_config ?? given) as z.infer<typeof topology>
  return Array.isArray(config) ? config : config.layers
}

/** A layer of the file that has weights. */
interface Weighted {
  readonly name: string
  readonly className: string
  /** By Keras' names. */
  readonly tensors: ReadonlyMap<string, StateTensor>
}

/** Layer by layer: the first with weights of the file is the first with weights of the network, and so on; a Dense more is the head. */
function byOrder(
  layers: readonly TopologyLayer[],
  named: ReadonlyMap<string, StateTensor>,
  { network, rule }: Receiver,
  where: string,
): Map<string, StateTensor> {
  const given = layers.map((layer) => weightedOf(layer, named)).filter(({ tensors }) => tensors.size > 0)
  const wanted = network.vnodes.flatMap((vnode) =>
    vnode.layers.flatMap((layer) => {
      const { className, weights } = kerasOf(layer, where)
      return weights.length > 0
        ? [{ id: layer.id, className, weights: weights.map(([keras, own]) => [keras, `${vnode.id}/${own}`] as const) }]
        : []
    }),
  )
  if (hasLinearHead(rule) && given.length === wanted.length + 1) {
    const weights = [['kernel', `${network.output}/head/head`] as const, ['bias', `${network.output}/head/bias`] as const]
    wanted.push({ id: `head of ${network.output}`, className: 'Dense', weights })
  }
  const show = (all: readonly { readonly className: string }[]): string => all.map(({ className }) => className).join(', ') || 'none'
  if (show(given) !== show(wanted)) {
    const fix = 'It is read layer by layer: write the network with the same layers in the same order'
    throw new SwarmError('weights.mismatch', { what: 'layers with weights', where, expected: show(wanted), got: show(given), fix })
  }
  const tensors = new Map<string, StateTensor>()
  for (const [i, { weights }] of wanted.entries()) {
    for (const [keras, name] of weights) {
      const tensor = given[i].tensors.get(keras)
      if (tensor) tensors.set(name, { ...tensor, name })
    }
  }
  return tensors
}

/** `<layer>/kernel`, or what converters make of it: `<layer>/<scope>/kernel:0`. */
function weightedOf(
  { class_name: className, config, name = config?.name ?? '' }: TopologyLayer,
  named: ReadonlyMap<string, StateTensor>,
): Weighted {
  const own = [...named].filter(([key]) => key.startsWith(`${name}/`))
  return { name, className, tensors: new Map(own.map(([key, tensor]) => [key.split('/').at(-1)!.replace(/:\d+$/, ''), tensor])) }
}

function kerasOf(layer: Parameters<typeof kerasLayerOf>[0], where: string): KerasLayer {
  try {
    return kerasLayerOf(layer)
  } catch (cause) {
    if (!isSwarmError(cause, 'export.unsupported')) throw cause
    const fix = 'Take a .safetensors file, which has every layer'
    throw new SwarmError('weights.mismatch', { what: `no LayersModel has anything like layer '${layer.id}'`, where, fix, cause })
  }
}
