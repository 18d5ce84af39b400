/** The command on a cluster in memory. */
import type { ExecutionContext } from 'ava'
import type { MemoryCluster } from '../support/memory-cluster.js'
import { start, swarmgrad } from './command.js'

/** The command on a cluster, with the trainer's token. */
export function on({ url, keys }: MemoryCluster) {
  const env = { SWARMGRAD_CLUSTER: url, SWARMGRAD_TOKEN: keys.trainerToken }
  return {
    run: (t: ExecutionContext, folder: string, words: readonly string[]) => swarmgrad(t, folder, words, { env }),
    start: (t: ExecutionContext, folder: string, words: readonly string[]) => start(t, folder, words, { env }),
  }
}
