/** Runs on a test cluster, and what they have to come to. */
import { local, type Run, type RunResult, train } from '../../actors/train.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import type { Network } from '../../components/network.js'
import { systemClock } from '../../runtime/clock.js'
import type { TestCluster } from './cluster.js'
import { chainsOf, openObjects } from './small-runs.js'

/** What is left of a run: its hash, and the chains of what each VNode consumed. */
export interface Outcome {
  readonly hash: string
  readonly chains: { readonly [vnode: string]: string }
}

/** Of the embedded run, with nothing that goes wrong. */
export async function embedded(network: Network, training: TrainingOptions): Promise<Outcome> {
  const { store } = openObjects()
  const run = train(network, training, { on: local({ pnodes: 2, threads: false }), store }, { id: 'undisturbed' })
  const { hash } = await run.result
  return { hash: hash!, chains: await chainsOf(store, run.id) }
}

/** The result of a run, and what is left of it. @throws with where everything stands if it is not done after `limitMs` */
export async function outcomeOf(cluster: TestCluster, run: Run, limitMs = 100_000): Promise<Outcome & { readonly result: RunResult }> {
  const limit = new AbortController()
  const tooLong = systemClock.sleep(limitMs, limit.signal).then(async () => {
    throw new Error(`run ${run.id} is not done after ${limitMs} ms: ${JSON.stringify(await standing(cluster, run.id))}`)
  })
  tooLong.catch(() => undefined)
  try {
    const result = await Promise.race([run.result, tooLong])
    return { result, hash: result.hash!, chains: await chainsOf(cluster.store, run.id) }
  } finally {
    limit.abort()
  }
}

async function standing({ control, hosts, client, store }: TestCluster, run: string): Promise<object> {
  const peers = [['control', control] as const, ...[...hosts].map(([name, { peer }]) => [name, peer] as const)]
  const errors = Object.fromEntries(peers.map(([name, peer]) => [name, peer.errors.slice(-3)]))
  const stats = await client.stats().catch(String)
  const head = await store.get(`runs/${run}/head`).then(({ bytes }) => JSON.parse(new TextDecoder().decode(bytes)) as object, String)
  return { errors, stats, head }
}

/** What was dropped of a run, by reason, as control has counted it. */
export async function droppedOf({ client }: TestCluster, run: string): Promise<{ readonly [reason: string]: number }> {
  const { runs } = (await client.stats()) as { runs: { run: string; dropped: { [reason: string]: number } }[] }
  return runs.find((one) => one.run === run)?.dropped ?? {}
}
