/**
 * A block and a learning rule of one's own. Workers and other people's machines load this file by the hash of its bundle, so it
 * defines things and does nothing.
 */
import { defineBlock, defineRule, tf } from 'swarmgrad'

const module = import.meta.url // how workers and hosts find it

/** A dense layer with a gate: (x·W) ∘ σ(x·G). */
export const gated = defineBlock({
  module,
  name: 'gated',
  shape: (_input, o: { units: number }) => [o.units],
  init: ([d], o, random) => ({ w: random.glorot([d, o.units]), g: random.glorot([d, o.units]) }),
  forward: (p, x, _context) => tf.mul(tf.matMul(x, p.w), tf.sigmoid(tf.matMul(x, p.g))),
})

/** Like `pred`, with labels that are smoothed by epsilon. */
export const smooth = defineRule({
  module,
  name: 'smooth',
  init: ([d], target, random) => ({ head: random.zeros([d, target.classes]) }),
  logits: (p, h) => tf.matMul(h, p.head),
  loss: ({ logits, y }, o: { epsilon: number }) => tf.losses.softmaxCrossEntropy(y, logits, undefined, o.epsilon),
})

/** The delta rule, by hand instead of by the tape: only the head learns; the block stays as it was drawn, a layer of random features. */
export const delta = defineRule({
  module,
  name: 'delta',
  init: ([d], target, random) => ({ head: random.zeros([d, target.classes]) }),
  logits: (p, h) => tf.matMul(h, p.head),
  loss: ({ logits, y }) => tf.losses.softmaxCrossEntropy(y, logits),
  step: ({ forward, head, y }) => {
    const h = forward()
    const logits = tf.matMul(h, head.head)
    const error = tf.div(tf.sub(tf.softmax(logits as tf.Tensor2D), y), y.shape[0])
    return { loss: tf.losses.softmaxCrossEntropy(y, logits), logits, gradients: { 'head/head': tf.matMul(h, error, true) } }
  },
})
