/** What each layer that swarmgrad brings along is called in Keras, whose layers TensorFlow.js has: class, configuration, and the names of its tensors. */
import { SwarmError } from '../../runtime/errors.js'
import type { Json } from '../../runtime/actor-system/actor-system.js'
import type { LayerDefinition } from '../definition.js'
import { showShape } from '../shapes.js'

/** A layer of a LayersModel, without its name and its inputs. */
export interface KerasLayer {
  readonly className: string
  readonly config: { readonly [option: string]: Json }
  /** Keras' name of each tensor, and ours within the VNode; in the order in which Keras lists them. */
  readonly weights: readonly (readonly [keras: string, own: string])[]
}

type Options = { readonly [option: string]: Json }
type Equivalent = (options: Options, layer: LayerDefinition) => KerasLayer

/** Images, channels last, are the most that Keras normalises. */
const MAX_NORMALISED_RANK = 3

const plain = (className: string, config: Options = {}): KerasLayer => ({ className, config, weights: [] })
const activation = (name: string): KerasLayer => plain('Activation', { activation: name })
const parameter = (keras: string, { id }: LayerDefinition, name: string) => [keras, `layers/${id}/${name}`] as const
const kernelAndBias = (layer: LayerDefinition, { bias }: Options) => [
  parameter('kernel', layer, 'w'),
  ...(bias === true ? [parameter('bias', layer, 'b')] : []),
]
const pooling = (className: string, { size, strides = size, padding }: Options): KerasLayer =>
  plain(className, { pool_size: [size, size], strides: [strides, strides], padding, data_format: 'channels_last' })

const EQUIVALENTS: { readonly [name: string]: Equivalent } = {
  add: () => plain('Add'),
  avgPool: (options) => pooling('AveragePooling2D', options),
  batchNorm: ({ momentum, epsilon }, layer) => {
    if (layer.outputShape.length > MAX_NORMALISED_RANK) {
      throw unsupported(layer, `BatchNormalization of ${showShape(layer.outputShape)}`)
    }
    const config = { axis: -1, momentum: 1 - (momentum as number), epsilon, center: true, scale: true }
    const statistic = (name: string) => [`moving_${name}`, `state/${layer.id}/${name}`] as const
    const weights = [parameter('gamma', layer, 'gamma'), parameter('beta', layer, 'beta'), statistic('mean'), statistic('variance')]
    return { className: 'BatchNormalization', config, weights }
  },
  concat: () => plain('Concatenate', { axis: -1 }),
  conv2d: (options, layer) => {
    const { filters, kernelSize, strides, padding, bias } = options
    const window = { kernel_size: [kernelSize, kernelSize], strides: [strides, strides], dilation_rate: [1, 1], padding }
    const config = { filters, ...window, data_format: 'channels_last', activation: 'linear', use_bias: bias }
    return { className: 'Conv2D', config, weights: kernelAndBias(layer, options) }
  },
  dense: (options, layer) => {
    const config = { units: options.units, activation: 'linear', use_bias: options.bias }
    return { className: 'Dense', config, weights: kernelAndBias(layer, options) }
  },
  dropout: ({ rate }) => plain('Dropout', { rate }),
  // Keras flattens nothing that is flat.
  flatten: (_options, { inputShapes: [input], outputShape }) =>
    input.length === 1 ? plain('Reshape', { target_shape: [...outputShape] }) : plain('Flatten'),
  globalAveragePool: () => plain('GlobalAveragePooling2D', { data_format: 'channels_last' }),
  head: () => activation('linear'),
  layerNorm: ({ epsilon }, layer) => ({
    className: 'LayerNormalization',
    config: { axis: -1, epsilon, center: true, scale: true },
    weights: [parameter('gamma', layer, 'gamma'), parameter('beta', layer, 'beta')],
  }),
  leakyRelu: ({ slope }) => plain('LeakyReLU', { alpha: slope }),
  maxPool: (options) => pooling('MaxPooling2D', options),
  silu: () => activation('swish'),
  ...Object.fromEntries(
    ['elu', 'gelu', 'relu', 'selu', 'sigmoid', 'softmax', 'softplus', 'tanh'].map((name) => [name, () => activation(name)]),
  ),
}

/** The layer's counterpart. @throws `export.unsupported` naming the layer */
export function kerasLayerOf(layer: LayerDefinition): KerasLayer {
  const { name, bundle, options } = layer.layer
  if (bundle === undefined && Object.hasOwn(EQUIVALENTS, name)) return EQUIVALENTS[name](options as Options, layer)
  throw unsupported(layer, bundle === undefined ? name : `${name}, which is your own`)
}

function unsupported({ id }: LayerDefinition, got: string): SwarmError {
  return new SwarmError('export.unsupported', {
    what: `a LayersModel has nothing like layer '${id}'`,
    expected: 'layers that TensorFlow.js has too',
    got,
    fix: 'Export it with --format safetensors, which takes every network',
  })
}
