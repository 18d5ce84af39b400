/** `predsim`: prediction and similarity matching (Nøkland & Eidnes 2019, "Training Neural Networks with Local Error Signals"). */
import { z } from 'zod'
import { SwarmError } from '../../runtime/errors.js'
import type { BuiltIn, Call, RuleSpec, Shape } from '../define.js'
import { softmaxCrossEntropy } from '../losses.js'
import { checkOptions } from '../options.js'
import { tf } from '../tf.js'
import { headLogits, linearHead } from './pred.js'

const schema = z.strictObject({
  /** Weight of the prediction loss; 1 − w is that of similarity. The paper has 0.01; 0.2 is better for short runs (measured). */
  w: z.number().min(0).max(1).default(0.2),
  /** Width of the projector. Default: an eighth of the output, which costs 0.1 point and halves the step (measured). */
  rank: z.int().min(2).optional(),
})
type PredsimOptions = z.infer<typeof schema>

/** Below this the rows of a projection have too little room to differ. */
const MIN_RANK = 8
/** Keeps the length of a zero row differentiable. */
const TINY = 1e-16
const VARIANCE_EPSILON = 1e-8

/** Loss: w·CE(D·h, y) + (1 − w)·mean((G(P·h) − G(y))²), G(Z) = SSᵀ, S the rows of Z centred and normalised. */
export const predsimSpec: BuiltIn<RuleSpec<PredsimOptions>> = {
  name: 'predsim',
  positional: 'w',
  options: (raw) => checkOptions("rule 'predsim'", schema, raw),
  init: (output, target, random, { rank }) => {
    if (target.kind !== 'categorical') {
      throw new SwarmError('definition.invalid', {
        what: "rule 'predsim' compares classes",
        expected: 'a categorical target',
        got: target.kind,
        fix: 'Use pred()',
      })
    }
    const features = output[output.length - 1]
    const width = rank ?? Math.max(MIN_RANK, Math.floor(features / 8))
    const projector = isImage(output) ? [3, 3, features, width] : [output.reduce((a, b) => a * b, 1), width]
    return { ...linearHead(output, target, random), projector: random.glorot(projector) }
  },
  logits: headLogits,
  loss: ({ logits, y, h, parameters }, { w }) => {
    const prediction = softmaxCrossEntropy(logits, y)
    const similarity = unlikeness(project(h, parameters.projector), gram(y as tf.Tensor2D))
    return tf.add(tf.mul(prediction, w), tf.mul(similarity, 1 - w))
  },
}

/** Every VNode predicts the labels, and makes outputs of one class alike. @throws `graph.unknown` */
export function predsim(options: z.input<typeof schema> = {}): Call<'rule'> {
  return { kind: 'rule', name: 'predsim', options: predsimSpec.options!(options) }
}

/**
 * mean((G(z) − wanted)²), z [batch, n], wanted [batch, batch]. Derivatives by hand: with R = G(z) − wanted and S the rows of z centred and divided by
 * their lengths n, dS = 4/batch²·R·S, dC = (dS − S·Σ(dS∘S))/n, dz = dC − mean(dC), sums and means by row.
 */
function unlikeness(z: tf.Tensor2D, wanted: tf.Tensor2D): tf.Tensor {
  const withGradient = tf.customGrad((given, save) => {
    const { rows, lengths } = normalised(given as tf.Tensor2D)
    const residual = tf.sub<tf.Tensor2D>(tf.matMul(rows, rows, false, true), wanted)
    ;(save as (tensors: tf.Tensor[]) => void)([rows, lengths, residual])
    const gradFunc = (dy: tf.Tensor, [s, n, r]: tf.Tensor[]): tf.Tensor => {
      const dRows = tf.mul(tf.matMul(r as tf.Tensor2D, s as tf.Tensor2D), tf.mul(dy, 4 / r.size))
      const dCentred = tf.div(tf.sub(dRows, tf.mul(s, tf.sum(tf.mul(dRows, s), 1, true))), n)
      return tf.sub(dCentred, tf.mean(dCentred, 1, true))
    }
    return { value: tf.mean(tf.square(residual)), gradFunc: gradFunc }
  })
  return withGradient(z)
}

/** How alike the rows of z [batch, n] are: the correlation of each with each, [batch, batch]. */
function gram(z: tf.Tensor2D): tf.Tensor2D {
  const { rows } = normalised(z)
  return tf.matMul(rows, rows, false, true)
}

/** Rows centred and divided by their lengths [batch, 1]. */
function normalised(z: tf.Tensor2D): { readonly rows: tf.Tensor2D; readonly lengths: tf.Tensor } {
  const centred = tf.sub(z, tf.mean(z, 1, true))
  const lengths = tf.sqrt(tf.add(tf.sum(tf.square(centred), 1, true), TINY))
  return { rows: tf.div<tf.Tensor2D>(centred, lengths), lengths }
}

/** float32 [batch, rank]: h·P, or for images the spatial standard deviation of each channel of a 3×3 convolution. */
function project(h: tf.Tensor, projector: tf.Tensor): tf.Tensor2D {
  if (h.rank !== 4) return tf.matMul(tf.reshape<tf.Rank.R2>(h, [h.shape[0], h.size / h.shape[0]]), projector)
  const z = tf.conv2d(h as tf.Tensor4D, projector as tf.Tensor4D, 1, 'same')
  const variance = tf.mean(tf.square(tf.sub(z, tf.mean(z, [1, 2], true))), [1, 2])
  return tf.sqrt(tf.add<tf.Tensor2D>(variance, VARIANCE_EPSILON))
}

const isImage = (shape: Shape): boolean => shape.length === 3
