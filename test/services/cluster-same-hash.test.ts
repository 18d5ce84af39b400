/** The central test on real processes: whatever is killed, the final weights have the hash of the embedded run's. */
import test, { type ExecutionContext } from 'ava'
import { local, type Run, type RunResult, train } from '../../actors/train.js'
import { RandomStream } from '../../runtime/random.js'
import { systemClock } from '../../runtime/clock.js'
import { readHead } from '../../runtime/head-store.js'
import { networks, type NetworkName } from '../support/chaos-run.js'
import { TestCluster, untilStep } from '../support/cluster.js'
import type { Peer } from '../support/cluster-peer.js'
import { forFile } from '../support/servers.js'
import { chainsOf, openObjects, TRAINING } from '../support/small-runs.js'

const EPOCHS = 20
const STEPS = 20 * EPOCHS
const LONGER = { ...TRAINING, epochs: EPOCHS } as const
/** Another one each time; given, the same moments again. */
const SEED = Number(process.env.SWARMGRAD_SEED ?? Math.floor(Math.random() * 1e6))

const file = forFile()
let cluster: TestCluster
const expected: { [name: string]: { hash: string; chains: object } } = {}

test.before(async (t) => {
  t.log(`seed ${SEED}`)
  for (const name of ['chain', 'branching'] as const) {
    const { store } = openObjects()
    const run = train(networks[name], LONGER, { on: local({ pnodes: 2, threads: false }), store }, { id: 'undisturbed' })
    expected[name] = { hash: (await run.result).hash!, chains: await chainsOf(store, run.id) }
  }
  cluster = await TestCluster.start(file)
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

interface Fault {
  /** At which parts of the run. */
  readonly times: number
  strike(stream: RandomStream, run: Run): Promise<void>
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

let count = 0
for (const [what, fault] of Object.entries(FAULTS)) {
  for (const name of ['chain', 'branching'] as const) {
    test.serial(`${name}, killing ${what}: the same hash, nothing lost, nothing doubled`, async (t) => {
      await sameHash(t, name, fault, count++)
    })
  }
}

async function sameHash(t: ExecutionContext, name: NetworkName, { times, strike }: Fault, nth: number): Promise<void> {
  t.timeout(120_000)
  await cluster.untilWhole()
  const beganMs = performance.now()
  const stream = new RandomStream(SEED, `fault ${nth}`)
  const run = cluster.train(networks[name], LONGER, { id: `${name}-${nth}`, everySteps: 20 })
  const steps = Array.from({ length: times }, () => 1 + stream.below(STEPS - 60)).toSorted((a, b) => a - b)
  const strikes = (async () => {
    for (const step of steps) {
      await untilStep(run, step)
      await strike(stream, run)
    }
  })()
  strikes.catch(() => undefined)
  let result: RunResult
  try {
    result = await within(run, 100_000)
  } catch (error) {
    t.log(JSON.stringify(await diagnosis(run)))
    throw error
  }
  await strikes
  t.log(
    `${((performance.now() - beganMs) / 1000).toFixed(1)} s, struck at ${steps.join(', ')}: moves ${result.moves}, replayed ${result.stepsReplayed}`,
  )
  const chains = await chainsOf(cluster.store, run.id)
  t.deepEqual(chains, expected[name].chains)
  t.is(result.hash, expected[name].hash)
  t.like(result, { status: 'done', steps: STEPS, stepsLost: 0, stepsDoubled: 0 })
}

async function within(run: Run, limitMs: number): Promise<RunResult> {
  const limit = new AbortController()
  try {
    return await Promise.race([
      run.result,
      systemClock.sleep(limitMs, limit.signal).then(() => {
        throw new Error(`run ${run.id} not done after ${limitMs} ms`)
      }),
    ])
  } finally {
    limit.abort()
  }
}

async function diagnosis(run: Run) {
  const errors = Object.fromEntries(
    [['control', cluster.control] as const, ...[...cluster.hosts].map(([name, { peer }]) => [name, peer] as const)].map(([name, peer]) => [
      name,
      peer.errors.slice(-3),
    ]),
  )
  const stats = await cluster.client.stats().catch(String)
  const head = await cluster.store
    .get(`runs/${run.id}/head`)
    .then(({ bytes }) => JSON.parse(new TextDecoder().decode(bytes)) as object, String)
  return { errors, stats, head }
}
