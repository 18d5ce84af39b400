/** `pred`: a linear head per VNode (Nøkland & Eidnes 2019; the same as Mono-Forward 2025). */
import { z } from 'zod'
import type { BuiltIn, Call, Initializers, Options, RuleSpec, Shape, Target, Tensors } from '../define.js'
import { taskLoss } from '../losses.js'
import { checkOptions } from '../options.js'
import { tf } from '../tf.js'
import { featureShape, featuresOf } from './features.js'
import { sizeOf } from '../shapes.js'

/** A linear head on features: `head` [features, width], zero at first so that it starts without an opinion, and `bias` [width]. */
export function linearHead(output: Shape, target: Target & { readonly classes: number }, random: Initializers): Tensors {
  return { head: random.zeros([sizeOf(featureShape(output, target)), target.classes]), bias: random.zeros([target.classes]) }
}

/** features·head + bias: float32 [answers, width]. */
export function headLogits(parameters: Tensors, h: tf.Tensor, _options: Options, target: Target): tf.Tensor {
  return tf.add(tf.matMul(featuresOf(h, target), parameters.head as tf.Tensor2D), parameters.bias)
}

/** Loss: that of the target, on the VNode's own linear head. */
export const predSpec: BuiltIn<RuleSpec<{}>> = {
  name: 'pred',
  options: (raw) => checkOptions("rule 'pred'", z.strictObject({}), raw),
  init: linearHead,
  logits: headLogits,
  loss: ({ logits, y, target }) => taskLoss(target, logits, y),
}

/** Every VNode predicts the labels with a linear head of its own: the cheapest rule. */
export function pred(): Call<'rule'> {
  return { kind: 'rule', name: 'pred', options: {} }
}
