/**
 * A network with the block and the rule of custom.ts:
 *
 *     npx swarmgrad train examples/custom-block-and-rule/main.ts
 */
import { block, categorical, datasets, dense, flatten, network, relu } from 'swarmgrad'
import { gated, smooth } from './custom.js'

const task = { input: [28, 28, 1], target: categorical(10) } as const

export default network(task, [flatten(), block(dense(128), relu()), gated({ units: 128 })])
export const rule = smooth({ epsilon: 0.05 })
export const data = datasets.glyphs({ train: 4_000, test: 500 })
export const batchSize = 100
export const epochs = 3
