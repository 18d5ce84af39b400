/** The central test on real processes: whatever is killed, the final weights have the hash of the embedded run's. */
import test, { type ExecutionContext, registerCompletionHandler } from 'ava'
import type { Run } from '../../actors/train.js'
import { RandomStream } from '../../runtime/random.js'
import { systemClock } from '../../runtime/clock.js'
import { readHead } from '../../runtime/head-store.js'
import { relay, solo } from '../../components/rules/index.js'
import { networks } from '../support/chaos-run.js'
import { embedded, type Outcome, outcomeOf } from '../support/cluster-runs.js'
import { TestCluster, untilStep } from '../support/cluster.js'
import type { Peer } from '../support/cluster-peer.js'
import { forFile } from '../support/servers.js'
import { TRAINING } from '../support/small-runs.js'

const STEPS_PER_EPOCH = 20
const LONGER = { ...TRAINING, epochs: 20 } as const
const RUNS = {
  chain: { network: networks.chain, training: LONGER },
  branching: { network: networks.branching, training: LONGER },
  // Of these something goes against the graph.
  'branching with relay': { network: networks.branching, training: { ...LONGER, epochs: 6, rule: relay() } },
  'chain with solo': { network: networks.chain, training: { ...LONGER, rule: solo() } },
} as const
type RunName = keyof typeof RUNS
/** SWARMGRAD_SEED gives other moments. */
const SEED = Number(process.env.SWARMGRAD_SEED ?? 1)

const file = forFile()
// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())
let cluster: TestCluster
const expected: { [name: string]: Outcome } = {}

test.before(async (t) => {
  t.log(`seed ${SEED}`)
  for (const [name, { network, training }] of Object.entries(RUNS)) expected[name] = await embedded(network, training)
  cluster = await TestCluster.start(file)
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

interface Fault {
  /** At which parts of the run. */
  readonly times: number
  readonly strike: (stream: RandomStream, run: Run) => Promise<void>
}

const pick = <T>(stream: RandomStream, from: Iterable<T>): T => {
  const all = [...from]
  return all[stream.below(all.length)]
}
/** How long it is away, in ms. */
const away = (stream: RandomStream) => systemClock.sleep(stream.below(1500))
const server = (name: keyof TestCluster['servers']['servers']) => async (stream: RandomStream) => {
  const { [name]: it } = cluster.servers.servers
  await it.kill()
  await away(stream)
  await it.restart()
}
/** One that has something of the run. */
async function busyHost(stream: RandomStream, run: Run): Promise<Peer> {
  const { head } = await readHead(cluster.store, run.id)
  return cluster.host(pick(stream, new Set(Object.values(head.directory).map(({ pnode }) => pnode))))
}

const FAULTS: { readonly [what: string]: Fault } = {
  nothing: { times: 0, strike: async () => undefined },
  'the app of a PNode': {
    times: 2,
    async strike(stream, run) {
      const peer = await busyHost(stream, run)
      await peer.killApp()
      await away(stream)
      await peer.startApp()
    },
  },
  'the daprd of a PNode': {
    times: 2,
    async strike(stream, run) {
      const { daprd } = await busyHost(stream, run)
      await daprd.kill()
      await away(stream)
      await daprd.restart()
    },
  },
  'a whole PNode': {
    times: 2,
    async strike(stream, run) {
      const peer = await busyHost(stream, run)
      await peer.kill()
      await away(stream)
      await peer.daprd.restart()
      await peer.startApp()
    },
  },
  'nats-server': { times: 2, strike: server('nats') },
  MinIO: { times: 2, strike: server('minio') },
  placement: { times: 1, strike: server('placement') },
  scheduler: { times: 1, strike: server('scheduler') },
  'the control host': {
    times: 2,
    async strike(stream) {
      await cluster.control.kill()
      await away(stream)
      await cluster.control.daprd.restart()
      await cluster.control.startApp()
    },
  },
  'the control host with its disk': { times: 1, strike: () => cluster.loseControlDisk() },
}

/** With faults of these everything is tried. */
const FOR_ALL: readonly string[] = ['a whole PNode', 'nats-server']
const PLAIN: readonly RunName[] = ['chain', 'branching']

let count = 0
for (const [what, fault] of Object.entries(FAULTS)) {
  for (const name of FOR_ALL.includes(what) ? (Object.keys(RUNS) as RunName[]) : PLAIN) {
    test.serial(`${name}, killing ${what}: the same hash, nothing lost, nothing doubled`, async (t) => {
      await sameHash(t, name, fault, count++)
    })
  }
}

async function sameHash(t: ExecutionContext, name: RunName, { times, strike }: Fault, nth: number): Promise<void> {
  t.timeout(120_000)
  await cluster.untilWhole()
  const beganMs = performance.now()
  const stream = new RandomStream(SEED, `fault ${nth}`)
  const { network, training } = RUNS[name]
  const total = STEPS_PER_EPOCH * training.epochs
  const run = cluster.train(network, training, { id: `${name.replaceAll(' ', '-')}-${nth}`, everySteps: 20 })
  const steps = Array.from({ length: times }, () => 1 + stream.below(total - 60)).toSorted((a, b) => a - b)
  let struck = 0
  const strikes = (async () => {
    for (const step of steps) {
      // While control is away nobody tells how far the run is: it may be over before the next strike.
      const over = run.result.then(
        () => true,
        () => true,
      )
      if (
        await Promise.race([
          untilStep(run, step).then(
            () => false,
            () => true,
          ),
          over,
        ])
      )
        return
      await strike(stream, run)
      struck++
    }
  })()
  strikes.catch(() => undefined)
  const { result, ...outcome } = await outcomeOf(cluster, run)
  await strikes
  const seconds = ((performance.now() - beganMs) / 1000).toFixed(1)
  t.log(`${seconds} s, struck at ${steps.join(', ') || 'no step'}: moves ${result.moves}, replayed ${result.stepsReplayed}`)
  t.true(struck >= Math.min(times, 1), 'it came to no strike')
  t.deepEqual(outcome, expected[name])
  t.like(result, { status: 'done', steps: total, stepsLost: 0, stepsDoubled: 0 })
}
