/** What the commands of machines decide without any server. */
import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { prometheusText } from '../../actors/control/node-endpoints.js'
import { endHolder, readSecret, takeFolder, writeSecret } from '../../cli/cluster/folder.js'
import { assertCanTell, describePlan, hostPlan, nameOfMachine } from '../../cli/cluster/host-plan.js'
import { hostTokenFor, identityOf, saveHostToken } from '../../cli/cluster/identity.js'
import { keepRunning } from '../../cli/cluster/keep-running.js'
import { givenSidecar } from '../../cli/cluster/sidecar.js'
import { FLAGS } from '../../cli/flags.js'
import type { SwarmError } from '../../runtime/errors.js'
import { keepIdentity } from '../../runtime/identity.js'
import type { ServerExit } from '../../runtime/services/index.js'
import { fakeClock } from '../support/fake-clock.js'
import { folder } from '../support/processes.js'
import { folderOf, swarmgrad } from './command.js'

test('sizes, rates and addresses are read as they are written', (t) => {
  t.is(FLAGS.maxMemory.parse('2GB', '--max-memory'), 2e9)
  t.is(FLAGS.maxMemory.parse('1.5 MB', '--max-memory'), 1_500_000)
  t.is(FLAGS.maxDisk.parse('4096', '--max-disk'), 4096)
  t.is(FLAGS.maxUpload.parse('10MB/s', '--max-upload'), 1e7)
  t.deepEqual(FLAGS.listen.parse('[::1]:7070', '--listen'), { host: '::1', port: 7070 })
  t.deepEqual(FLAGS.broker.parse('nats://a:4222, nats://b:4222', '--broker'), ['nats://a:4222', 'nats://b:4222'])
  const refused: (readonly [() => unknown, RegExp])[] = [
    [() => FLAGS.maxMemory.parse('2GiB', '--max-memory'), /--max-memory: expected a size such as 500MB or 2GB, got '2GiB'/],
    [() => FLAGS.maxMemory.parse('0', '--max-memory'), /got '0'/],
    [() => FLAGS.maxUpload.parse('10MB', '--max-upload'), /expected a rate such as 10MB\/s/],
    [() => FLAGS.maxCpu.parse('0', '--max-cpu'), /above 0, at most 1/],
    [() => FLAGS.listen.parse('7070', '--listen'), /expected an address such as 127\.0\.0\.1:7070/],
    [() => FLAGS.placement.parse('http://a:1', '--placement'), /expected an address/],
    [() => FLAGS.broker.parse('a:4222', '--broker'), /nats:\/\/broker:4222/],
    [() => FLAGS.name.parse('Control', '--name'), /expected 1 to 40 of a-z/],
    [() => FLAGS.name.parse('control', '--name'), /not control/],
    [() => FLAGS.allowCode.parse('abc', '--allow-code'), /64 hexadecimal digits/],
  ]
  for (const [parse, message] of refused) t.throws(parse, { code: 'usage', message } as never)
})

test('a machine’s own name becomes one that control takes', (t) => {
  t.is(nameOfMachine('Ada’s MacBook-Pro.local'), 'ada-s-macbook-pro')
  t.is(nameOfMachine('_node_7'), 'node-7')
  t.is(nameOfMachine('localhost'), 'pnode')
  t.is(nameOfMachine('control'), 'pnode')
  t.is(nameOfMachine('ö'), 'pnode')
  t.is(nameOfMachine(`${'a'.repeat(39)}-b`), 'a'.repeat(39))
})

test('before a machine joins, its owner reads who it is, whom it talks to and what it lends', (t) => {
  const where = { url: 'http://control:7070', name: 'laptop', folder: '/home/ada/laptop', servers: ['nats://broker:4222', 'control:50005'] }
  const none = hostPlan(where, {})
  t.deepEqual(none.allowsCode, [])
  t.is(none.limits.cpuShare, 1)
  const code = 'a'.repeat(64)
  const plan = hostPlan(where, { owner: 'ada', maxMemory: 2e9, maxCpu: 0.5, maxDisk: 1e8, maxUpload: 1e7, maxVNodes: 2, allowCode: [code] })
  const text = describePlan(plan, { fingerprint: 'SHA256:abc', isNew: true })
    .map((row) => row.join(': '))
    .join('\n')
  for (const words of [
    'laptop, lent by ada',
    'SHA256:',
    'http://control:7070, nats://broker:4222, control:50005',
    '/home/ada/laptop',
    '2.0 GB for VNodes, at most 2',
    '50 % of one core',
    '100.0 MB for code and logs',
    '10.0 MB a second',
    'never: see --pause-when-busy and --on-battery',
    code,
  ])
    t.true(text.includes(words), `${words} in\n${text}`)
})

test('when nothing is computed is part of the plan, and what cannot be kept is refused', (t) => {
  const where = { url: 'http://control:7070', name: 'laptop', folder: '/home/ada/laptop', servers: [] }
  const plan = hostPlan(where, { pauseWhenBusy: true, onBattery: 'pause' })
  const rows = Object.fromEntries(describePlan(plan, { fingerprint: 'SHA256:abc', isNew: true }))
  t.is(rows.pauses, 'while you use this machine, and while it runs on its battery')
  t.throws(() => assertCanTell('pause', 'unknown', 'darwin'), { code: 'usage', message: /on darwin it cannot be told here/ } as never)
  for (const [onBattery, power] of [
    ['pause', 'mains'],
    ['pause', 'battery'],
    ['continue', 'unknown'],
    [undefined, 'unknown'],
  ] as const)
    t.notThrows(() => assertCanTell(onBattery, power))
  t.throws(() => FLAGS.onBattery.parse('sleep', '--on-battery'), { code: 'usage', message: /expected pause or continue/ } as never)
})

test('a key is made once, for its owner alone, and a folder is that of one name', async (t) => {
  const own = await folder(t)
  const first = await identityOf(own, 'laptop')
  t.true(first.isNew)
  t.is((await stat(join(own, 'identity.json'))).mode & 0o777, 0o600)
  t.is((await stat(join(own, 'identity.pem'))).mode & 0o777, 0o600)
  const again = await identityOf(own, 'laptop')
  t.deepEqual(again.key, first.key)
  t.false(again.isNew)
  t.true(again.identity.publicKey.equals(first.identity.publicKey))
  await t.throwsAsync(identityOf(own, 'desk'), { code: 'host.name-taken', message: /expected desk, got laptop/ } as never)
  await saveHostToken(own, { url: 'http://a:1', token: 'secret' })
  t.is(await hostTokenFor(own, 'http://a:1'), 'secret')
  t.is(await hostTokenFor(own, 'http://b:1'), undefined, 'the token of one cluster is not shown to another')
})

test('a folder of before gets an identity; one that has had it and lost it says so', async (t) => {
  const own = await folder(t)
  const { key } = await identityOf(own, 'laptop')
  await rm(join(own, 'identity.pem'))
  await t.throwsAsync(identityOf(own, 'laptop'), { code: 'key.missing', message: /identity\.pem.*from a backup/ } as never)
  await writeSecret(own, 'identity.json', { v: 1, name: 'laptop', ...key })
  const made = await identityOf(own, 'laptop')
  t.deepEqual(made.key, key)
  t.true(made.isNew)
  await rm(join(own, 'identity.pem'))
  await keepIdentity(join(own, 'identity.pem'))
  await t.throwsAsync(identityOf(own, 'laptop'), { code: 'key.damaged', message: /not the one that this host has had/ } as never)
  await writeSecret(own, 'identity.json', { v: 3, name: 'laptop', ...key })
  await t.throwsAsync(identityOf(own, 'laptop'), { code: 'cluster.version', message: /expected 2, got 3/ } as never)
})

test('a secret that others can read is refused, with what to do', async (t) => {
  const own = await folder(t)
  t.is(await readSecret(own, 'none.json'), undefined)
  await writeSecret(own, 'key.json', { a: 1 })
  t.deepEqual(await readSecret(own, 'key.json'), { a: 1 })
  await chmod(join(own, 'key.json'), 0o644)
  await t.throwsAsync(readSecret(own, 'key.json'), { code: 'cluster.token', message: /expected 600, got 644\. chmod 600 / } as never)
  await writeFile(join(own, 'key.json'), '{', { mode: 0o600 })
  await chmod(join(own, 'key.json'), 0o600)
  await t.throwsAsync(readSecret(own, 'key.json'), { code: 'cluster.token', message: /unreadable secret/ } as never)
  t.is(await readFile(join(own, 'key.json'), 'utf8'), '{', 'nothing is mended silently')
})

test('a folder has one process at a time; where there is none, there is none to end', async (t) => {
  const own = await folder(t)
  t.is(await endHolder(join(own, 'missing'), AbortSignal.timeout(1_000)), undefined)
  t.is(await endHolder(own, AbortSignal.timeout(1_000)), undefined)
  const taken = await takeFolder(own, 'a host')
  await t.throwsAsync(takeFolder(own, 'a host'), { code: 'run.busy', message: new RegExp(`process ${process.pid}`) } as never)
  await taken.release()
  await (await takeFolder(own, 'a host')).release()
})

test('dapr run gives a sidecar by its environment', (t) => {
  t.is(givenSidecar({}), undefined)
  t.deepEqual(givenSidecar({ APP_PORT: '7180', DAPR_HTTP_PORT: '7181', DAPR_GRPC_PORT: '7182' }), { appPort: 7180, httpPort: 7181 })
  t.throws(() => givenSidecar({ DAPR_HTTP_PORT: '7181' }), { code: 'usage', message: /--app-port/ } as never)
})

test('what dies is started again after growing pauses, and not after its owner stops it', async (t) => {
  const clock = fakeClock()
  let die: (exit: ServerExit) => void = () => {}
  let starts = 0
  const begin = () => new Promise<ServerExit>((resolve) => (die = resolve))
  const server = {
    exited: begin(),
    async restart() {
      starts++
      if (starts === 1) throw new Error('not yet')
      server.exited = begin()
    },
  }
  const said: string[] = []
  const stop = keepRunning(server, {
    clock,
    onDown: ({ signal }) => said.push(`down ${signal}`),
    onUp: (ms) => said.push(`up ${ms}`),
    onError: (error: SwarmError) => said.push(error.code),
  })
  die({ code: null, signal: 'SIGKILL' })
  await clock.advance(99)
  t.is(starts, 0)
  await clock.advance(1)
  t.is(starts, 1)
  await clock.advance(200)
  t.deepEqual(said, ['down SIGKILL', 'service.failed', 'up 300'])
  die({ code: 1, signal: null })
  await clock.advance(399)
  t.is(starts, 2)
  await clock.advance(1)
  t.is(starts, 3)
  await stop()
  die({ code: 0, signal: null })
  await clock.advance(60_000)
  t.is(starts, 3)
})

test('metrics are in the text format of Prometheus', (t) => {
  const text = prometheusText([
    { name: 'a', help: 'Some.', kind: 'gauge', samples: [{ labels: { run: 'x"\\\n', vnode: 'v' }, value: 3 }] },
    { name: 'b', help: 'None.', kind: 'counter', samples: [] },
  ])
  t.is(text, '# HELP swarmgrad_a Some.\n# TYPE swarmgrad_a gauge\nswarmgrad_a{run="x\\"\\\\\\n",vnode="v"} 3\n')
  t.is(prometheusText([]), '')
})

test('machines fail with one line and the right status', async (t) => {
  const own = await folderOf(t)
  const cases: (readonly [words: readonly string[], status: number, says: RegExp])[] = [
    [['host', 'http://127.0.0.1:9', '--name', 'a', '--yes', '--quiet'], 4, /no control host answers.*\[cluster\.unreachable\]/],
    [['host', 'control:7070', '--name', 'a'], 2, /not an address of a control host/],
    [['host', 'http://a', '--name', 'No'], 2, /--name: expected 1 to 40/],
    [['leave', '--name', 'a'], 2, /no host process of a runs here/],
    [['down'], 2, /no cluster runs here/],
    [['pnodes'], 2, /Give --cluster its address/],
    [['control'], 2, /no key of the object store/],
  ]
  const ended = await Promise.all(cases.map(([words]) => swarmgrad(t, own, words)))
  for (const [i, [words, status, says]] of cases.entries()) {
    t.is(ended[i].status, status, words.join(' '))
    t.regex(ended[i].stderr, says)
    t.regex(ended[i].stderr, /^error: [^\n]+\n$/)
  }
})
