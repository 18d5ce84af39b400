import test from 'ava'
import type { ExecutionContext } from 'ava'
import { daprActors } from '../../runtime/actor-system/dapr-actors.js'
import type { DaprActorsOptions } from '../../runtime/actor-system/dapr-actors.js'
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import { MAX_CALL_BYTES } from '../../runtime/actor-system/actor-system.js'
import { REMINDER_VERSION } from '../../runtime/actor-system/actor-reminders.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { httpApp, listen, rawBody } from '../../runtime/http-server.js'
import type { HttpServer } from '../../runtime/http-server.js'
import { assertCode, gate, rejectionOf } from '../conformance/within.js'

const rejection = (work: Promise<unknown>) => rejectionOf(10_000, 'the call', work)

/** As much of a sidecar as a test without servers needs: it hands calls to the application, or says what it is told to. */
interface FakeSidecar {
  readonly httpPort: number
  /** Answers of Dapr's own instead of the application's, by path. */
  readonly says: Map<string, { status: number; body: string }>
  readonly app: string
}

async function fakeSidecar(t: ExecutionContext, appPort: number): Promise<FakeSidecar> {
  const app = `http://127.0.0.1:${appPort}`
  const says: FakeSidecar['says'] = new Map()
  const { entities } = (await (await fetch(`${app}/dapr/config`)).json()) as { entities: string[] }
  const dapr = httpApp()
  dapr.get('/v1.0/metadata', (_request, response) => {
    response.json({ actorRuntime: { hostReady: true, activeActors: entities.map((type) => ({ type, count: 0 })) } })
  })
  const pass = async (path: string, body: Buffer) => {
    const answer = await fetch(`${app}${path.slice('/v1.0'.length)}`, { method: 'PUT', body })
    return { status: answer.status, body: await answer.text() }
  }
  dapr.put('/v1.0/actors/:type/:id/method/:method', rawBody(1e6), (request, response, next) => {
    const said = says.get(request.path)
    Promise.resolve(said ?? pass(request.path, request.body as Buffer)).then(({ status, body }) => response.status(status).send(body), next)
  })
  const server = await listen(dapr)
  t.teardown(() => server.close(0))
  return { httpPort: server.port, says, app }
}

async function bench(t: ExecutionContext, options: Partial<DaprActorsOptions> = {}, define: (system: ActorSystem) => void = () => {}) {
  const errors: SwarmError[] = []
  let sidecar: FakeSidecar | undefined
  const system = daprActors({
    clock: systemClock,
    app: {},
    onError: (error) => void errors.push(error),
    ...options,
    async sidecar(appPort) {
      sidecar = await fakeSidecar(t, appPort)
      return sidecar
    },
  })
  t.teardown(() => system.close())
  system.register({ type: 'Echo', activate: () => null, handlers: { echo: (_context, _memory, argument) => argument } })
  define(system)
  await system.start()
  return { system, errors, ...sidecar! }
}

const put = (app: string, path: string, body = 'null') => fetch(`${app}/actors/${path}`, { method: 'PUT', body })

test('Dapr is told the types, encoded, and how to treat them', async (t) => {
  const { app } = await bench(t, {}, (system) => system.register({ type: 'VNode.a_1', activate: () => null, handlers: {} }))
  t.deepEqual(await (await fetch(`${app}/dapr/config`)).json(), {
    entities: ['Echo', 'VNode.a_5F1'],
    actorIdleTimeout: '24h',
    drainOngoingCallTimeout: '2s',
    drainRebalancedActors: true,
    reentrancy: { enabled: false },
  })
  t.is((await fetch(`${app}/healthz`)).status, 200)
})

test('a handler’s error is an answer like any other on the wire', async (t) => {
  const { app } = await bench(t, {}, (system) =>
    system.register({
      type: 'Fails',
      activate: () => null,
      handlers: {
        fail: () => {
          throw new SwarmError('run.busy', { what: 'on purpose', retryable: true })
        },
      },
    }),
  )
  const answer = await put(app, 'Fails/one/method/fail')
  t.is(answer.status, 200)
  t.is(await answer.text(), '{"v":1,"error":{"code":"run.busy","message":"on purpose","retryable":true}}')
  t.is(await (await put(app, 'Echo/one/method/echo', '{"x":1}')).text(), '{"v":1,"ok":{"x":1}}')
})

test('nothing that comes in by HTTP reaches more than declared handlers, or ends the process', async (t) => {
  const { app, errors } = await bench(t)
  const codeOf = async (path: string, body?: string) =>
    ((await (await put(app, path, body)).json()) as { error?: { code: string } }).error?.code
  for (const method of ['constructor', 'toString', '_5F_5Fproto_5F_5F', 'activate', '%00', '_zz']) {
    t.is(await codeOf(`Echo/one/method/${method}`), 'actor.not-found', method)
  }
  t.is(await codeOf('Nobody/one/method/echo'), 'actor.not-found')
  t.is(await codeOf('Echo/one/method/echo', 'no json'), 'actor.failed')
  t.is(await codeOf('Echo/one/method/echo', JSON.stringify('x'.repeat(MAX_CALL_BYTES))), 'actor.too-large')
  t.is((await put(app, 'Echo/one/method/echo', JSON.stringify('x'.repeat(3 * MAX_CALL_BYTES)))).status, 413)
  t.is((await put(app, 'Echo/one/method/timer/t')).status, 404)
  t.is((await fetch(`${app}/actors/Echo/never/`, { method: 'DELETE' })).status, 200)
  t.deepEqual(errors, [])
  t.is((await put(app, 'Echo/one/method/remind/r', 'rubbish')).status, 200)
  t.is((await put(app, 'Echo/one/method/remind/r', '{"data":{"version":9}}')).status, 200)
  t.deepEqual(
    errors.map(({ code }) => code),
    ['store.damaged', 'store.damaged'],
  )
})

test('a tick of Dapr for a reminder that is armed, fires or has fired changes nothing', async (t) => {
  const fired = gate()
  let count = 0
  const { app, system } = await bench(t, {}, (system) =>
    system.register({
      type: 'Clock',
      activate: () => null,
      handlers: {
        fire() {
          count++
          fired.open()
        },
        count: () => count,
      },
    }),
  )
  const data = {
    version: REMINDER_VERSION,
    type: 'Clock',
    id: 'one',
    name: 'r',
    method: 'fire',
    dueAtMs: systemClock.now() + 30,
    argument: null,
  }
  const tick = () => put(app, 'Clock/one/method/remind/r', JSON.stringify({ data, dueTime: '30ms', period: '10s' }))
  await tick()
  await tick()
  await fired.opened
  await tick()
  t.is(await system.call({ type: 'Clock', id: 'one' }, 'count'), 1)
})

test('an application with a token refuses requests without it', async (t) => {
  const system = daprActors({
    clock: systemClock,
    app: { token: 'secret' },
    sidecar: (appPort) => Promise.reject(new Error(String(appPort))),
  })
  let port = 0
  const opened = daprActors({
    clock: systemClock,
    app: { token: 'secret' },
    async sidecar(appPort) {
      port = appPort
      t.is((await fetch(`http://127.0.0.1:${port}/dapr/config`)).status, 401)
      t.is((await fetch(`http://127.0.0.1:${port}/dapr/config`, { headers: { 'dapr-api-token': 'secret' } })).status, 200)
      throw new SwarmError('service.failed', 'no sidecar')
    },
  })
  assertCode(await rejection(opened.start()), 'service.failed')
  await t.throwsAsync(fetch(`http://127.0.0.1:${port}/healthz`), undefined, 'what failed to start still listens')
  await Promise.all([opened.close(), system.close()])
})

test('what Dapr says in the actor’s stead has a code', async (t) => {
  const { system, says } = await bench(t)
  const said = async (status: number, body: string) => {
    says.set('/v1.0/actors/Echo/one/method/echo', { status, body })
    return rejection(system.call({ type: 'Echo', id: 'one' }, 'echo'))
  }
  const noAddress = { errorCode: 'ERR_ACTOR_INVOKE_METHOD', message: 'error invoke actor method: did not find address for actor Echo/one' }
  assertCode(await said(500, JSON.stringify(noAddress)), 'actor.not-found', false)
  assertCode(await said(500, '{"errorCode":"ERR_ACTOR_RUNTIME_NOT_FOUND","message":"not configured"}'), 'actor.unreachable', true)
  assertCode(await said(502, '<html>'), 'actor.unreachable', true)
  assertCode(await said(200, '{"hello":1}'), 'actor.failed', false)
  says.clear()
  t.is(await system.call({ type: 'Echo', id: 'one' }, 'echo', 7), 7)
})

test('a call before start, to a lost host or with an empty name never leaves', async (t) => {
  const sidecar = { httpPort: 1 }
  const system = daprActors({ clock: systemClock, app: {}, sidecar, isLost: (host) => host === 'p1' })
  assertCode(await rejection(system.call({ type: 'Run', id: 'r' }, 'run')), 'actor.unreachable', true)
  assertCode(await rejection(system.call({ type: 'VNode.p1', id: 'x' }, 'run')), 'actor.closed', false)
  assertCode(await rejection(system.call({ type: 'Run', id: '' }, 'run')), 'actor.not-found')
  assertCode(await rejection(system.call({ type: 'Run', id: 'r' }, '')), 'actor.not-found')
  await system.close()
  t.throws(() => daprActors({ clock: systemClock, app: {}, sidecar, idleMs: 0 }), { code: 'usage' } as object)
})

test('types come before start', async (t) => {
  const { system } = await bench(t)
  const late = t.throws(() => system.register({ type: 'Late', activate: () => null, handlers: {} }))
  assertCode(late, 'usage')
  await system.unregister('Echo')
  assertCode(await rejection(system.call({ type: 'Echo', id: 'one' }, 'echo')), 'actor.not-found')
  system.register({ type: 'Echo', activate: () => null, handlers: { echo: () => 'again' } })
  t.is(await system.call({ type: 'Echo', id: 'one' }, 'echo'), 'again')
})

test('a port that is taken is said by code', async (t) => {
  const taken: HttpServer = await listen(httpApp())
  const system = daprActors({ clock: systemClock, app: { port: taken.port }, sidecar: { httpPort: 1 } })
  const error = await rejection(system.start())
  t.true(isSwarmError(error, 'port.taken'))
  await system.close()
  await taken.close(0)
})

test('a system that is closed while it starts ends both', async (t) => {
  const system = daprActors({ clock: systemClock, app: {}, sidecar: { httpPort: 1 } })
  const started = rejection(system.start())
  await system.close()
  assertCode(await started, 'actor.closed')
  t.pass()
})
