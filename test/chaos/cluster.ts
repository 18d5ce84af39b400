import type { Chaos, ChaosTask } from './main.js'
export async function clusterChaos(_task: ChaosTask): Promise<Chaos> {
  throw new Error('not yet')
}
