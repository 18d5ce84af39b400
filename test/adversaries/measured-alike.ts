/** Machines whose speed nobody can tell apart. */
import { changedCompute } from '../../runtime/compute/changed-compute.js'
import type { Compute } from '../../runtime/compute/compute.js'
import type { Seams } from '../../actors/pnode/seams.js'

const GFLOPS = 10

/** All are equally fast: what a busy machine measures decides nothing of who gets what. */
export function measuredAlike(honest: Seams): Seams {
  const { compute } = honest
  const start: Compute['start'] = async (signal, options) => ({ ...(await compute.start(signal, options)), gflops: GFLOPS })
  return { ...honest, compute: changedCompute(compute, { start }) }
}
