/**
 * Channel-wise competition (Papachristodoulou et al. 2024): no head at all. The channels of a convolution are divided among the classes. How loud
 * a group is, the mean of its squares, is its goodness, and the loss is the cross-entropy over the groups: each is to be loudest for its own class.
 *
 *     npx swarmgrad train examples/rules/cwc.ts
 */
import { batchNorm, block, categorical, conv2d, datasets, defineRule, maxPool, network, relu, tf } from 'swarmgrad'

export const cwc = defineRule({
  module: import.meta.url, // how workers and hosts find it
  name: 'cwc',
  init: (output, { classes }) => {
    if (output.length === 3 && output[2] % classes === 0) return {}
    throw new Error(`cwc needs a multiple of ${classes} channels, got [${output.join(', ')}]: end each block with conv2d(${2 * classes})`)
  },
  logits: (_parameters, h, _options, { classes }) => {
    const [batch, height, width, channels] = h.shape
    const grouped = tf.reshape(tf.square(h), [batch, height * width, classes, channels / classes])
    return tf.mean(grouped, [1, 3])
  },
  loss: ({ logits, y }) => tf.losses.softmaxCrossEntropy(y, logits),
})

const task = { input: [28, 28, 1], target: categorical(10) } as const
const conv = (channels: number) => block(conv2d(channels), batchNorm(), relu(), maxPool(2))

export default network(task, [conv(20), conv(40), conv(80)])
export const rule = cwc()
export const data = datasets.glyphs({ train: 4_000, test: 500 })
export const batchSize = 100
export const epochs = 3
