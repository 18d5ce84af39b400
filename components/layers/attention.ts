/** Self-attention over the tokens of a sample, and the block of a transformer around it. */
import { z } from 'zod'
import { SwarmError } from '../../runtime/errors.js'
import type { BlockSpec, BuiltIn, Initializers, Layer, Shape, Tensors } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { showShape } from '../shapes.js'
import { HIDDEN_SCORE } from '../kernels/attention.js'
import { hasKernel, runKernel, tf } from '../tf.js'
import { activationSpecs } from './activations.js'
import { layerNormSpec, rmsNormSpec } from './normalization.js'

const attentionFields = {
  heads: z.int().positive().default(4),
  /** A token sees itself and those before it; false: all of them. */
  causal: z.boolean().default(true),
  /** Standard deviation of the first weights. */
  deviation: z.number().positive().default(0.02),
}
const schema = z.strictObject({
  ...attentionFields,
  /** Of the output's first weights, over that of the others: in a stack of n blocks 1/√(2n) keeps sums of residuals in bounds (Radford et al. 2019). */
  outputScale: z.number().positive().default(1),
})
const blockSchema = z.strictObject({
  ...attentionFields,
  /** Width of the hidden layer over that of the block. */
  expansion: z.number().positive().default(4),
  activation: z.enum(['gelu', 'relu', 'silu']).default('gelu'),
  norm: z.enum(['layer', 'rms']).default('layer'),
  /** As of `selfAttention`, for both residual branches. Default: that of four blocks. */
  outputScale: z
    .number()
    .positive()
    .default(Math.SQRT1_2 / 2),
})
type AttentionOptions = z.infer<typeof schema>
type BlockOptions = z.infer<typeof blockSchema>

/**
 * Multi-head scaled dot-product attention (Vaswani et al. 2017): x [tokens, width] gives [q, k, v] = x·qkv + qkvBias; each head softmax(q·kᵀ/√(width/heads))·v;
 * all of them, side by side, ·out + outBias.
 */
export const selfAttentionSpec: BuiltIn<BlockSpec<AttentionOptions>> = {
  name: 'selfAttention',
  positional: 'heads',
  options: (raw) => checkOptions("layer 'selfAttention'", schema, raw),
  shape: (input, { heads }) => checkedShape('selfAttention', input, heads),
  init: (input, options, random) => attentionTensors(input, options, random),
  forward: (parameters, x, _context, options) => attend(parameters, x, options),
  cost: attentionCost,
}

/** x + attention(norm(x)), then x + mlp(norm(x)), the MLP a hidden layer of `expansion` times the width (pre-norm: Xiong et al. 2020). */
export const transformerBlockSpec: BuiltIn<BlockSpec<BlockOptions>> = {
  name: 'transformerBlock',
  positional: 'heads',
  options: (raw) => checkOptions("layer 'transformerBlock'", blockSchema, raw),
  shape: (input, { heads }) => checkedShape('transformerBlock', input, heads),
  init: (input, options, random) => {
    const [, width] = input
    const hidden = Math.round(width * options.expansion)
    const norm = (prefix: string): Tensors => prefixed(prefix, normSpec(options).init!(input, { epsilon: 1e-5 }, random))
    return {
      ...norm('norm1_'),
      ...attentionTensors(input, options, random),
      ...norm('norm2_'),
      hidden: random.normal([width, hidden], options.deviation),
      hiddenBias: random.zeros([hidden]),
      narrow: random.normal([hidden, width], options.deviation * options.outputScale),
      narrowBias: random.zeros([width]),
    }
  },
  forward: (p, x, context, options) => {
    const norm = (prefix: string, y: tf.Tensor) => {
      const own = { gamma: p[`${prefix}gamma`], beta: p[`${prefix}beta`] }
      return normSpec(options).forward(own, y, context, { epsilon: 1e-5 }, [y])
    }
    const attended = tf.add(x, attend(p, norm('norm1_', x), options))
    const flat = tf.reshape(norm('norm2_', attended), [-1, x.shape[2]!])
    const hidden = tf.add(tf.matMul(flat as tf.Tensor2D, p.hidden as tf.Tensor2D), p.hiddenBias)
    const active = activationSpecs[options.activation].forward({}, hidden, context, {}, [hidden])
    const narrow = tf.add(tf.matMul(active as tf.Tensor2D, p.narrow as tf.Tensor2D), p.narrowBias)
    return tf.add(attended, tf.reshape(narrow, x.shape))
  },
  cost: (input, { expansion }) => attentionCost(input) + 2 * input[0] * input[1] * Math.round(input[1] * expansion),
}

const normSpec = ({ norm }: Pick<BlockOptions, 'norm'>) => (norm === 'layer' ? layerNormSpec : rmsNormSpec)

const prefixed = (prefix: string, tensors: Tensors): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`${prefix}${name}`, tensor]))

function checkedShape(layer: string, input: Shape, heads: number): Shape {
  if (input.length !== 2) {
    const fix = 'Put embedding(vocabulary, units) before it'
    throw new SwarmError('graph.shape', { what: `${layer} needs tokens [tokens, width]`, got: showShape(input), fix })
  }
  if (input[1] % heads === 0) return input
  throw new SwarmError('graph.shape', {
    what: `${layer} of ${heads} heads`,
    expected: `a width that is a multiple of ${heads}`,
    got: input[1],
  })
}

function attentionTensors(
  [, width]: Shape,
  { deviation, outputScale }: Pick<AttentionOptions, 'deviation' | 'outputScale'>,
  random: Initializers,
): Tensors {
  return {
    qkv: random.normal([width, 3 * width], deviation),
    qkvBias: random.zeros([3 * width]),
    out: random.normal([width, width], deviation * outputScale),
    outBias: random.zeros([width]),
  }
}

function attentionCost([tokens, width]: Shape): number {
  return 4 * tokens * width * width + 2 * tokens * tokens * width
}

function attend(p: Tensors, x: tf.Tensor, options: Pick<AttentionOptions, 'heads' | 'causal'>): tf.Tensor {
  const [batch, tokens, width] = x.shape as [number, number, number]
  const { heads } = options
  const flat = tf.reshape<tf.Rank.R2>(x, [batch * tokens, width])
  const projected = tf.add(tf.matMul(flat, p.qkv as tf.Tensor2D), p.qkvBias)
  const qkv = tf.reshape(projected, [batch, tokens, 3, heads, width / heads])
  const mixed = hasKernel('AttentionMix') ? mixOnHeap(qkv, options) : mixByOperations(qkv, options)
  const out = tf.add(tf.matMul(tf.reshape<tf.Rank.R2>(mixed, [batch * tokens, width]), p.out as tf.Tensor2D), p.outBias)
  return tf.reshape(out, x.shape)
}

/** softmax(q·kᵀ/√size)·v of each head: qkv [batch, tokens, 3, heads, size] to [batch, tokens, heads, size]. */
export function mixOnHeap(qkv: tf.Tensor, { causal }: Pick<AttentionOptions, 'causal'>): tf.Tensor {
  const attrs = { scale: 1 / Math.sqrt(qkv.shape[4]!), causal }
  const mix = tf.customGrad((given, save) => {
    const weights = tf.softmax(runKernel('AttentionScores', { qkv: given as tf.Tensor }, attrs) as tf.Tensor)
    const value = runKernel('AttentionMix', { weights, qkv: given as tf.Tensor }) as tf.Tensor
    ;(save as (tensors: tf.Tensor[]) => void)([weights, given as tf.Tensor])
    const gradFunc = (dy: tf.Tensor, [kept, before]: tf.Tensor[]): tf.Tensor =>
      runKernel('AttentionGrad', { dy, weights: kept, qkv: before }, attrs) as tf.Tensor
    return { value, gradFunc }
  })
  return mix(qkv)
}

/** The same by operations that every backend has. */
export function mixByOperations(qkv: tf.Tensor, { causal }: Pick<AttentionOptions, 'causal'>): tf.Tensor {
  const [batch, tokens, , heads, size] = qkv.shape
  // [3, batch, heads, tokens, size]: each head's rows lie together.
  const [q, k, v] = tf
    .unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))
    .map((part) => tf.reshape<tf.Rank.R3>(part, [batch * heads, tokens, size]))
  const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(size))
  const weights = tf.softmax(causal ? tf.add(scores, futureMask(tokens)) : scores) as tf.Tensor3D
  return tf.transpose(tf.reshape(tf.matMul(weights, v), [batch, heads, tokens, size]), [0, 2, 1, 3])
}

/** Added to scores: what comes later counts for nothing. */
function futureMask(tokens: number): tf.Tensor {
  const mask = new Float32Array(tokens * tokens)
  for (let row = 0; row < tokens; row++) mask.fill(HIDDEN_SCORE, row * tokens + row + 1, (row + 1) * tokens)
  return tf.tensor(mask, [1, tokens, tokens])
}

/** Causal self-attention of several heads. @throws `graph.unknown` */
export function selfAttention(options: z.input<typeof schema> = {}): Layer {
  return callOf(selfAttentionSpec, options)
}

/** Attention and a hidden layer, each with its norm before and its residual around it; the shape stays. @throws `graph.unknown` */
export function transformerBlock(options: z.input<typeof blockSchema> = {}): Layer {
  return callOf(transformerBlockSpec, options)
}
