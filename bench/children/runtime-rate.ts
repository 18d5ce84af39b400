/** Steady samples per second of a run in this process: the first steps, in which code is compiled, are left out. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { local, pred } from '../../index.js'
import type { Network } from '../../index.js'
import type { BackendChoice } from '../../components/backends.js'
import { train } from '../../actors/train.js'
import { BATCH, noise } from './networks.js'

export interface RateOptions {
  /** Default: 1. */
  readonly pnodes?: number
  readonly steps: number
  /** So many of them come before. */
  readonly warmUp: number
  /** Default: wasm. */
  readonly backend?: BackendChoice
}

export async function runtimeRate(network: Network, { pnodes = 1, steps, warmUp, backend = 'wasm' }: RateOptions): Promise<number> {
  const store = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))
  const times: number[] = []
  try {
    const data = noise(BATCH * steps, ...network.input)
    const run = train(
      network,
      { data, rule: pred(), epochs: 1, batchSize: BATCH },
      { on: local({ pnodes, backend }), store },
      {
        // Of a step the last VNode is the last that applies it.
        onObservation: (seen) => {
          if (seen.type === 'applied' && seen.entry.evaluation === 0) times[seen.entry.step] = performance.now()
        },
      },
    )
    await run.result
  } finally {
    await rm(store, { recursive: true, force: true })
  }
  return ((steps - warmUp) * BATCH * 1000) / (times[steps] - times[warmUp])
}
