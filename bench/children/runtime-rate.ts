/** Steady samples per second of a run in this process, and its processor time for a step: the first steps, in which code is compiled, are left out. */
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

/** Processor time is of all threads; it says more than the clock where others use the machine. */
export interface Rate {
  readonly samplesPerSecond: number
  readonly cpuMsPerStep: number
}

export async function runtimeRate(network: Network, { pnodes = 1, steps, warmUp, backend = 'wasm' }: RateOptions): Promise<Rate> {
  const store = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))
  const times: number[] = []
  const used: number[] = []
  try {
    const data = noise(BATCH * steps, ...network.input)
    const run = train(
      network,
      { data, rule: pred(), epochs: 1, batchSize: BATCH },
      { on: local({ pnodes, backend }), store },
      {
        // Of a step the last VNode is the last that applies it.
        onObservation: (seen) => {
          if (seen.type !== 'applied' || seen.entry.evaluation > 0) return
          const { user, system } = process.cpuUsage()
          times[seen.entry.step] = performance.now()
          used[seen.entry.step] = (user + system) / 1000
        },
      },
    )
    await run.result
  } finally {
    await rm(store, { recursive: true, force: true })
  }
  const counted = steps - warmUp
  return {
    samplesPerSecond: (counted * BATCH * 1000) / (times[steps] - times[warmUp]),
    cpuMsPerStep: (used[steps] - used[warmUp]) / counted,
  }
}
