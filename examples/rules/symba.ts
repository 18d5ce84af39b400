/**
 * Forward-Forward (Hinton 2022) with the balanced loss of SymBa (Lee & Song 2023), and without labels drawn into the images: the units of a layer are
 * divided among the classes, and what the group of a class does is its goodness. Each step is one positive pass and, for each wrong class, a
 * negative one at no cost; the loss is log(1 + exp(−α(positive − negative))), the mean over the wrong ones.
 *
 *     npx swarmgrad train examples/rules/symba.ts
 */
import { batchNorm, block, categorical, datasets, defineRule, dense, flatten, network, relu, tf } from 'swarmgrad'

export const symba = defineRule<{ alpha?: number }>({
  module: import.meta.url, // how workers and hosts find it
  name: 'symba',
  options: ({ alpha = 4 }: { alpha?: number }) => ({ alpha }),
  init: (output, { classes }) => {
    if (output.length === 1 && output[0] % classes === 0) return {}
    throw new Error(`symba needs a multiple of ${classes} units, got [${output.join(', ')}]: end each block with dense(${20 * classes})`)
  },
  logits: (_parameters, h, _options, { classes }) => tf.mean(tf.reshape(tf.square(h), [h.shape[0], classes, h.shape[1]! / classes]), 2),
  loss: ({ logits: goodness, y }, { alpha }) => {
    const positive = tf.sum(tf.mul(goodness, y), 1, true)
    const wrong = tf.sub(1, y)
    const losses = tf.mul(tf.softplus(tf.mul(tf.sub(goodness, positive), alpha!)), wrong)
    return tf.div(tf.sum(losses), tf.sum(wrong))
  },
})

const task = { input: [28, 28, 1], target: categorical(10) } as const
const hidden = (units: number) => block(dense(units), batchNorm(), relu())

export default network(task, [flatten(), hidden(500), hidden(500)])
export const rule = symba()
export const data = datasets.glyphs({ train: 4_000, test: 500 })
export const batchSize = 100
export const epochs = 3
