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
const EPOCHS = 6
/** A step of a VNode takes at least so long, in ms. */
const STEP_MS = 5
/** One run in so many has a host that is cut off for two minutes, and lasts at least so long, in ms. */
const [LONG_CUT_EVERY, LONG_RUN_MS] = [20, 180_000]
/** Faults of one run, at least and at most. */
const [LEAST_FAULTS, MOST_FAULTS] = [4, 12]
/** On a busy machine a run with twelve of them may take minutes. */
const LIMIT_MS = 900_000
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
      const isLong = seed % LONG_CUT_EVERY === LONG_CUT_EVERY / 2
      const faults = drawFaults(stream, totalSteps)
      if (isLong) faults.unshift({ step: Math.ceil(totalSteps / 20), what: 'PNode cut off for 120 s' })
      const stepMs = isLong ? Math.ceil(LONG_RUN_MS / totalSteps) : STEP_MS
      const options = {
        id: `chaos-${seed}-${process.pid}`,
        window: pick([1, 2, 8]),
        everySteps: pick([20, 50, 150]),
        replicas: pick([0, 0, 1]),
      }
      const run = cluster.train(network(name, stepMs), longer, options)
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

interface Planned {
  readonly step: number
  readonly what: ClusterFault
}

/** What happens at which step, in this order; some at once. */
function drawFaults(stream: RandomStream, totalSteps: number): Planned[] {
  const kinds = Object.keys(CLUSTER_FAULTS) as (keyof typeof CLUSTER_FAULTS)[]
  const planned: Planned[] = []
  const count = LEAST_FAULTS + stream.below(MOST_FAULTS - LEAST_FAULTS + 1)
  while (planned.length < count) {
    const what = kinds[stream.below(kinds.length)]
    const isAtOnce = planned.length > 0 && stream.below(3) === 0
    const step = isAtOnce ? planned[stream.below(planned.length)].step : 1 + stream.below(Math.floor(totalSteps * 0.8))
    // The same step may hang once: twice, on two machines, it would be the step's fault.
    if (what !== 'worker hangs' || planned.every((one) => one.what !== what)) planned.push({ step, what })
  }
  return planned.toSorted((a, b) => a.step - b.step)
}
