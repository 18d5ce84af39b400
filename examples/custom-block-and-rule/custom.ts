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
