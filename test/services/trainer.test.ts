/** The trainer's commands on real processes: the run goes on without it, and is the same run. */
import { once } from 'node:events'
import test from 'ava'
import { readHead } from '../../runtime/head-store.js'
import { folderOf, type JsonLine, type StartOptions, start, swarmgrad } from '../cli/command.js'
import { TestCluster } from '../support/cluster.js'
import { forFile } from '../support/servers.js'

const file = forFile()
let cluster: TestCluster
let env: StartOptions['env']

test.before(async () => {
  cluster = await TestCluster.start(file)
  env = { SWARMGRAD_CLUSTER: cluster.url, SWARMGRAD_TOKEN: cluster.token }
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

test.serial('a run has the same hash and the same last line as on one machine', async (t) => {
  const folder = await folderOf(t)
  const words = ['train', 'tiny.yaml', '--id', 'tiny', '--json', '--quiet']
  const [local, remote] = [await swarmgrad(t, folder, [...words, '--no-threads']), await swarmgrad(t, folder, words, { env })]
  t.is(remote.status, 0, remote.stdout + remote.stderr)
  const [mine, theirs] = [local.lines.at(-1)!, remote.lines.at(-1)!]
  t.deepEqual(Object.keys(theirs), Object.keys(mine))
  t.like(theirs, { type: 'done', run: 'tiny', steps: 24, hash: mine.hash, moves: 0, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  const verified = await swarmgrad(t, folder, ['verify', 'tiny', '--json'], { env })
  t.like(verified.lines.at(-1), { type: 'verified', same: true, hash: mine.hash })
})

test.serial('a trainer leaves, control is killed and comes back, and whoever follows misses nothing', async (t) => {
  const folder = await folderOf(t)
  // Longer than the test takes on any machine: it ends by a pause.
  const train = ['train', 'tiny.yaml', '--epochs', '100000', '--checkpoint-every', '20', '--json']
  const trainer = start(t, folder, [...train, '--id', 'long'], { env })
  await trainer.until(({ type }) => type === 'progress')
  trainer.child.kill('SIGKILL')
  await once(trainer.child, 'exit')
  const watching = start(t, folder, ['events', 'long', '--follow', '--json'], { env })
  const stepOf = (line: JsonLine) => (line.type === 'checkpoint' ? Number(line.step) : 0)
  const before = stepOf(await watching.until((line) => stepOf(line) > 0))
  await cluster.control.kill()
  await cluster.control.daprd.restart()
  await cluster.control.startApp()
  await watching.until((line) => stepOf(line) > before + 60)
  const status = await swarmgrad(t, folder, ['status', 'latest', '--json'], { env })
  t.like(status.lines[0], { run: 'long', status: 'running' })
  t.is((await swarmgrad(t, folder, ['pause', 'long'], { env })).status, 0)
  const { lines, stdout, status: exit } = await watching.ended
  t.is(exit, 0)
  t.is(lines.at(-1)?.type, 'paused')
  const story = stdout.trimEnd().split('\n')
  t.is(new Set(story).size, story.length, 'no event twice')
  const steps = lines.map(stepOf).filter((step) => step > 0)
  t.deepEqual(
    steps,
    [...new Set(steps)].toSorted((a, b) => a - b),
  )
  const { head } = await readHead(cluster.store, 'long')
  t.is(steps.at(-1), head.manifests[0].step)

  const resumed = start(t, folder, ['resume', 'long', '--json'], { env })
  await resumed.until((line) => stepOf(line) > head.manifests[0].step)
  t.is((await swarmgrad(t, folder, ['pause', 'long'], { env })).status, 0)
  t.is((await resumed.ended).status, 3)
  const verified = await swarmgrad(t, folder, ['verify', 'long', '--json'], { env })
  t.like(verified.lines.at(-1), { type: 'verified', same: true }, verified.stdout)
})

test.serial('doctor finds the servers of the cluster', async (t) => {
  const { status, lines } = await swarmgrad(t, await folderOf(t), ['doctor', '--json'], { env })
  t.is(status, 0, JSON.stringify(lines))
  const states = Object.fromEntries(lines.map(({ name, state }) => [name, state]))
  t.like(states, {
    control: 'ok',
    version: 'ok',
    clock: 'ok',
    token: 'ok',
    broker: 'ok',
    placement: 'ok',
    scheduler: 'ok',
    store: 'ok',
    pnodes: 'ok',
  })
})

test.serial('without control a command has status 4, and the run is none the worse', async (t) => {
  const folder = await folderOf(t)
  t.is((await swarmgrad(t, folder, ['train', 'tiny.yaml', '--epochs', '40', '--id', 'alone', '--detach'], { env })).status, 0)
  await cluster.control.killApp()
  const ended = await swarmgrad(t, folder, ['status', 'alone', '--json'], { env })
  t.is(ended.status, 4)
  t.like(ended.lines.at(-1), { type: 'error', code: 'cluster.unreachable', retryable: true })
  await cluster.control.startApp()
  const followed = await swarmgrad(t, folder, ['events', 'alone', '--follow', '--json'], { env })
  t.is(followed.lines.at(-1)?.type, 'done')
})
