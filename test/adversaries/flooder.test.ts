/** A host that floods whoever reads it: the run ends as if it did not, what it sends is refused and counted, and it is told who does it. */
import test from 'ava'
import { FloodWatch } from '../../actors/pnode/flood-watch.js'
import type { RunEvent } from '../../actors/events.js'
import type { Seams } from '../../actors/pnode/seams.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { local, type RunOptions, train } from '../../actors/train.js'
import { ADVERSARIES } from '../../adversaries/adversaries.js'
import { followed } from '../../runtime/followers.js'
import { readHead } from '../../runtime/head-store.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { wrapBus } from '../support/broken-buses.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { branching, openObjects, TRAINING } from '../support/small-runs.js'
import { measuredAlike } from './measured-alike.js'

const pools = openPools()
test.after.always(() => pools.close())
const LIARS: readonly string[] = ['pnode-2', 'pnode-3']
let names = 0

/** A bus that counts the bytes that go out over it. */
function counted(honest: Seams, add: (bytes: number) => void): Seams {
  const publish: TensorBus['publish'] = (subject, bytes) => {
    add(bytes.byteLength)
    honest.bus.publish(subject, bytes)
  }
  return { ...honest, bus: { ...wrapBus(honest.bus), publish } }
}

async function ended(isFlooded: boolean, options: RunOptions) {
  const { store } = openObjects()
  const id = `flooded-${++names}`
  let swarm: LocalSwarm | undefined
  let [floodBytes, mostBytes] = [0, 0]
  const run = train(
    branching,
    TRAINING,
    { on: local({ pnodes: 6, membership: { rateMs: 1e9 } }), store, checkpoint: { everySteps: 10 }, ...options },
    {
      id,
      pool: renamed(pools.inline, `${id}-`),
      onSwarm: (made) => (swarm = made),
      onObservation: () => (mostBytes = Math.max(mostBytes, process.memoryUsage().rss)),
      disguise: (pnode, honest) => {
        const alike = measuredAlike(honest)
        return isFlooded && LIARS.includes(pnode) ? ADVERSARIES.flooder(counted(alike, (bytes) => (floodBytes += bytes))) : alike
      },
    },
  )
  const events: RunEvent[] = []
  const story = (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  const { hash, history } = await run.result.then(async (result) => ({ ...result, history: await run.history() }))
  await story
  const { head } = await readHead(store, id)
  const suspected = events.flatMap((event) => (event.type === 'suspected' ? [event] : []))
  return { hash, history, head, events, suspected, dropped: swarm!.monitor.dropped, floodBytes, mostBytes }
}

for (const [what, options] of Object.entries({ 'nothing else is looked at': {}, 'all is audited': { audits: 1 } })) {
  test.serial(`where ${what} the end is the same, nobody is convicted, and who floods is named once by each that reads him`, async (t) => {
    const honest = await ended(false, options)
    const flooded = await ended(true, options)
    t.is(flooded.hash, honest.hash)
    t.deepEqual(flooded.history, honest.history)
    t.is(flooded.head.excluded, undefined)
    t.true(flooded.floodBytes > 5e6, `${flooded.floodBytes} bytes`)
    for (const reason of ['duplicate', 'term', 'frame.damaged', 'step']) t.true((flooded.dropped.get(reason) ?? 0) > 0, reason)
    t.true(flooded.dropped.get('duplicate')! > 1_000, `${flooded.dropped.get('duplicate')} duplicates`)
    const floods = flooded.suspected.filter(({ reason }) => reason === 'flood')
    t.true(floods.length > 0)
    // Whoever audits is another one each time.
    const owners = floods.filter(({ by }) => followed(by) === undefined)
    t.is(new Set(owners.map(({ vnode, by, term }) => `${vnode} ${by} ${term}`)).size, owners.length)
    for (const { pnode } of flooded.suspected) t.true(LIARS.includes(pnode))
    t.true(
      owners.some(({ byPnode }) => !LIARS.includes(byPnode)),
      'it is not they alone who say so',
    )
    t.deepEqual(honest.suspected, [])
    t.false(flooded.events.some(({ type }) => type === 'rolledBack' || type === 'lost'))
    // Nothing of it is kept: what readers hold is what an honest run holds, and what is on its way.
    t.true(flooded.mostBytes - honest.mostBytes < 200e6, `${(flooded.mostBytes - honest.mostBytes) / 1e6} MB more`)
  })
}

test('what is asked for again, or comes twice, is no flood; far more than that is', (t) => {
  const fair = new FloodWatch()
  const isFlood: boolean[] = []
  for (let i = 0; i < 10_000; i++) for (const isTaken of [true, false, false]) isFlood.push(fair.heard('a', isTaken))
  t.false(isFlood.includes(true), 'three times each')
  const starved = new FloodWatch()
  for (let tick = 0; tick < 1_000; tick++) {
    starved.asked(8)
    for (let i = 0; i < 8; i++) t.false(starved.heard('a', false), 'what was asked for while another input is missing')
  }
  const flooded = new FloodWatch()
  flooded.heard('b', true)
  const first = Array.from({ length: 5_000 }, () => flooded.heard('a', false)).indexOf(true)
  t.true(first > 500 && first < 2_000, `${first}`)
  t.false(flooded.heard('b', false), 'who sends as he should is not suspected for it')
})
