/** A PNode that stands still while its VNodes move, and then goes on as if nothing had happened. */
import test, { registerCompletionHandler } from 'ava'
import type { Run } from '../../actors/train.js'
import { readDefinition } from '../../actors/run/run-definition.js'
import { SOURCE } from '../../components/definition.js'
import { decodeFrame, type FrameHeader, MARK } from '../../runtime/frame.js'
import { readHead } from '../../runtime/head-store.js'
import { subjectOf } from '../../runtime/signal.js'
import { natsBus } from '../../runtime/tensor-bus/nats-bus.js'
import { droppedOf, embedded, outcomeOf } from '../support/cluster-runs.js'
import { eventOf, TestCluster, untilStep } from '../support/cluster.js'
import { slowBranching, TRAINING } from '../support/small-runs.js'
import { until } from '../support/until.js'

const LONG = { ...TRAINING, epochs: 9 } as const
/** A step takes so long, in ms, that a frozen VNode is in the middle of one. */
const STEP_MS = 15
/** The broker gives up who answers no ping for 10 s: what a frozen PNode has under way is still to arrive when it goes on. */
const MEMBERSHIP = { suspectMs: 2_000, lostMs: 3_000 }
/** A frozen process may have stood between two steps. */
const MAX_FREEZES = 3
const LATE = ['term', 'late commit', 'late evaluation'] as const

type Dropped = Awaited<ReturnType<typeof droppedOf>>

// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())

test('a frozen PNode changes nothing: what it sends late is refused by term, and counted', async (t) => {
  t.timeout(150_000)
  const expected = await embedded(slowBranching(0), LONG)
  // Nobody has them all: there is always somebody who sends to another machine.
  const cluster = await TestCluster.start(t, { hosts: [], membership: MEMBERSHIP })
  await Promise.all(['a', 'b', 'c'].map((name) => cluster.join(name, { maxVNodes: 3 })))
  await cluster.untilWhole()
  const run = cluster.train(slowBranching(STEP_MS), LONG, { id: 'frozen', everySteps: 4 })
  await untilStep(run, 10)
  let late = { frames: 0, dropped: {} as Dropped }
  for (let i = 0; i < MAX_FREEZES && !(late.frames > 0 && isAllLate(late.dropped)); i++) {
    const frames = await freeze(cluster, run)
    late = { frames: late.frames + frames, dropped: await droppedOf(cluster, run.id) }
    t.log(`${frames} late frames, dropped ${JSON.stringify(late.dropped)}`)
  }
  t.true(late.frames > 0, 'frames')
  for (const reason of LATE) t.true(late.dropped[reason] > 0, reason)
  const { result, ...outcome } = await outcomeOf(cluster, run)
  t.log(`replayed ${result.stepsReplayed}`)
  t.deepEqual(outcome, expected)
  t.like(result, { stepsLost: 0, stepsDoubled: 0 })
})

const isAllLate = (dropped: Dropped): boolean => LATE.every((reason) => dropped[reason] > 0)

/** Freezes a PNode that has a frame, a commit and an evaluation to send, until what it has is somewhere else. Resolves with its late frames. */
async function freeze(cluster: TestCluster, run: Run): Promise<number> {
  const { directory } = (await readHead(cluster.store, run.id)).head
  const { network } = await readDefinition(cluster.store, run.id)
  const edges = network.vnodes.flatMap(({ id, inputs }) => inputs.map((input) => [input, id] as const))
  const places = (vnode: string) => directory[vnode].pnode
  // Not the machine of the source: without it nobody would have anything to do.
  const edge = edges.find(([from, to]) => places(from) !== places(to) && places(from) !== places(SOURCE))
  if (!edge) throw new Error(`nobody but the machine of the source sends to another one: ${JSON.stringify(directory)}`)
  const [sender, reader] = edge
  const { term, pnode } = directory[sender]
  const peer = cluster.host(pnode)
  const heard = await framesOf(cluster, places(reader), subjectOf(run.id, places(reader), reader, 'frame'), pnode)
  const mine = () => heard.filter((frame) => frame.vnode === sender && frame.term === term)
  // First its calls stay on their way: from then on it has a commit and an evaluation to tell. Then itself, in the middle of a step.
  await peer.daprd.kill('SIGSTOP')
  const before = mine().length
  const has = (mark: number) => mine().some(({ marks }, i) => i >= before && (marks & mark) !== 0)
  await until(
    () => `${sender} on ${pnode} has a commit and an evaluation to tell: ${JSON.stringify(mine().slice(before))}`,
    () => has(MARK.cut) && has(MARK.evaluate),
  )
  const moved = eventOf(run, (event) => event.type === 'relocated' && event.vnode === sender && event.term > term)
  peer.signal('SIGSTOP')
  await moved
  const stood = mine().length
  peer.signal('SIGCONT')
  await peer.daprd.kill('SIGCONT')
  // What comes later than that does not come: the next freeze is to show it.
  const isComplete = async () => mine().length > stood && isAllLate(await droppedOf(cluster, run.id))
  await until(() => `late ones of ${pnode}`, isComplete, { limitMs: 2_000 }).catch(() => undefined)
  return mine().length - stood
}

/**
 * The frames of `sender` that arrive at a host, heard with its own rights, as they come. It listens to the end of the test: to the broker
 * it is the host's newest connection, whose end would be the host's loss.
 */
async function framesOf(cluster: TestCluster, host: string, subject: string, sender: string): Promise<readonly FrameHeader[]> {
  const { broker } = cluster.host(host).joined!
  const bus = await natsBus({
    servers: [...broker.servers],
    name: host,
    credentials: { jwt: broker.jwt, seed: cluster.hosts.get(host)!.key.seed },
  })
  const subscription = bus.subscribe(subject, { capacity: 4_096 })
  const frames: FrameHeader[] = []
  void (async () => {
    for await (const delivery of subscription) {
      if (delivery.type === 'message' && delivery.from === sender) frames.push(decodeFrame(delivery.bytes).header)
    }
  })()
  await subscription.ready
  return frames
}
