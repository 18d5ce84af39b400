/** Chaos on a cluster of processes: control, three PNodes, nats-server, MinIO, and Dapr's servers. */
import { join } from 'node:path'
import { RandomStream } from '../../runtime/random.js'
import type { Network } from '../../components/network.js'
import { stumbling, paced } from '../support/chained-block.js'
import { CLUSTER_FAULTS, type ClusterFault, Striker } from '../support/cluster-faults.js'
import { embedded, type Outcome, outcomeOf } from '../support/cluster-runs.js'
import { TestCluster, untilStep } from '../support/cluster.js'
import { forFile, serverFolder } from '../support/servers.js'
import { branchingWith, chainWith } from '../support/small-runs.js'
import type { Chaos, ChaosTask } from './main.js'

/** So often is all data seen: a run takes as long as its faults. */
const EPOCHS = 8
/** A step of a VNode takes at least so long, in ms. */
const STEP_MS = 5
/** Faults of one run, at least and at most. */
const [LEAST_FAULTS, MOST_FAULTS] = [2, 6]
const LIMIT_MS = 240_000
const WHOLE_LIMIT_MS = 60_000
const MEMBERSHIP = { suspectMs: 2_000, lostMs: 3_000 }
const NETWORKS = ['chain', 'branching'] as const

/** @throws `service.missing`: the servers are not installed */
export async function clusterChaos({ training, steps }: ChaosTask): Promise<Chaos> {
  const ends = forFile()
  const stone = join(await serverFolder(ends, 'chaos'), 'stone')
  const network = (name: (typeof NETWORKS)[number], ms: number): Network => {
    const more = () => [stumbling({ stone }), paced({ ms })]
    return name === 'chain' ? chainWith(more) : branchingWith(more)
  }
  const longer = { ...training, epochs: EPOCHS * training.epochs! }
  const totalSteps = EPOCHS * steps
  const expected: { [name: string]: Outcome } = {}
  for (const name of NETWORKS) expected[name] = await embedded(network(name, 0), longer)
  const cluster = await TestCluster.start(ends, { hosts: [], membership: MEMBERSHIP })
  await Promise.all(['a', 'b', 'c'].map((name) => cluster.join(name, { isCuttable: true })))
  return {
    async run(seed) {
      await cluster.untilWhole(WHOLE_LIMIT_MS)
      const stream = new RandomStream(seed, 'cluster')
      const pick = <T>(choices: readonly T[]): T => choices[stream.below(choices.length)]
      const name = pick(NETWORKS)
      const faults = drawFaults(stream, totalSteps)
      const options = { id: `chaos-${seed}-${process.pid}`, window: pick([1, 2, 8]), everySteps: pick([20, 50, 150]) }
      const run = cluster.train(network(name, STEP_MS), longer, options)
      const striker = new Striker({ cluster, stream, stone })
      const over = run.result.then(
        () => true,
        () => true,
      )
      const striking = (async () => {
        for (const { step, what } of faults) {
          // While control is away nobody tells how far the run is: it may be over before the next strike.
          if (await Promise.race([untilStep(run, step).then(() => false), over])) return
          void striker.strike(what, run.id)
        }
      })()
      striking.catch(() => undefined)
      try {
        const outcome = await outcomeOf(cluster, run, LIMIT_MS)
        await striking
        return { struck: striker.struck, outcome, expected: expected[name] }
      } finally {
        await striker.end()
      }
    },
    close: () => ends.end(),
  }
}

/** What happens at which step, in this order; some at once. */
function drawFaults(stream: RandomStream, totalSteps: number): { readonly step: number; readonly what: ClusterFault }[] {
  const kinds = Object.keys(CLUSTER_FAULTS) as ClusterFault[]
  const count = LEAST_FAULTS + stream.below(MOST_FAULTS - LEAST_FAULTS + 1)
  const steps: number[] = []
  for (let i = 0; i < count; i++)
    steps.push(i > 0 && stream.below(3) === 0 ? steps[stream.below(i)] : 1 + stream.below(Math.floor(totalSteps * 0.8)))
  return steps.map((step) => ({ step, what: kinds[stream.below(kinds.length)] })).toSorted((a, b) => a.step - b.step)
}
