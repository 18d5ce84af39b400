/** A cluster as people bring it up and take it down: `up`, `host`, `pnodes`, `leave`, `down`, each a process of its own. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { startClusterServers, startSidecar } from '../../actors/control/cluster-servers.js'
import { freePort } from '../../runtime/services/index.js'
import { systemClock } from '../../runtime/clock.js'
import { folderOf, type JsonLine, start, type Started, swarmgrad } from '../cli/command.js'
import { pathToPrograms } from '../support/servers.js'

const ENV = await pathToPrograms()

const ofType =
  (type: string, fields: { readonly [name: string]: unknown } = {}) =>
  (line: JsonLine) =>
    line.type === type && Object.entries(fields).every(([name, value]) => line[name] === value)

interface ReadyPart {
  readonly name: string
  readonly pid: number
  readonly address: string
}

/** Processes whose command line or working folder is below a folder. */
async function processesOf(folder: string): Promise<string[]> {
  const pids = (await readdir('/proc').catch((): string[] => [])).filter((name) => /^\d+$/.test(name))
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
  return lines.filter((line) => line.includes(folder)).map((line) => line.replaceAll('\0', ' '))
}

async function untilNoneOf(t: ExecutionContext, folder: string): Promise<void> {
  for (let i = 0; i < 60; i++) {
    if ((await processesOf(folder)).length === 0) return
    await systemClock.sleep(100)
  }
  t.deepEqual(await processesOf(folder), [], 'no process is left behind')
}

function machine(t: ExecutionContext, folder: string, ...words: string[]): Started {
  return start(t, folder, [...words, '--json'], { env: ENV })
}

test.serial('up, host, pnodes, leave, down: all of it runs, what dies comes back, nothing is left', async (t) => {
  t.timeout(180_000)
  const folder = await folderOf(t)
  const [cluster, port] = [join(folder, 'cluster'), await freePort()]
  const url = `http://127.0.0.1:${port}`
  const up = machine(t, folder, 'up', '--pnodes', '1', '--port', String(port), '--folder', cluster)
  const ready = await up.until(ofType('ready'))
  const parts = ready.parts as readonly ReadyPart[]
  t.is(ready.url, url)
  t.deepEqual(
    parts.map(({ name }) => name),
    ['minio', 'nats', 'placement', 'scheduler', 'control', 'pnode-1'],
  )
  t.is((await stat(String(ready.tokens))).mode & 0o777, 0o600, 'tokens are for their owner alone')

  const again = await swarmgrad(t, folder, ['up', '--port', String(port), '--folder', join(folder, 'other'), '--json'], { env: ENV })
  t.like(again.lines.at(-1), { type: 'error', code: 'port.taken' })

  const host = machine(t, folder, 'host', url, '--name', 'extra', '--max-cpu', '0.5', '--max-upload', '50MB/s')
  const joined = await host.until(ofType('ready'))
  const wrong = await swarmgrad(t, folder, ['host', url, '--name', 'liar', '--json'], { env: { ...ENV, SWARMGRAD_TOKEN: 'wrong' } })
  t.like(wrong.lines.at(-1), { type: 'error', code: 'cluster.token' })
  const twice = await swarmgrad(t, folder, ['host', url, '--name', 'extra', '--folder', join(folder, 'twice'), '--json'], { env: ENV })
  t.like(twice.lines.at(-1), { type: 'error', code: 'host.name-taken' }, 'two hosts with the same name')

  const listed = await swarmgrad(t, folder, ['pnodes', '--cluster', url, '--json'], { env: ENV })
  t.deepEqual(
    listed.lines.map(({ pnode, state, isRelayed }) => [pnode, state, isRelayed]),
    [
      ['extra', 'ready', false],
      ['pnode-1', 'ready', false],
    ],
  )

  // All that a machine measures of itself, through real servers; the limit of its owner is in it.
  for (const line of listed.lines) {
    t.true([1, 2, 3].includes(Number(line.tier)), JSON.stringify(line))
    for (const measure of ['gflops', 'roundTripMs', 'uploadBytesPerS', 'downloadBytesPerS', 'largestAllocationBytes'])
      t.true(Number(line[measure]) > 0, `${String(line.pnode)}: ${measure} ${String(line[measure])}`)
  }

  const local = String(joined.local)
  t.like(await (await fetch(`${local}/health`)).json(), { pnode: 'extra', vnodes: 0 })
  t.regex(await (await fetch(`${local}/metrics`)).text(), /^swarmgrad_vnodes\{pnode="extra"\} 0$/m)
  for (const path of ['queue_stats', 'checkpoint_state'])
    t.like(await (await fetch(`${local}/${path}`)).json(), { v: 1, pnode: 'extra', vnodes: [] })
  t.is((await fetch(`${url}/metrics`)).status, 401)

  // Each comes back by itself: a server, control, a PNode, and the sidecar of one.
  for (const name of ['nats', 'pnode-1', 'control']) {
    process.kill(parts.find((part) => part.name === name)!.pid, 'SIGKILL')
    await up.until(ofType('up', { name }))
  }
  const { pid } = await host.until(ofType('sidecar'))
  process.kill(Number(pid), 'SIGKILL')
  await host.until((line) => line.type === 'sidecar' && line.pid !== pid)

  const left = await swarmgrad(t, folder, ['leave', '--name', 'extra', '--purge', '--json'], { env: ENV })
  t.like(left.lines.at(-1), { type: 'left', pnode: 'extra', pid: joined.pid, purged: true })
  t.is((await host.ended).status, 0)
  t.true((await host.ended).lines.some(ofType('left')))
  await t.throwsAsync(stat(String(joined.folder)), { code: 'ENOENT' })

  const down = await swarmgrad(t, folder, ['down', '--folder', cluster, '--json'], { env: ENV })
  t.like(down.lines.at(-1), { type: 'down', pid: up.child.pid })
  t.is((await up.ended).status, 0)
  await untilNoneOf(t, folder)
})

test.serial('the same folder is the same cluster; a second signal ends all of it at once', async (t) => {
  t.timeout(120_000)
  const folder = await folderOf(t)
  const [cluster, port] = [join(folder, 'cluster'), await freePort()]
  const begin = () => machine(t, folder, 'up', '--pnodes', '1', '--port', String(port), '--folder', cluster)
  const first = begin()
  const tokens = String((await first.until(ofType('ready'))).tokens)
  const before = await readFile(tokens, 'utf8')
  first.child.kill('SIGINT')
  t.is((await first.ended).status, 0)
  await untilNoneOf(t, folder)

  const second = begin()
  await second.until(ofType('ready'))
  t.is(await readFile(tokens, 'utf8'), before, 'the keys are those of before')
  second.child.kill('SIGINT')
  await second.until(ofType('ending'))
  second.child.kill('SIGINT')
  t.is((await second.ended).status, 130)
  await untilNoneOf(t, folder)
})

test.serial('control and a host take the sidecars that dapr run gives them, and leave them alone', async (t) => {
  t.timeout(120_000)
  const folder = await folderOf(t)
  const { store, broker, placement, scheduler, servers } = await startClusterServers({
    folder: join(folder, 'servers'),
    clock: systemClock,
  })
  for (const server of Object.values(servers)) t.teardown(() => server.kill())
  /** What `dapr run --app-id … --app-port …` does: starts daprd, and tells the application by its environment. */
  const daprRun = async (appId: string, role: 'control' | 'pnode') => {
    const appPort = await freePort()
    const sidecar = await startSidecar(appPort, { folder: join(folder, appId), appId, placement, scheduler, role })
    t.teardown(() => sidecar.kill())
    const { httpPort, grpcPort } = sidecar
    const env = { APP_ID: appId, APP_PORT: String(appPort), DAPR_HTTP_PORT: String(httpPort), DAPR_GRPC_PORT: String(grpcPort) }
    return { sidecar, env: { ...ENV, ...env } }
  }
  const key = { SWARMGRAD_STORE_ACCESS_KEY: store.accessKey, SWARMGRAD_STORE_SECRET_KEY: store.secretKey }
  const given = await daprRun('control', 'control')
  const url = `http://127.0.0.1:${await freePort()}`
  const settings = {
    SWARMGRAD_LISTEN: url.slice('http://'.length),
    SWARMGRAD_STORE_ENDPOINT: store.endpoint,
    SWARMGRAD_BROKER: broker,
    SWARMGRAD_PLACEMENT: placement,
    SWARMGRAD_SCHEDULER: scheduler,
  }
  const control = start(t, folder, ['control', '--json'], { env: { ...given.env, ...key, ...settings } })
  t.is((await control.until(ofType('ready'))).url, url)
  const printed = await swarmgrad(t, folder, ['control', '--print-nats-config'], { env: { ...ENV, ...key, ...settings } })
  const systemAccount = /^system_account: \S+$/m.exec(printed.stdout)![0]
  t.true(
    (await readFile(join(servers.nats.folder, 'nats.conf'), 'utf8')).includes(systemAccount),
    'the configuration is that of the cluster’s keys',
  )
  t.false(printed.stdout.includes(store.secretKey))

  const own = await daprRun('pnode-a', 'pnode')
  const host = start(t, folder, ['host', url, '--name', 'a', '--json'], { env: own.env })
  await host.until(ofType('ready'))
  t.false(
    (await processesOf(folder)).some((line) => line.includes('--app-id=a ')),
    'it starts no sidecar of its own',
  )
  for (const process of [host, control]) {
    process.child.kill('SIGTERM')
    t.is((await process.ended).status, 0)
  }
  t.true(given.sidecar.isRunning && own.sidecar.isRunning)
})
