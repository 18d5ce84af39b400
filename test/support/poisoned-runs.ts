/** Networks in which one VNode fails at some steps as long as a file is there, and computes that fail on one host alone. */
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dense, flatten, leakyRelu } from '../../components/layers/index.js'
import { block, categorical, network, type Network } from '../../components/network.js'
import type { ApplyRequest, ComputePool } from '../../runtime/compute/compute.js'
import { SwarmError } from '../../runtime/errors.js'
import { chained, chainedSum, failingWhile } from './chained-block.js'

const TASK = { input: [28, 28, 1], target: categorical(10) } as const
const UNITS = 16

/** The VNodes by their part in it: the poison is in the middle of a branch. */
export const POISONED = { first: 'dense-1', poisoned: 'dense-2', beside: 'dense-3', joined: 'dense-4', last: 'dense-5' } as const

/** As `branching` of small-runs.ts. @param at steps; the batch, or the evaluation batches after them */
export function poisonedNetwork({ at, file, evaluation = false }: { at: readonly number[]; file: string; evaluation?: boolean }): Network {
  return network(TASK, (x) => {
    const a = block(flatten(), chained(), dense(UNITS), leakyRelu())(x)
    const b = block(failingWhile({ at, file, evaluation }), dense(UNITS), leakyRelu())(a)
    const c = block(chained(), dense(UNITS), leakyRelu())(a)
    const joined = block(chainedSum(), dense(UNITS), leakyRelu())(b, c, a)
    return block(chained(), dense(UNITS), leakyRelu())(joined)
  })
}

/** A file that is there until `remove` is called. */
export async function poisonFile(): Promise<{ readonly file: string; remove(): Promise<void> }> {
  const file = join(tmpdir(), `swarmgrad-poison-${crypto.randomUUID()}`)
  await writeFile(file, '')
  return { file, remove: () => rm(file, { force: true }) }
}

/** A pool whose computes fail where `isBad` says so, as bad memory would have it. */
export function faultyPool(pool: ComputePool, isBad: (name: string, request: ApplyRequest) => boolean): ComputePool {
  return {
    close: () => pool.close(),
    compute(name) {
      const compute = pool.compute(name)
      const apply = compute.apply.bind(compute)
      return Object.assign(compute, {
        async apply(id: string, request: ApplyRequest, options: { readonly signal?: AbortSignal }) {
          if (isBad(name, request)) throw new SwarmError('compute.failed', 'a flipped bit')
          return apply(id, request, options)
        },
      })
    },
  }
}
