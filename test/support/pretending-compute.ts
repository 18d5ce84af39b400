/** A compute whose speed is what a test says: what it claims, and what its steps then take. */
import { systemClock } from '../../runtime/clock.js'
import type { Compute, ComputePool } from '../../runtime/compute/compute.js'

export interface Pretence {
  /** What it says of itself, in GFLOP/s; may change. */
  readonly saidGflops: () => number
  /** What its steps take, in ms; may change. They are told to have taken so long, and take what they take. */
  readonly stepMs: () => number
}

export function pretending(own: Compute, { saidGflops, stepMs }: Pretence): Compute {
  const [start, apply] = [own.start.bind(own), own.apply.bind(own)]
  return Object.assign(own, {
    start: async (...args: Parameters<Compute['start']>) => ({ ...(await start(...args)), gflops: saidGflops() }),
    apply: async (...args: Parameters<Compute['apply']>) => ({ ...(await apply(...args)), busyMs: stepMs() }),
  })
}

const SAID_GFLOPS = 40

/** Computes that say 40 GFLOP/s, whose steps really take `slowness` times as long as they need here. */
export function pretendingPool(pool: ComputePool, slowness: number): ComputePool {
  return {
    compute(name) {
      const own = pool.compute(name)
      let rest = Promise.resolve()
      const [start, apply, snapshot] = [own.start.bind(own), own.apply.bind(own), own.snapshot.bind(own)]
      return Object.assign(own, {
        start: async (...args: Parameters<Compute['start']>) => ({ ...(await start(...args)), gflops: SAID_GFLOPS }),
        apply: async (...args: Parameters<Compute['apply']>) => {
          const result = await apply(...args)
          const busyMs = result.busyMs * slowness
          // One after the other, as they were asked for.
          rest = rest.then(() => systemClock.sleep(busyMs - result.busyMs))
          await rest
          return { ...result, busyMs }
        },
        // Answers come in the order of the requests, as with any compute.
        snapshot: async (id: string) => {
          const blob = await snapshot(id)
          await rest
          return blob
        },
      })
    },
    close: () => pool.close(),
  }
}
