import { chmod, mkdir, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { controlApi } from '../../actors/control/control-api.js'
import { systemClock } from '../../runtime/clock.js'
import { listen } from '../../runtime/http-server.js'
import { VERSION } from '../../runtime/version.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { type Ended, folderOf, type JsonLine, type StartOptions, swarmgrad } from './command.js'
import { on } from './on-cluster.js'

const LONG = ['train', 'tiny.yaml', '--epochs', '3000', '--checkpoint-every', '20', '--json']
/** What differs from one run to the next. */
const OWN = new Set([
  'atMs',
  'startedMs',
  'seconds',
  'samplesPerSecond',
  'sizeBytes',
  'pid',
  'load',
  'gflops',
  'score',
  'candidates',
  'pnode',
  'pnodes',
  'vnodes',
])
const sameFields = (lines: readonly JsonLine[]) =>
  lines.map((line) => Object.fromEntries(Object.entries(line).map(([name, value]) => [name, OWN.has(name) ? '…' : value])))

test.serial('on a cluster the commands say what they say on one machine', async (t) => {
  const folder = await folderOf(t)
  const cluster = await memoryCluster(t)
  const there = on(cluster)
  const train = ['train', 'tiny.yaml', '--id', 'glyphs-one', '--json', '--quiet']
  const [local, remote] = [await swarmgrad(t, folder, [...train, '--no-threads']), await there.run(t, folder, train)]
  t.is(remote.status, 0, remote.stdout + remote.stderr)
  t.deepEqual(sameFields(remote.lines), sameFields(local.lines))
  const again = await there.run(t, folder, ['train', 'tiny.yaml', '--from', 'glyphs-one', '--epochs', '1', '--id', 'glyphs-two'])
  t.is(again.status, 0, again.stderr)
  t.regex(again.stdout, /^\d+\.\d % · 0 moves, 0 steps replayed, 0 lost, 0 doubled · [0-9a-f]{12}…\n$/)
  t.regex(again.stderr, /3 PNodes[^]*✂ dense-1[^]*started: 8 steps[^]*done after 8 steps/)
  for (const words of [
    ['status', 'glyphs-o'],
    ['metrics', 'glyphs-one'],
    ['verify', 'glyphs-one', '--pnodes', '1'],
    ['explain', 'dense-2', '--run', 'glyphs-one'],
  ]) {
    const [mine, theirs] = await Promise.all([swarmgrad(t, folder, [...words, '--json']), there.run(t, folder, [...words, '--json'])])
    t.is(theirs.status, mine.status, theirs.stdout)
    t.deepEqual(sameFields(theirs.lines), sameFields(mine.lines), words.join(' '))
  }
  const [runs, difference, events, followed] = await Promise.all([
    there.run(t, folder, ['runs', '--json']),
    there.run(t, folder, ['diff', 'glyphs-one', 'latest', '--json']),
    there.run(t, folder, ['events', 'glyphs-one', '--json']),
    there.run(t, folder, ['events', 'glyphs-one', '--json', '--follow', '--since', '9']),
  ])
  t.deepEqual(
    runs.lines.map(({ run, status }) => [run, status]),
    [
      ['glyphs-one', 'done'],
      ['glyphs-two', 'done'],
    ],
  )
  t.is(difference.status, 1)
  t.like(difference.lines[0], { type: 'compared', same: false })
  t.is(events.lines.filter(({ type }) => type === 'started').length, 1)
  t.is(events.lines.at(-1)?.type, 'done')
  t.is(followed.lines.at(-1)?.type, 'done')
  t.false(followed.lines.some(({ type }) => type === 'started'))
  await writeFile(
    join(folder, 'rows.csv'),
    `${Array.from({ length: 784 }, (_, i) => `p${i}`).join(',')}\n${Array(784).fill(0).join(',')}\n`,
  )
  const predicted = await there.run(t, folder, ['predict', 'glyphs-one', '--data', 'rows.csv', '--out', 'out.jsonl', '--json'])
  t.like(predicted.lines.at(-1), { type: 'predicted', samples: 1 }, predicted.stdout)
  t.is((await there.run(t, folder, ['delete', 'glyphs-two', '--yes'])).status, 0)
  t.deepEqual(
    (await there.run(t, folder, ['runs', '--json'])).lines.map(({ run }) => run),
    ['glyphs-one'],
  )
  t.deepEqual(cluster.errors, [])
})

test.serial('the run goes on without the trainer, is picked up from anywhere, paused, and resumed', async (t) => {
  const folder = await folderOf(t)
  const there = on(await memoryCluster(t))
  const detached = await there.run(t, folder, [...LONG, '--id', 'long', '--detach'])
  t.is(detached.status, 0, detached.stdout)
  t.deepEqual(detached.lines.at(-1), { v: 1, type: 'detached', run: 'long', pid: null, log: null })

  const elsewhere = await folderOf(t)
  const watching = there.start(t, elsewhere, ['events', 'long', '--follow', '--json'])
  await watching.until(({ type }) => type === 'checkpoint')
  t.like((await there.run(t, elsewhere, ['status', 'latest', '--json'])).lines[0], { run: 'long', status: 'running', pid: null })
  for (const words of [
    ['delete', 'long', '--yes'],
    ['resume', 'long'],
  ]) {
    const refused = await there.run(t, folder, [...words, '--json'])
    t.is(refused.status, 1)
    t.like(refused.lines.at(-1), { code: 'run.busy' })
  }
  const paused = await there.run(t, elsewhere, ['pause', 'long', '--json'])
  t.is(paused.status, 0)
  t.like(paused.lines.at(-1), { type: 'paused', status: 'paused' })
  const watched = await watching.ended
  t.is(watched.status, 0)
  t.is(watched.lines.at(-1)?.type, 'paused')
  const story = watched.stdout.trimEnd().split('\n')
  t.is(new Set(story).size, story.length, 'no event twice')

  const resumed = there.start(t, folder, ['resume', 'long', '--json'])
  await resumed.until(({ type }) => type === 'checkpoint')
  resumed.child.kill('SIGINT')
  const left = await resumed.ended
  t.is(left.status, 0, left.stderr)
  t.like(left.lines.at(-1), { type: 'detached', run: 'long' })
  t.is(left.lines.find(({ type }) => type === 'started')?.generation, 2)
  const told = await there.start(t, folder, ['resume', 'long', '--epochs', '7']).ended
  t.regex(told.stderr, /--epochs of run long cannot change: expected 3000, got 7.*\[run\.changed\]/)
  const attached = there.start(t, folder, ['events', 'long', '--follow', '--json'])
  await attached.until(({ type }) => type === 'progress')
  t.is((await there.run(t, folder, ['pause', 'long'])).status, 0)
  await attached.ended
})

test.serial('Ctrl-C detaches and says how to attach again; a pause by another ends with status 3', async (t) => {
  const folder = await folderOf(t)
  const cluster = await memoryCluster(t)
  const there = on(cluster)
  const plain = there.start(t, folder, [...LONG.slice(0, -1), '--id', 'left'])
  const seen = there.start(t, folder, [...LONG, '--id', 'paused'])
  await seen.until(({ type }) => type === 'progress')
  const isUnderWay = async () => {
    const { lines } = await there.run(t, folder, ['runs', '--json'])
    return lines.some(({ run, step }) => run === 'left' && Number(step) > 0)
  }
  while (!(await isUnderWay())) t.is(plain.child.exitCode, null)
  plain.child.kill('SIGINT')
  const { status, stdout } = await plain.ended
  t.is(status, 0)
  const flags = `--cluster ${cluster.url}`
  t.is(
    stdout,
    `detached: run left goes on; watch it from anywhere with: swarmgrad events left --follow ${flags}, or: swarmgrad status left ${flags}\n`,
  )
  t.is((await there.run(t, folder, ['pause', 'paused'])).status, 0)
  const ended = await seen.ended
  t.is(ended.status, 3)
  t.like(ended.lines.at(-1), { type: 'paused', run: 'paused' })
  t.is((await there.run(t, folder, ['pause', 'left'])).status, 0)
})

test.serial('following goes on when the API was away, without a gap and without repetition', async (t) => {
  const folder = await folderOf(t)
  const cluster = await memoryCluster(t)
  const there = on(cluster)
  t.is((await there.run(t, folder, [...LONG, '--id', 'away', '--detach'])).status, 0)
  const watching = there.start(t, folder, ['events', 'away', '--follow', '--json'])
  const stepOf = (line: JsonLine) => (line.type === 'checkpoint' ? Number(line.step) : 0)
  const before = stepOf(await watching.until((line) => stepOf(line) > 0))
  await cluster.stopApi()
  const steps: number[] = []
  const monitor = cluster.host.monitorOf('away')!
  await new Promise<void>((resolve) => {
    const stop = monitor.feed.listen((event) => {
      if (event.type !== 'checkpoint' || steps.push(event.step) < 4) return
      stop()
      resolve()
    })
  })
  await cluster.startApi()
  await watching.until((line) => stepOf(line) > steps.at(-1)!)
  t.is((await there.run(t, folder, ['pause', 'away'])).status, 0)
  const { lines, stdout, status } = await watching.ended
  t.is(status, 0)
  const told = lines.map(stepOf).filter((step) => step > 0)
  t.true(
    steps.every((step) => told.includes(step)),
    `${steps.join()} in ${told.join()}`,
  )
  t.deepEqual(
    told,
    told.toSorted((a, b) => a - b),
  )
  t.true(before < steps[0])
  const story = stdout.trimEnd().split('\n')
  t.is(new Set(story).size, story.length)
})

/** One line on standard error, with a code and what to do; the status. */
async function isRefused(
  t: ExecutionContext,
  words: readonly string[],
  env: StartOptions['env'],
  status: number,
  says: RegExp,
): Promise<Ended> {
  const ended = await swarmgrad(t, await folderOf(t), words, { env })
  t.is(ended.status, status, ended.stderr)
  t.is(ended.stdout, '')
  t.regex(ended.stderr, /^error: [^\n]+\n$/)
  t.regex(ended.stderr, says)
  return ended
}

test('what a cluster refuses is one line with what to do', async (t) => {
  const { url, keys } = await memoryCluster(t, { pnodes: [] })
  const runs = ['runs', '--cluster', url]
  await isRefused(t, runs, {}, 1, /no token for this cluster \(http.*Set SWARMGRAD_TOKEN .*tokens\.json \[cluster\.token\]/)
  await isRefused(t, runs, { SWARMGRAD_TOKEN: 'guessed' }, 1, /not one of this cluster\. Set SWARMGRAD_TOKEN.*\[cluster\.token\]/)
  await isRefused(t, runs, { SWARMGRAD_TOKEN: keys.joinToken }, 1, /this is for trainers\. Use the trainer token \[cluster\.token\]/)
  const env = { SWARMGRAD_TOKEN: keys.trainerToken, SWARMGRAD_CLUSTER: url }
  await isRefused(t, ['status', 'nope'], env, 1, /no run 'nope' \(http:.*swarmgrad train --cluster http:.*\[run\.not-found\]/)
  await isRefused(t, ['resume', 'latest'], env, 1, /no runs.*swarmgrad train --cluster http:.*\[run\.not-found\]/)
  await isRefused(t, ['drain', 'nobody'], env, 1, /no PNode is called nobody\. See who is there with: swarmgrad pnodes \[host\.unknown\]/)
  await isRefused(t, ['drain', 'nobody', '--undo'], env, 1, /\[host\.unknown\]/)
  await isRefused(t, ['drain', 'x'], { SWARMGRAD_TOKEN: keys.trainerToken }, 2, /Give --cluster its address \[usage\]/)
  await isRefused(t, ['drain', 'x'], { ...env, SWARMGRAD_TOKEN: keys.joinToken }, 1, /this is for trainers.*\[cluster\.token\]/)
  for (const words of [['--pnodes', '3'], ['--backend', 'wasm'], ['--chaos', 'kill:pnode:every=2s'], ['--no-threads']])
    await isRefused(
      t,
      ['train', 'tiny.yaml', ...words],
      env,
      2,
      new RegExp(`${words[0]} has no meaning on a cluster: .*Leave ${words[0]} out \\[usage\\]`),
    )
  await isRefused(t, ['runs', '--cluster', url, '--store', 'x'], {}, 2, /one of them: runs are on a cluster, or in a folder/)
  const local = await swarmgrad(t, await folderOf(t), ['runs', '--store', 'x', '--json'], { env })
  t.is(local.status, 0, 'what is typed comes before the environment')
})

test('an address at which no control host is has status 4', async (t) => {
  const stranger = createServer((_request, response) => response.end('<html>hello</html>')).listen(0, '127.0.0.1')
  await once(stranger, 'listening')
  t.teardown(() => stranger.close())
  const { port } = stranger.address() as AddressInfo
  await isRefused(
    t,
    ['runs', '--cluster', `http://127.0.0.1:${port}`],
    {},
    4,
    /what answers here is no control host .*Check the address.*\[cluster\.unreachable\]/,
  )
  stranger.close()
  stranger.closeAllConnections()
  await isRefused(
    t,
    ['train', 'tiny.yaml', '--cluster', `http://127.0.0.1:${port}`],
    {},
    4,
    /no control host answers .*ECONNREFUSED.*swarmgrad doctor.*\[cluster\.unreachable\]/,
  )
  await isRefused(t, ['runs', '--cluster', 'control:7070'], {}, 2, /--cluster: expected the address of a control host, such as http:/)
})

test('another version and a clock that is off are told before anything is done', async (t) => {
  const cluster = await memoryCluster(t, { pnodes: [] })
  const { host, store, keys, controlKey } = cluster
  const common = { host, store, keys, controlKey, servers: { broker: [], placement: '' }, heartbeatMs: 1000 }
  const newer = await listen(controlApi({ ...common, clock: systemClock, version: '9.1.0' }))
  t.teardown(() => newer.close(0))
  const env = { SWARMGRAD_TOKEN: keys.trainerToken }
  const train = ['train', 'tiny.yaml', '--cluster']
  await isRefused(
    t,
    [...train, newer.url],
    env,
    1,
    /another version of swarmgrad: expected .*, got 9\.1\.0\. Install swarmgrad 9\.1\.x here.*\[cluster\.version\]/,
  )
  const clock = { ...systemClock, now: () => systemClock.now() + 5 * 60_000 }
  const ahead = await listen(controlApi({ ...common, clock, version: VERSION }))
  t.teardown(() => ahead.close(0))
  await isRefused(t, [...train, ahead.url], env, 1, /expected at most 60 s, got 300 s behind\. Set the clock.*\[cluster\.clock\]/)
  const keysOf: string[] = []
  for await (const { key } of store.list('')) keysOf.push(key)
  t.deepEqual(keysOf, ['control/keys'])
})

test('a token comes from the environment or from a file that nobody else can read', async (t) => {
  const folder = await folderOf(t)
  const { url, keys } = await memoryCluster(t, { pnodes: [] })
  const path = join(folder, 'config', 'swarmgrad', 'tokens.json')
  await mkdir(join(folder, 'config', 'swarmgrad'), { recursive: true })
  const write = (content: unknown) => writeFile(path, JSON.stringify(content))
  await write({ v: 1, clusters: { [url]: { trainer: keys.trainerToken } } })
  await chmod(path, 0o644)
  const runs = ['runs', '--cluster', `${url}/`]
  const open = await swarmgrad(t, folder, runs)
  t.is(open.status, 1)
  t.regex(open.stderr, /others can read the tokens \(.*tokens\.json\): expected 600, got 644\. chmod 600 .*\[cluster\.token\]/)
  await chmod(path, 0o600)
  t.is((await swarmgrad(t, folder, runs)).status, 0)
  t.is((await swarmgrad(t, folder, runs, { env: { SWARMGRAD_TOKEN: 'guessed' } })).status, 1, 'the environment comes first')
  await write({ v: 2 })
  t.regex((await swarmgrad(t, folder, runs)).stderr, /tokens of another version .*expected 1, got 2\. Remove the file/)
  await writeFile(path, '{')
  t.regex((await swarmgrad(t, folder, runs)).stderr, /unreadable tokens/)
  t.is((await stat(path)).mode & 0o777, 0o600)
})

test('doctor looks at this machine and at the cluster, and says what to do', async (t) => {
  const folder = await folderOf(t)
  const { url, keys } = await memoryCluster(t, { pnodes: ['ann'] })
  const doctor = async (env: StartOptions['env'], ...words: string[]) => {
    const { status, lines } = await swarmgrad(t, folder, ['doctor', '--json', ...words], { env: { PATH: '', ...env } })
    t.like(lines.at(-1), { v: 1, type: 'doctor' })
    return { status, states: Object.fromEntries(lines.slice(0, -1).map(({ name, state }) => [name, state])), lines }
  }
  const alone = await doctor({})
  t.is(alone.status, 1)
  t.like(alone.states, { node: 'ok', daprd: 'fail', 'nats-server': 'fail', minio: 'fail' })
  t.regex(String(alone.lines.find(({ name }) => name === 'minio')?.found), /minio is not installed.*swarmgrad services install/)
  const trainer = await doctor({ SWARMGRAD_TOKEN: keys.trainerToken }, '--cluster', url)
  t.is(trainer.status, 0)
  t.like(trainer.states, {
    daprd: 'warn',
    control: 'ok',
    version: 'ok',
    clock: 'ok',
    token: 'ok',
    broker: 'warn',
    placement: 'warn',
    store: 'ok',
    pnodes: 'ok',
  })
  const newcomer = await doctor({ SWARMGRAD_TOKEN: keys.joinToken }, '--cluster', url)
  t.is(newcomer.status, 1)
  t.like(newcomer.states, { token: 'ok', broker: 'fail', placement: 'fail', store: undefined })
  t.like((await doctor({}, '--cluster', url)).states, { 'token file': 'warn', token: 'fail' })
  t.like((await doctor({}, '--cluster', 'http://127.0.0.1:2')).states, { control: 'fail', version: undefined })
})
