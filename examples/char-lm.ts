/**
 * A language model of characters: a small transformer, each block of which learns by itself to tell the next character. After each epoch
 * it shows what it would write.
 *
 *     npx swarmgrad train examples/char-lm.ts
 *     npx swarmgrad generate latest --prompt "ROMEO:"
 */
import { adam, block, datasets, embedding, network, positionEmbedding, pred, tokens, transformerBlock } from 'swarmgrad'

const context = 64
const width = 128
const transformer = () => transformerBlock({ heads: 4, activation: 'relu', norm: 'rms' })

export default network({ input: [context], target: tokens(65) }, [
  block(embedding(65, width), positionEmbedding(), transformer()),
  transformer(),
  transformer(),
  transformer(),
])
export const data = datasets.tinyShakespeare({ context })
export const rule = pred()
export const optimizer = adam({ clipNorm: 1 })
export const batchSize = 32
export const epochs = 4
export const learningRate = 2e-3
export const schedule = { kind: 'cosine', warmup: 100 }
