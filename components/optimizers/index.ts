/** The optimizers that swarmgrad brings along. */
import type { BuiltIn } from '../define.js'
import { adamSpec } from './adam.js'
import type { OptimizerSpec } from './optimizer.js'
import { sgdSpec } from './sgd.js'

export { adam } from './adam.js'
export { sgd } from './sgd.js'
export type { Operation, OptimizerSpec, Update } from './optimizer.js'

/** One of them, whatever its options are. */
export type Optimizer = BuiltIn<OptimizerSpec<any>>

/** By the name in a definition. */
export const builtInOptimizers: { readonly [name: string]: Optimizer } = { adam: adamSpec, sgd: sgdSpec }
