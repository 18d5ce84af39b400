/** From numbers of tokens to vectors, and where in the text they stand. */
import { z } from 'zod'
import { SwarmError } from '../../runtime/errors.js'
import type { BlockSpec, BuiltIn, Layer } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { expectRank, sizeOf } from '../shapes.js'
import { tf, viewOf } from '../tf.js'

const schema = z.strictObject({
  vocabulary: z.int().positive(),
  units: z.int().positive(),
  /** Standard deviation of the first weights; GPT-2 has 0.02. */
  deviation: z.number().positive().default(0.02),
})
const positionSchema = z.strictObject({ deviation: z.number().positive().default(0.02) })

/** y[b, t] = w[x[b, t]]; x [tokens] numbers of tokens, w [vocabulary, units] normal. */
export const embeddingSpec: BuiltIn<BlockSpec<z.infer<typeof schema>>> = {
  name: 'embedding',
  options: (raw) => checkOptions("layer 'embedding'", schema, raw),
  shape: (input, { units }) => {
    expectRank('embedding', input, 1, 'It reads numbers of tokens, [tokens]')
    return [input[0], units]
  },
  init: (_input, { vocabulary, units, deviation }, random) => ({ w: random.normal([vocabulary, units], deviation) }),
  forward: ({ w }, x) => look(w, x),
  cost: (input, { units }) => input[0] * units,
}

/** y = x + w; x [tokens, units], w [tokens, units] normal: what is learnt of each position (Radford et al. 2018). */
export const positionEmbeddingSpec: BuiltIn<BlockSpec<z.infer<typeof positionSchema>>> = {
  name: 'positionEmbedding',
  options: (raw) => checkOptions("layer 'positionEmbedding'", positionSchema, raw),
  shape: (input) => input,
  init: (input, { deviation }, random) => ({ w: random.normal(input, deviation) }),
  forward: ({ w }, x) => tf.add(x, w),
  cost: sizeOf,
}

/** Rows of w by number. Its derivative adds rows in the order of the batch: the same bits everywhere. */
function look(w: tf.Tensor, x: tf.Tensor): tf.Tensor {
  const [vocabulary, units] = w.shape
  const numbers = Float32Array.from(viewOf(x))
  const stranger = numbers.find((token) => !(Number.isInteger(token) && token >= 0 && token < vocabulary))
  if (stranger !== undefined) {
    const fix = 'Give the embedding the vocabulary of the data set'
    throw new SwarmError('dataset.invalid', { what: 'number of a token', expected: `0 to ${vocabulary - 1}`, got: stranger, fix })
  }
  const rows = tf.customGrad((table) => {
    const value = tf.gather(table as tf.Tensor, tf.tensor(Int32Array.from(numbers), [...x.shape], 'int32'))
    const gradFunc = (dy: tf.Tensor): tf.Tensor => {
      const sums = new Float32Array(vocabulary * units)
      const rows = viewOf(dy)
      for (let row = 0; row < numbers.length; row++) {
        const at = numbers[row] * units
        for (let k = 0; k < units; k++) sums[at + k] += rows[row * units + k]
      }
      return tf.tensor(sums, [vocabulary, units])
    }
    return { value, gradFunc }
  })
  return rows(w)
}

/** A vector of `units` numbers for each of `vocabulary` tokens. @throws `graph.unknown` */
export function embedding(vocabulary: number, units: number, options: { deviation?: number } = {}): Layer {
  return callOf(embeddingSpec, { vocabulary, units, ...options })
}

/** Adds a learnt vector for each position. @throws `graph.unknown` */
export function positionEmbedding(options: z.input<typeof positionSchema> = {}): Layer {
  return callOf(positionEmbeddingSpec, options)
}
