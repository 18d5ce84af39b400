/**
 * Decoupled greedy learning (Belilovsky et al. 2020): each block of convolutions has an auxiliary network of its own, which is deeper than a linear
 * head and still cheap: the image made smaller, three convolutions of 1×1, what is left averaged to 2×2, and a layer of units.
 *
 *     npx swarmgrad train examples/rules/dgl.ts
 */
import { batchNorm, block, categorical, conv2d, datasets, defineRule, maxPool, network, relu, tf } from 'swarmgrad'

/** By averages, to at most `size` × `size`. */
function smaller(x: tf.Tensor, size: number): tf.Tensor4D {
  const window = Math.max(1, Math.floor(Math.min(x.shape[1]!, x.shape[2]!) / size))
  return tf.avgPool(x as tf.Tensor4D, window, window, 'valid')
}

const sideOf = (length: number, size: number): number => Math.floor(length / Math.max(1, Math.floor(length / size)))

export const dgl = defineRule({
  module: import.meta.url, // how workers and hosts find it
  name: 'dgl',
  init: (output, { classes }, random) => {
    const [height, , channels] = output
    if (output.length !== 3 || height !== output[1])
      throw new Error(`dgl needs square images, got [${output.join(', ')}]: end each block with conv2d`)
    const side = sideOf(sideOf(height, 8), 2)
    const kernels = [1, 2, 3].map((i) => [`conv${i}`, random.he([1, 1, channels, channels])] as const)
    const features = side * side * channels
    return { ...Object.fromEntries(kernels), hidden: random.he([features, channels]), head: random.zeros([channels, classes]) }
  },
  logits: (p, h) => {
    let x: tf.Tensor = smaller(h, 8)
    for (const name of ['conv1', 'conv2', 'conv3']) x = tf.relu(tf.conv2d(x as tf.Tensor4D, p[name] as tf.Tensor4D, 1, 'same'))
    const features = tf.reshape(smaller(x, 2), [h.shape[0], -1])
    return tf.matMul(tf.relu(tf.matMul(features, p.hidden as tf.Tensor2D)), p.head)
  },
  loss: ({ logits, y }) => tf.losses.softmaxCrossEntropy(y, logits),
})

const task = { input: [28, 28, 1], target: categorical(10) } as const
const conv = (channels: number) => block(conv2d(channels), batchNorm(), relu(), maxPool(2))

export default network(task, [conv(16), conv(32), conv(64)])
export const rule = dgl()
export const data = datasets.glyphs({ train: 4_000, test: 500 })
export const batchSize = 100
export const epochs = 3
