/** `solo`: every block predicts with the last block's output matrix, as it was some steps ago (arXiv 2609.35440). */
import { z } from 'zod'
import type { BuiltIn, Call, RuleSpec } from '../define.js'
import { rootMeanSquared } from '../layers/normalization.js'
import { taskLoss } from '../losses.js'
import { checkOptions } from '../options.js'
import { tf } from '../tf.js'
import { featureShape, featuresOf } from './features.js'
import { sizeOf } from '../shapes.js'

/** How often the output matrix is given to all (PROTOCOL.md rule 22): it is used 26 to 50 steps later. */
const EVERY_STEPS = 25
/** Not zero: the blocks learn nothing from an output matrix of zeros. */
const DEVIATION = 0.02
const EPSILON = 1e-5

/**
 * Loss: that of the target, on logits = (g∘RMSNorm(h))·W·e^(−t) + b. Each block learns g [width], t [1] and b [classes]; W [width, classes] is learnt by
 * the last one only.
 */
export const soloSpec: BuiltIn<RuleSpec<{}>> = {
  name: 'solo',
  options: (raw) => checkOptions("rule 'solo'", z.strictObject({}), raw),
  init: (output, target, random) => {
    const width = sizeOf(featureShape(output, target))
    return {
      output: random.normal([width, target.classes], DEVIATION),
      gain: random.ones([width]),
      temperature: random.zeros([1]),
      bias: random.zeros([target.classes]),
    }
  },
  logits: ({ output, gain, temperature, bias }, h, _options, target) => {
    const features = tf.mul(rootMeanSquared(featuresOf(h, target), EPSILON), gain)
    return tf.add(tf.mul(tf.matMul(features as tf.Tensor2D, output as tf.Tensor2D), tf.exp(tf.neg(temperature))), bias)
  },
  loss: ({ logits, y, target }) => taskLoss(target, logits, y),
  feedback: () => ({ of: 'head', parameter: 'output', everySteps: EVERY_STEPS }),
}

/** For language models: blocks of equal shape that share one vocabulary. Local, but for the output matrix that goes back every 25 steps. */
export function solo(): Call<'rule'> {
  return { kind: 'rule', name: 'solo', options: {} }
}
