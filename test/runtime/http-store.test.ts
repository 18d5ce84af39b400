import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import { httpApp, listen, type HttpServer } from '../../runtime/http-server.js'
import { httpStore, type HttpStore } from '../../runtime/object-store/http-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { s3Store } from '../../runtime/object-store/s3-store.js'
import { storeRoutes, type Access, type StoreRoutesOptions } from '../../runtime/object-store/store-routes.js'
import { objectStoreSuite } from '../conformance/object-store.js'
import { all, filled, onlyWinner, readText, text } from '../conformance/object-store-check.js'
import { fakeClock } from '../support/fake-clock.js'
import { fakeS3, type FakeS3 } from '../support/fake-s3.js'
import { forFile } from '../support/servers.js'

const ALL: Access = { allows: () => true, via: 'stream' }

for (const check of objectStoreSuite(streamedSubject))
  test.serial(`store over HTTP: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })

for (const check of objectStoreSuite(redirectedSubject))
  test.serial(`store over HTTP that sends on: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })

async function streamedSubject() {
  const store = memoryStore()
  return subject(await serve({ store, authorize: async () => ALL }), () => store.close())
}

async function redirectedSubject() {
  const file = forFile()
  const fake = await fakeS3(file)
  const store = s3Store({ endpoint: fake.endpoint, bucket: 'objects', accessKey: 'key', secretKey: 'secret' })
  const server = await serve({
    store,
    authorize: async () => ({ ...ALL, via: 'redirect' }),
    presign: (method, key, options) => store.presign(method, key, options),
  })
  return subject(server, async () => {
    await store.close()
    await file.end()
  })
}

function subject(server: HttpServer, end: () => Promise<void>) {
  let store = httpStore({ url: server.url, token: 'token' })
  return {
    store,
    async reopen() {
      await store.close()
      store = httpStore({ url: server.url, token: 'token' })
      return store
    },
    async close() {
      await store.close()
      await server.close(0)
      await end()
    },
  }
}

test('each caller may do what he may, and no more', async (t) => {
  const inner = memoryStore()
  await inner.put('runs/r1/head', text('1'))
  const { store } = await setUp(t, {
    store: inner,
    authorize: async (request) => {
      if (request.headers.authorization !== 'Bearer right') throw new SwarmError('cluster.token', { what: 'a wrong token' })
      return {
        via: 'stream',
        allows: (operation, key) => (operation === 'get' && key === 'runs/r1/head') || (operation === 'put' && key.startsWith('blobs/')),
      }
    },
  })
  const own = store('right')
  t.is(await readText(own, 'runs/r1/head'), '1')
  await own.put('blobs/a', text('1'))
  await t.throwsAsync(own.put('runs/r1/head', text('2')), { code: 'store.denied', message: /no right to put this \(runs\/r1\/head\)/ })
  await t.throwsAsync(own.get('blobs/a'), { code: 'store.denied' })
  await t.throwsAsync(own.get('runs/r2/head'), { code: 'store.denied' })
  await t.throwsAsync(own.delete('blobs/a'), { code: 'store.denied' })
  await t.throwsAsync(all(own.list('blobs/')), { code: 'store.denied' })
  const other = store('wrong')
  for (const call of [other.get('runs/r1/head'), other.put('blobs/b', filled(1, 5_000_000)), other.delete('blobs/a'), all(other.list(''))])
    await t.throwsAsync(call, { code: 'cluster.token', message: 'a wrong token' })
  t.deepEqual(
    (await all(inner.list(''))).map(({ key }) => key),
    ['blobs/a', 'runs/r1/head'],
  )
})

test('who is sent on gets a URL for what he was given, never for anything else, and his token stays here', async (t) => {
  const { fake, store, signed } = await setUpRedirect(t, (_, key) => key.startsWith('mine/'))
  const { etag } = await store.put('mine/a', filled(7, 100_000), { ifNoneMatch: '*' })
  t.deepEqual(await store.get('mine/a'), { bytes: filled(7, 100_000), etag })
  await t.throwsAsync(store.get('theirs/a'), { code: 'store.denied' })
  await t.throwsAsync(store.put('theirs/a', text('1')), { code: 'store.denied' })
  t.deepEqual(signed, ['PUT mine/a', 'GET mine/a'])
  for (const { path, headers } of fake.requests.filter((request) => request.path.endsWith('mine/a!'))) {
    t.is(headers.authorization, undefined, path)
    t.false(JSON.stringify(headers).includes('token'))
  }
})

for (const condition of ['none', 'ifNoneMatch', 'ifMatch'] as const)
  test(`a put sent on whose answer is lost is done once, condition ${condition}`, async (t) => {
    const { fake, store } = await setUpRedirect(t)
    const { etag } = await store.put('old', text('0'))
    const key = condition === 'ifMatch' ? 'old' : 'new'
    const options = { none: {}, ifNoneMatch: { ifNoneMatch: '*' }, ifMatch: { ifMatch: etag } } as const
    fake.fault = ({ method }) => {
      if (method !== 'PUT') return undefined
      fake.fault = () => undefined
      return 'lose-answer'
    }
    const put = await store.put(key, text('1'), options[condition])
    t.is((await store.get(key)).etag, put.etag)
    await t.throwsAsync(store.put(key, text('1'), { ifNoneMatch: '*' }), { code: 'store.conflict' })
  })

test('a put whose answer from our own server is lost is done once', async (t) => {
  const inner = memoryStore()
  let puts = 0
  const counting: ObjectStore = {
    ...bound(inner),
    put: (...put) => {
      puts++
      return inner.put(...put)
    },
  }
  const { server } = await setUp(t, { store: counting, authorize: async () => ALL })
  let answers = 0
  const store = httpStore({
    url: server.url,
    token: 'token',
    fetch: async (...request) => {
      const answer = await fetch(...request)
      // The first is that of the question where to put.
      if (answers++ === 1) throw new TypeError('fetch failed', { cause: new Error('connection reset') })
      return answer
    },
  })
  const { etag } = await store.put('a', text('1'), { ifNoneMatch: '*' })
  t.is(puts, 1)
  t.is((await store.get('a')).etag, etag)
  const winner = await onlyWinner((i) => store.put('a', text(`${i}`), { ifMatch: etag }))
  t.is(await readText(store, 'a'), `${winner}`)
})

test('an expired URL is asked for again, and named if that does not help', async (t) => {
  const { fake, store } = await setUpRedirect(t)
  await store.put('a', text('1'))
  let count = 0
  const expired = { status: 403, code: 'AccessDenied', message: 'Request has expired' }
  fake.fault = () => (count++ === 0 ? expired : undefined)
  t.is(await readText(store, 'a'), '1')
  fake.fault = () => expired
  await t.throwsAsync(store.get('a'), { code: 'store.denied', message: /expired.*clocks/ })
})

test('an error keeps its code, its message and whether it may be retried', async (t) => {
  const inner = memoryStore()
  const errors = [
    new SwarmError('store.full', { what: 'no space left', where: 'a' }),
    new SwarmError('store.read-only', 'only for reading'),
    new SwarmError('store.unavailable', { what: 'away', retryable: true }),
    new SwarmError('store.unavailable', { what: 'broken' }),
    new SwarmError('store.unsuitable', 'no conditions'),
  ]
  let next = errors[0]
  const { store } = await setUp(t, { store: { ...bound(inner), get: async () => Promise.reject(next) }, authorize: async () => ALL })
  for (next of errors) {
    const error = await t.throwsAsync(store().get('a'))
    t.true(isSwarmError(error))
    t.deepEqual((error as SwarmError).toJSON(), next.toJSON())
  }
})

test('an object that is too large for the server is refused by code', async (t) => {
  const { store } = await setUp(t, { store: memoryStore(), authorize: async () => ALL, maxObjectBytes: 1_000_000 })
  await store().put('a', filled(1, 1_000_000))
  await t.throwsAsync(store().put('a', filled(1, 1_000_001)), { code: 'store.too-large', message: /at most 1000000 bytes/ })
})

test('a listing of several pages is whole', async (t) => {
  const inner = memoryStore()
  const keys = Array.from({ length: 2001 }, (_, i) => `x/${String(i).padStart(5, '0')}`)
  for (const key of keys) await inner.put(key, text('1'))
  const { store } = await setUp(t, { store: inner, authorize: async () => ALL })
  t.deepEqual(
    (await all(store().list('x/'))).map(({ key }) => key),
    keys,
  )
})

test('a token that is asked for is asked for each time', async (t) => {
  const tokens: (string | undefined)[] = []
  const { server } = await setUp(t, {
    store: memoryStore(),
    authorize: async ({ headers }) => {
      tokens.push(headers.authorization)
      return ALL
    },
  })
  let count = 0
  const store = httpStore({ url: server.url, token: async () => `token-${++count}` })
  await store.delete('a')
  await store.delete('a')
  t.deepEqual(tokens, ['Bearer token-1', 'Bearer token-2'])
})

test('where nobody answers, or somebody else, the store is unavailable by code', async (t) => {
  const gone = await listen(httpApp())
  await gone.close(0)
  const away = await t.throwsAsync(httpStore({ url: gone.url, token: 'token' }).get('a'), {
    code: 'store.unavailable',
    message: /ECONNREFUSED.*http:/,
  })
  t.true(isSwarmError(away) && away.retryable)
  const app = await listen(httpApp())
  t.teardown(() => app.close(0))
  const other = await t.throwsAsync(httpStore({ url: app.url, token: 'token' }).get('a'), {
    code: 'store.unavailable',
    message: /Check the address/,
  })
  t.true(isSwarmError(other) && !other.retryable)
  t.throws(() => httpStore({ url: 'nowhere', token: 'token' }), { code: 'usage' })
})

test('a server that falls silent is given up after its deadline', async (t) => {
  const server = createServer(() => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const clock = fakeClock()
  const store = httpStore({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: 'token', clock })
  server.on('request', () => void clock.advance(31_000))
  await t.throwsAsync(store.get('a'), { code: 'store.unavailable', message: /no sign of life for 30 s/ })
})

async function serve(options: StoreRoutesOptions): Promise<HttpServer> {
  const app = httpApp()
  app.use(storeRoutes(options))
  return listen(app)
}

async function setUp(
  t: ExecutionContext,
  options: StoreRoutesOptions,
): Promise<{ server: HttpServer; store: (token?: string) => HttpStore }> {
  const server = await serve(options)
  t.teardown(() => server.close(0))
  return { server, store: (token = 'token') => httpStore({ url: server.url, token }) }
}

async function setUpRedirect(
  t: ExecutionContext,
  allows: Access['allows'] = () => true,
): Promise<{ fake: FakeS3; store: HttpStore; signed: string[] }> {
  const fake = await fakeS3(t)
  const inner = s3Store({ endpoint: fake.endpoint, bucket: 'objects', accessKey: 'key', secretKey: 'secret' })
  t.teardown(() => inner.close())
  await inner.probe()
  const signed: string[] = []
  const { store } = await setUp(t, {
    store: inner,
    authorize: async () => ({ allows, via: 'redirect' }),
    presign(method, key, options) {
      signed.push(`${method} ${key}`)
      return inner.presign(method, key, options)
    },
  })
  return { fake, store: store(), signed }
}

/** The methods of a store that is a class. */
function bound(store: ObjectStore): ObjectStore {
  return {
    get: (...call) => store.get(...call),
    put: (...call) => store.put(...call),
    delete: (...call) => store.delete(...call),
    list: (...call) => store.list(...call),
    close: () => store.close(),
  }
}
