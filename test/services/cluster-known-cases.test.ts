/**
 * The cases that others test by name, on real servers and processes: Psyche's (kill one, kill all but one, rejoin during a round, pause, kill the
 * coordinator) and torchft's (SIGKILL, deadlock, a communicator that is aborted, segmentation fault). Each ends with the hash and the chains of consumption of
 * the undisturbed embedded run. And a host that is cut off: it works on with what it has, then holds, and is welcome when it is back.
 */
import { join } from 'node:path'
import test, { type ExecutionContext, registerCompletionHandler } from 'ava'
import { resume, type Run, type RunResult } from '../../actors/train.js'
import type { RunEvent } from '../../actors/events.js'
import { SOURCE } from '../../components/definition.js'
import { systemClock } from '../../runtime/clock.js'
import { readHead } from '../../runtime/head-store.js'
import { paced, stumbling } from '../support/chained-block.js'
import { embedded, type Outcome, outcomeOf } from '../support/cluster-runs.js'
import { eventOf, TestCluster, untilStep } from '../support/cluster.js'
import { forFile, serverFolder } from '../support/servers.js'
import { branchingWith, TRAINING } from '../support/small-runs.js'
import { layStone } from '../support/stones.js'
import { until } from '../support/until.js'

const HOSTS = ['a', 'b', 'c'] as const
const MEMBERSHIP = { suspectMs: 1_500, lostMs: 2_500 }
/** A step of a VNode takes at least so long, in ms, and a run has so many: what is struck is at work. */
const [STEP_MS, EPOCHS] = [5, 12]
/** Of runs that last longer than a host needs to start, or is cut off, in ms. */
const [SLOW_STEP_MS, LONG_EPOCHS, CUT_MS] = [20, 15, 15_000]
const STRIKE_STEP = 40

const file = forFile()
// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())
let cluster: TestCluster
let stone: string
/** Of a run of `EPOCHS`, and of `LONG_EPOCHS`. */
let [expected, expectedLong]: Outcome[] = []

const net = (ms: number) => branchingWith(() => [stumbling({ stone }), paced({ ms })])
const training = (epochs = EPOCHS) => ({ ...TRAINING, epochs })

test.before(async () => {
  stone = join(await serverFolder(file, 'stones'), 'stone')
  expected = await embedded(net(0), training())
  expectedLong = await embedded(net(0), training(LONG_EPOCHS))
  cluster = await TestCluster.start(file, { hosts: [], membership: MEMBERSHIP })
  await Promise.all(HOSTS.map((name) => cluster.join(name, { isCuttable: true })))
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

/** Those that have something of the run, whoever has most of it first. */
async function busyHosts(run: Run): Promise<string[]> {
  const { directory } = (await readHead(cluster.store, run.id)).head
  const counts = new Map<string, number>()
  for (const { pnode } of Object.values(directory)) counts.set(pnode, (counts.get(pnode) ?? 0) + 1)
  return [...counts].toSorted(([, a], [, b]) => b - a).map(([pnode]) => pnode)
}

async function back(...names: readonly string[]): Promise<void> {
  await Promise.all(
    names.map(async (name) => {
      const peer = cluster.host(name)
      if (!peer.daprd.isRunning) await peer.daprd.restart()
      if (!peer.isRunning) await peer.startApp()
    }),
  )
}

async function owners(run: string): Promise<string[]> {
  const { directory } = (await readHead(cluster.store, run)).head
  return [...new Set(Object.values(directory).map(({ pnode }) => pnode))]
}

/** A run on the whole cluster, as far as the step at which it is struck. */
async function begun(id: string, { isLong = false } = {}): Promise<{ readonly run: Run; readonly busy: readonly string[] }> {
  await back(...HOSTS)
  await cluster.untilWhole()
  const run = cluster.train(net(isLong ? SLOW_STEP_MS : STEP_MS), training(isLong ? LONG_EPOCHS : EPOCHS), { id, everySteps: 20 })
  await untilStep(run, STRIKE_STEP)
  return { run, busy: await busyHosts(run) }
}

/** Strikes a run, and sees it end as if nothing had happened. @param strike told of the host that has most of it */
async function struck(t: ExecutionContext, id: string, strike: (busiest: string) => Promise<unknown>): Promise<RunResult> {
  const { run, busy } = await begun(id)
  await strike(busy[0])
  return ends(t, run)
}

async function ends(t: ExecutionContext, run: Run, wanted = expected): Promise<RunResult> {
  const { result, ...outcome } = await outcomeOf(cluster, run)
  t.deepEqual(outcome, wanted)
  t.like(result, { status: 'done', stepsLost: 0, stepsDoubled: 0, deadLetters: 0 })
  t.log(`moves ${result.moves}, replayed ${result.stepsReplayed}`)
  return result
}

test.serial('Psyche: one host is killed, process and sidecar, and the run ends without it', async (t) => {
  const { moves } = await struck(t, 'one', (busiest) => cluster.host(busiest).kill())
  t.true(moves > 0)
})

test.serial('Psyche: all hosts but one are killed at once, and the run ends on the one', async (t) => {
  const [left, ...others] = HOSTS
  await struck(t, 'but-one', () => Promise.all(others.map((name) => cluster.host(name).kill())))
  t.deepEqual(await owners('but-one'), [left])
})

test.serial('Psyche: a host that was killed rejoins while steps are under way, and is alone in the end', async (t) => {
  const { run, busy } = await begun('rejoin', { isLong: true })
  const [killed] = busy
  await cluster.host(killed).kill()
  await eventOf(run, ({ type }) => type === 'relocated')
  await back(killed)
  await Promise.all(HOSTS.filter((name) => name !== killed).map((name) => cluster.host(name).kill()))
  await ends(t, run, expectedLong)
  t.deepEqual(await owners('rejoin'), [killed])
})

test.serial('Psyche: the run is paused while a host is lost, and goes on later', async (t) => {
  const { run, busy } = await begun('paused')
  await Promise.all([run.pause(), cluster.host(busy[0]).kill()])
  t.like(await run.result, { status: 'paused', stepsLost: 0, stepsDoubled: 0 })
  await ends(t, resume('paused', { on: cluster.on() }))
})

test.serial('Psyche: the coordinator is killed together with a host, and goes on from the store', async (t) => {
  await struck(t, 'coordinator', async (busiest) => {
    const { control } = cluster
    await Promise.all([control.kill(), cluster.host(busiest).kill()])
    await control.daprd.restart()
    await control.startApp()
  })
})

test.serial('torchft: SIGKILL of a process that computes; its sidecar stays', async (t) => {
  const { moves } = await struck(t, 'sigkill', (busiest) => cluster.host(busiest).killApp())
  t.true(moves > 0)
})

test.serial('torchft: a segmentation fault in a process that computes', async (t) => {
  const { moves } = await struck(t, 'segfault', async (busiest) => {
    const peer = cluster.host(busiest)
    peer.signal('SIGSEGV')
    t.is(await peer.ended(), 'SIGSEGV')
  })
  t.true(moves > 0)
})

test.serial('torchft: a deadlock of a whole process that lasts as long as the run', async (t) => {
  let stopped: string | undefined
  try {
    const { moves } = await struck(t, 'stopped', async (busiest) => cluster.host((stopped = busiest)).signal('SIGSTOP'))
    t.true(moves > 0)
  } finally {
    if (stopped) cluster.host(stopped).signal('SIGCONT')
  }
})

test.serial('torchft: a deadlock in a worker that never ends: it is replaced after its deadline', async (t) => {
  const over = new AbortController()
  await struck(t, 'deadlock', async () => t.true(await layStone(stone, Infinity, over.signal)))
})

test.serial('torchft: communicators are aborted: every host loses its connections to the broker at once', async (t) => {
  await struck(t, 'aborted', async () => {
    for (const { line } of cluster.hosts.values()) line!.abort()
  })
})

test.serial('a host that is heard and does not reach the object store: what it has goes on elsewhere', async (t) => {
  t.timeout(200_000)
  const { run, busy } = await begun('no-store')
  const line = cluster.hosts.get(busy[0])!.line!
  line.cutStore()
  const isStanding = (event: RunEvent) => event.type === 'lost' && event.what === 'standstill'
  try {
    const event = await eventOf(run, isStanding)
    t.like(event, { pnode: busy[0] })
    await ends(t, run)
    const { directory } = (await readHead(cluster.store, run.id)).head
    // A source has no state that would have to go there.
    if (event?.type === 'lost') for (const vnode of event.vnodes) t.not(directory[vnode].pnode, busy[0])
  } finally {
    line.mendStore()
  }
})

test.serial(
  'a host is cut off: it does what it has credit for, then holds, loses what it had, and is welcome when it is back',
  async (t) => {
    t.timeout(200_000)
    const { run } = await begun('cut-off', { isLong: true })
    const placed = async () => (await readHead(cluster.store, run.id)).head.directory
    const { pnode, term } = (await placed())[SOURCE]
    const peer = cluster.host(pnode)
    const { line } = cluster.hosts.get(pnode)!
    const mine = async () => (await peer.stats()).filter((one) => one.run === run.id)
    const applied = async () => (await mine()).map(({ vnode, applied: position }) => [vnode, position])
    await line!.cut(peer)
    const mended = systemClock.sleep(CUT_MS).then(() => line!.mend(peer))
    await until(
      () => `the source is not on ${pnode} any more`,
      async () => (await placed())[SOURCE].term > term,
    )
    const held = await applied()
    t.log(JSON.stringify(held))
    await systemClock.sleep(CUT_MS / 3)
    t.deepEqual(await applied(), held)
    await mended
    await until(
      () => `${pnode} is welcome, and lets go of what it had`,
      async () => {
        const member = (await cluster.client.pnodes()).find((one) => one.pnode === pnode)
        const [directory, has] = [await placed(), await mine()]
        return member?.state === 'ready' && has.every((one) => one.term === directory[one.vnode].term)
      },
    )
    const { moves } = await ends(t, run, expectedLong)
    t.true(moves > 0)
  },
)
