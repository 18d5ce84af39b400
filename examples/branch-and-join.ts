/**
 * A graph that branches and joins: a function of symbolic tensors instead of a list.
 *
 *     npx swarmgrad check examples/branch-and-join.ts     shows its VNodes
 *     npx swarmgrad train examples/branch-and-join.ts
 */
import { add, batchNorm, block, categorical, datasets, dense, dropout, flatten, leakyRelu, network } from 'swarmgrad'

const hidden = (units: number) => block(dense(units), batchNorm(), leakyRelu(), dropout(0.025))
const task = { input: [28, 28, 1], target: categorical(10) } as const

export default network(task, (x) => {
  const a = hidden(128)(flatten()(x))
  const b = hidden(128)(a)
  return hidden(64)(add(a, b))
})
export const data = datasets.glyphs({ train: 4_000, test: 500 })
export const batchSize = 100
export const epochs = 3
