/** How the runs of `runs.ts` have to end (`expectations.json`), and how they do. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { local, train } from '../../index.js'
import { readHead } from '../../runtime/head-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { repository } from '../project/repository.js'
import { type RunName, RUNS } from './runs.js'

export const FILE = join(repository, 'test/expectations/expectations.json')
export const RENEW = 'node dist/test/expectations/renew.js'

/** How a run has ended. */
export interface Ending {
  /** Of all states. */
  readonly hash: string
  /** Under which it has this hash. */
  readonly computeClass: string
  /** Of the test split: 0 to 1, and nats. */
  readonly accuracy: number
  readonly loss: number
}

/** How it has to end. */
export interface Expectation {
  readonly accuracy: number
  readonly loss: number
  /**
   * So far from them it may be, up or down. A learning rate that differs by 10⁻⁶, as other kernels or another order of sums might, moves losses by less
   * than 10⁻⁴ and no accuracy; other seeds move them by 0.1 and 0.03; a convolution's derivative of which two axes are exchanged does, too.
   */
  readonly tolerance: { readonly accuracy: number; readonly loss: number }
  /** On WebAssembly, where every machine and every version of Node computes the same bits. */
  readonly hash?: string
  readonly computeClass?: string
}

export type Expectations = { readonly [name in RunName]: Expectation }

export async function readExpectations(): Promise<Expectations> {
  return JSON.parse(await readFile(FILE, 'utf8')) as Expectations
}

/** Trains through the actors, on two PNodes. */
export async function carryOut(name: RunName): Promise<Ending> {
  const { backend, network, training } = RUNS[name]
  const store = memoryStore()
  const { run, hash, metrics } = await train(network, training, { on: local({ pnodes: 2, backend }), store }).result
  const { head } = await readHead(store, run)
  return { hash: hash!, computeClass: head.computeClass!, accuracy: metrics.accuracy, loss: metrics.loss }
}

/** In words, what was learnt otherwise than expected. */
export function learningDifferences(name: RunName, got: Ending, { tolerance, ...expected }: Expectation): string[] {
  return (['accuracy', 'loss'] as const)
    .filter((metric) => !(Math.abs(got[metric] - expected[metric]) <= tolerance[metric]))
    .map((metric) => `${name}, ${metric}: expected ${expected[metric]} ± ${tolerance[metric]}, got ${got[metric]}`)
}

/** In words, what other bits there are; none where no hash is expected. */
export function bitDifferences(name: RunName, got: Ending, { hash, computeClass }: Expectation): string[] {
  if (hash === undefined || got.hash === hash) return []
  const why =
    got.computeClass === computeClass
      ? `under the same compute class ${computeClass}: what computes has changed, and its class should have, or else the data, the seeds or the states`
      : `under compute class ${got.computeClass}, expected under ${computeClass}. If the kernels were meant to change, and this is learnt as well as before: ${RENEW}`
  return [`${name}: expected hash ${hash}, got ${got.hash} ${why}`]
}
