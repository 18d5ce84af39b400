/** A machine that lies about its speed, among real processes. */
import test, { registerCompletionHandler } from 'ava'
import { DEFAULT_TIERS } from '../../actors/placement/admission.js'
import type { RunEvent } from '../../actors/events.js'
import { networks } from '../support/chaos-run.js'
import { embedded, type Outcome, outcomeOf } from '../support/cluster-runs.js'
import { TestCluster } from '../support/cluster.js'
import { forFile } from '../support/servers.js'
import { TRAINING } from '../support/small-runs.js'

const LONG = { ...TRAINING, epochs: 60 } as const
const [first, second, third] = DEFAULT_TIERS
/** What machines say here is 40: a tenth of it is not enough. */
const tiers = [first, second, { ...third, gflops: 10 }] as const

const file = forFile()
// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())
let cluster: TestCluster
let expected: Outcome

test.before(async () => {
  expected = await embedded(networks.chain, LONG)
  cluster = await TestCluster.start(file, { hosts: [], membership: { tiers, rateMs: 1_000 } })
  await Promise.all(['ann', 'bob'].map((name) => cluster.join(name, { pretence: { slowness: 1 } })))
  await cluster.join('liar', { pretence: { slowness: 12 } })
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

test.serial(
  'a machine that is a twelfth of what it says is found by its steps, listed as an observer, and no step is done again',
  async (t) => {
    await cluster.untilWhole()
    const run = cluster.train(networks.chain, LONG, { id: 'lied-to', everySteps: 50 })
    const events: RunEvent[] = []
    const story = (async () => {
      for await (const event of run.events()) events.push(event)
    })()
    const { result, ...outcome } = await outcomeOf(cluster, run)
    await story
    t.deepEqual(outcome, expected)
    t.like(result, { stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
    // On a busy machine it may take more than one look.
    const rated = events.find((event) => event.type === 'rated' && event.state === 'observer')
    t.like(rated, { pnode: 'liar', saidGflops: 40 })
    const moved = events.filter((event) => event.type === 'placed' && event.reason === 'handed over by liar')
    t.true(moved.length > 0)
    const members = await cluster.client.pnodes()
    const liar = members.find(({ pnode }) => pnode === 'liar')
    t.like(liar, { state: 'observer', saidGflops: 40, refusal: { measure: 'gflops', needed: 10 } })
    for (const { roundTripMs = 0, uploadBytesPerS = 0 } of members) t.true(roundTripMs > 0 && uploadBytesPerS > 0)
  },
)
