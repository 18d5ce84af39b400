/** The real servers, as processes: started, stopped, killed, started again, and never left behind. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { httpApp, listen } from '../../runtime/http-server.js'
import { type ServerProcess, startDaprd, startMinio, startNats, startPlacement, stopAll } from '../../runtime/services/index.js'
import { repository } from '../project/repository.js'
import { daprdFor, logOf, MINIO_ROOT, minioFor, natsFor, placementFor, schedulerFor, serverFolder } from '../support/servers.js'
import type { ServersMessage } from './servers-process.js'

const DAPR = join(repository, 'dapr')
const CONTROL = { resources: join(DAPR, 'resources/control'), config: join(DAPR, 'config.yaml') } as const
const PNODE = { ...CONTROL, resources: join(DAPR, 'resources/pnode') } as const

/** A connection to a server: its end is the server's end. */
async function connected(t: ExecutionContext, port: number): Promise<{ socket: Socket; ended(): Promise<unknown> }> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const closed = new Promise((resolve) => socket.once('close', resolve))
  await once(socket, 'connect')
  socket.on('error', () => {})
  return { socket, ended: () => (socket.resume(), closed) }
}

function isProcess(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** An application with one actor type, which answers every call. */
async function application(t: ExecutionContext, type: string): Promise<number> {
  const app = httpApp()
  app.get('/dapr/config', (_, response) => void response.json({ entities: [type] }))
  app.all('/actors/{*rest}', (_, response) => void response.json('answered'))
  app.use((_, response) => void response.sendStatus(404))
  const server = await listen(app)
  t.teardown(() => server.close(0))
  return server.port
}

async function call(url: string, type: string): Promise<string> {
  const response = await fetch(`${url}/v1.0/actors/${type}/a/method/m`, { method: 'PUT', body: '{}' })
  return response.text()
}

const KINDS: Record<string, (t: ExecutionContext) => Promise<{ server: ServerProcess; port: number }>> = {
  'nats-server': async (t) => {
    const server = await natsFor(t)
    return { server, port: server.port }
  },
  minio: async (t) => {
    const server = await minioFor(t)
    return { server, port: server.port }
  },
  placement: async (t) => {
    const server = await placementFor(t)
    return { server, port: server.port }
  },
  scheduler: async (t) => {
    const server = await schedulerFor(t)
    return { server, port: server.port }
  },
  daprd: async (t) => {
    const placement = await placementFor(t)
    const server = await daprdFor(t, { appId: 'control', appPort: await application(t, 'Run'), placement: placement.address, ...CONTROL })
    return { server, port: server.httpPort }
  },
}

for (const [name, begin] of Object.entries(KINDS)) {
  test.serial(`${name} is started until it accepts connections, stopped, killed, and started again where it was`, async (t) => {
    const { server, port } = await begin(t)
    const [first, ports] = [server.pid, { ...server.ports }]
    const before = await connected(t, port)
    t.true(server.isRunning)
    t.not(await logOf(server), '')

    await server.stop()
    await before.ended()
    t.false(server.isRunning)
    t.false(isProcess(first))
    await t.notThrowsAsync(server.stop(), 'stopped twice')

    await server.restart()
    t.true(server.isRunning)
    // Where daprds reach each other is told by the placement.
    t.deepEqual({ ...server.ports, internalGrpc: 0 }, { ...ports, internalGrpc: 0 })
    const second = server.pid
    t.not(second, first)
    const again = await connected(t, port)

    await server.kill()
    await again.ended()
    t.deepEqual(await server.exited, { code: null, signal: 'SIGKILL' })
    t.false(isProcess(second))

    await server.restart()
    await connected(t, port)
    const third = server.pid
    await server.restart()
    t.false(isProcess(third), 'a restart stops what still runs')
    await connected(t, port)
  })
}

test.serial('a stopped process is still there, and goes on', async (t) => {
  const nats = await natsFor(t)
  await nats.kill('SIGSTOP')
  t.true(nats.isRunning)
  const { socket } = await connected(t, nats.port)
  const greeting = once(socket, 'data')
  await nats.kill('SIGCONT')
  t.regex(String(await greeting), /^INFO /)
  await nats.kill('SIGSTOP')
  await nats.stop(100)
  t.is((await nats.exited).signal, 'SIGKILL', 'what does not hear SIGTERM is killed')
})

test.serial('nats-server takes messages of 8 MiB, and the configuration that it is given', async (t) => {
  const nats = await natsFor(t, { config: 'authorization { user: u, password: p }' })
  const { socket } = await connected(t, nats.port)
  const [greeting] = (await once(socket, 'data')) as [Buffer]
  const { max_payload, auth_required } = JSON.parse(String(greeting).slice('INFO '.length)) as Record<string, unknown>
  t.deepEqual({ max_payload, auth_required }, { max_payload: 8 * 1024 * 1024, auth_required: true })
})

test.serial('the password of MinIO is in no argument', async (t) => {
  const minio = await minioFor(t)
  const line = `/proc/${minio.pid}/cmdline`
  if (existsSync(line)) t.false((await readFile(line, 'utf8')).includes(MINIO_ROOT.rootPassword))
  t.is((await fetch(minio.endpoint)).status, 403)
})

test.serial('daprd is up before its application, and ready after it', async (t) => {
  const placement = await placementFor(t)
  const scheduler = await schedulerFor(t)
  const free = createServer().listen(0, '127.0.0.1')
  await once(free, 'listening')
  const { port } = free.address() as AddressInfo
  free.close()
  await once(free, 'close')
  const daprd = await daprdFor(t, {
    appId: 'control',
    appPort: port,
    placement: placement.address,
    scheduler: scheduler.address,
    ...CONTROL,
  })
  await t.throwsAsync(daprd.ready({ timeoutMs: 200 }), { code: 'service.failed' })
  const app = httpApp()
  app.get('/dapr/config', (_, response) => void response.json({ entities: ['Run'] }))
  app.all('/actors/{*rest}', (_, response) => void response.json('answered'))
  const server = await listen(app, { port })
  t.teardown(() => server.close(0))
  await daprd.ready()
  t.is(await call(daprd.url, 'Run'), '"answered"')
  t.true(existsSync(join(daprd.folder, 'control-state.db')), 'where resources/control says')

  await placement.kill()
  await daprd.kill()
  await placement.restart()
  await daprd.restart()
  await daprd.ready()
  t.is(await call(daprd.url, 'Run'), '"answered"', 'both killed, both started again')
  await daprd.kill()
  await t.throwsAsync(daprd.ready(), { code: 'service.failed' })
})

test.serial('actors of one daprd are called through another, and a call to a host that is gone fails within a second', async (t) => {
  const placement = await placementFor(t)
  const control = await daprdFor(t, { appId: 'control', appPort: await application(t, 'Run'), placement: placement.address, ...CONTROL })
  const pnode = await daprdFor(t, { appId: 'p1', appPort: await application(t, 'VNode.p1'), placement: placement.address, ...PNODE })
  await Promise.all([control.ready(), pnode.ready()])
  t.is(await call(control.url, 'VNode.p1'), '"answered"')
  t.is(await call(pnode.url, 'Run'), '"answered"')
  await pnode.kill()
  const answer = await Promise.race([
    call(control.url, 'VNode.p1'),
    new Promise<string>((resolve) => AbortSignal.timeout(1_000).addEventListener('abort', () => resolve('nothing'))),
  ])
  t.regex(answer, /ERR_ACTOR_INVOKE_METHOD/)
})

test.serial('a port that was asked for and is taken is an error by name, of any server', async (t) => {
  const blocker = createServer().listen(0, '127.0.0.1')
  await once(blocker, 'listening')
  t.teardown(() => blocker.close())
  const { port } = blocker.address() as AddressInfo
  const folder = await serverFolder(t, 'taken')
  const expected = { code: 'port.taken', message: new RegExp(`127.0.0.1:${port}`) } as const
  await t.throwsAsync(startNats({ folder, port }), expected)
  await t.throwsAsync(startMinio({ folder, port, ...MINIO_ROOT }), expected)
  await t.throwsAsync(startPlacement({ folder, port }), expected)
  await t.throwsAsync(startDaprd({ folder, appId: 'a', appPort: 1, grpcPort: port, placement: '127.0.0.1:1', ...PNODE }), expected)
  const nats = await natsFor(t)
  await t.throwsAsync(startNats({ folder, port: nats.port }), { code: 'port.taken' })
})

test.serial('a port that was taken while the server was down is an error of the restart', async (t) => {
  const nats = await natsFor(t)
  await nats.stop()
  const blocker = createServer().listen(nats.port, '127.0.0.1')
  await once(blocker, 'listening')
  await t.throwsAsync(nats.restart(), { code: 'port.taken' })
  blocker.close()
  await once(blocker, 'close')
  await nats.restart()
  await connected(t, nats.port)
})

test.serial('a server that does not start fails with the end of its log', async (t) => {
  const folder = await serverFolder(t, 'wrong')
  await t.throwsAsync(startNats({ folder, config: 'no_such_setting: 1' }), { code: 'service.failed', message: /no_such_setting/ })
  await t.throwsAsync(startMinio({ folder, rootUser: 'ab', rootPassword: 'short' }), { code: 'service.failed', message: /at least 3/ })
})

test.serial('a start that is aborted leaves no process', async (t) => {
  const folder = await serverFolder(t, 'aborted')
  const abort = new AbortController()
  const starting = startDaprd({
    folder,
    appId: 'a',
    appPort: 1,
    placement: '127.0.0.1:1',
    resources: join(folder, 'none'),
    signal: abort.signal,
  })
  abort.abort()
  await t.throwsAsync(starting, { code: 'aborted' })
  await t.throwsAsync(startNats({ folder, signal: abort.signal }), { code: 'aborted' })
})

test.serial('stopAll stops what runs', async (t) => {
  const servers = [await natsFor(t), await natsFor(t), await placementFor(t)]
  await servers[1].kill()
  await stopAll()
  t.deepEqual(
    servers.map(({ isRunning }) => isRunning),
    [false, false, false],
  )
})

for (const [end, act] of Object.entries({
  exit: undefined,
  throw: undefined,
  SIGTERM: 'SIGTERM',
  SIGINT: 'SIGINT',
  SIGKILL: 'SIGKILL',
} as const)) {
  test.serial(`servers end with the process that started them: ${end}`, async (t) => {
    const folder = await serverFolder(t, 'left')
    const child = fork(new URL('./servers-process.js', import.meta.url), [folder, end], { execArgv: [], silent: true })
    t.teardown(() => child.kill('SIGKILL'))
    const [{ pids, ports }] = (await once(child, 'message')) as [ServersMessage]
    t.true(pids.every(isProcess))
    const connections = await Promise.all(ports.map((port) => connected(t, port)))
    const ended = once(child, 'exit')
    if (act) child.kill(act)
    else child.send('end')
    await ended
    await Promise.all(connections.map((connection) => connection.ended()))
    t.true((await readdir(folder)).length > 0, 'their folders stay')
  })
}
