/** A compute whose speed is what a test says: what it claims, and what its steps then take. */
import type { Compute } from '../../runtime/compute/compute.js'

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
