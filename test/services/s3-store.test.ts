import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'
import test, { type ExecutionContext } from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { systemClock } from '../../runtime/clock.js'
import { httpApp, listen } from '../../runtime/http-server.js'
import { httpStore } from '../../runtime/object-store/http-store.js'
import { patientStore } from '../../runtime/object-store/patient-store.js'
import { s3Store, type S3Store, type S3StoreOptions } from '../../runtime/object-store/s3-store.js'
import { storeRoutes, type Access } from '../../runtime/object-store/store-routes.js'
import type { MinioServer } from '../../runtime/services/index.js'
import { objectStoreSuite, type StoreUnderTest } from '../conformance/object-store.js'
import { all, filled, isFilled, onlyWinner, readText, text } from '../conformance/object-store-check.js'
import { forFile, MINIO_ROOT, minioFor } from '../support/servers.js'

const servers = forFile()
let minio: MinioServer
let buckets = 0

test.before(async () => {
  minio = await minioFor(servers)
})

test.after.always(() => servers.end())

for (const check of objectStoreSuite(s3Subject))
  test.serial(`S3 store on MinIO: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })

for (const check of objectStoreSuite(redirectedSubject))
  test.serial(`store over HTTP that sends on to MinIO: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })

async function s3Subject(): Promise<StoreUnderTest> {
  const options = bucketOptions()
  let store = s3Store(options)
  return {
    store,
    async reopen() {
      await store.close()
      store = s3Store(options)
      return store
    },
    close: () => store.close(),
  }
}

async function redirectedSubject(): Promise<StoreUnderTest> {
  const inner = s3Store(bucketOptions())
  const server = await redirecting(inner)
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
      await inner.close()
    },
  }
}

test.serial('8 concurrent conditional writers of 8 stores: exactly one wins, round after round', async (t) => {
  const options = bucketOptions()
  const stores = Array.from({ length: 8 }, () => s3Store(options))
  await stores[0].put('head', text('start'))
  for (let round = 0; round < 5; round++) {
    const { etag } = await stores[0].get('head')
    const winner = await onlyWinner((i) => stores[i % 8].put('head', text(`${round}.${i}`), { ifMatch: etag }))
    t.is(await readText(stores[0], 'head'), `${round}.${winner}`)
  }
  for (const store of stores) await store.close()
})

test.serial('a wrong key is refused by name', async (t) => {
  for (const wrong of [{ secretKey: 'not-the-secret-key' }, { accessKey: 'nobody' }]) {
    const store = s3Store({ ...bucketOptions(), ...wrong })
    const error = await t.throwsAsync(store.get('a'), { code: 'store.denied', message: /secret key/ })
    t.true(isSwarmError(error) && !error.retryable)
    await store.close()
  }
})

test.serial('a pre-signed URL is good for its method, its object, its conditions and its time, and for nothing else', async (t) => {
  const store = open(t)
  await store.put('a', text('1'))
  await store.put('b', text('2'))
  const get = await store.presign('GET', 'a')
  t.is(await (await fetch(get.url)).text(), '1')
  t.is((await fetch(get.url, { method: 'DELETE' })).status, 403)
  t.is((await fetch(get.url.replace('/a%21', '/b%21'))).status, 403)
  const put = await store.presign('PUT', 'a', { ifNoneMatch: '*' })
  const stripped = await fetch(put.url, { method: 'PUT', body: 'x' })
  t.true(stripped.status === 400 || stripped.status === 403, `${stripped.status}`)
  const changed = { ...put.headers, 'if-none-match': 'x' }
  t.is((await fetch(put.url, { method: 'PUT', body: 'x', headers: changed })).status, 403)
  t.is((await fetch(put.url, { method: 'PUT', body: 'x', headers: put.headers })).status, 412)
  t.is(await readText(store, 'a'), '1')
  const past = open(t, { clock: { ...systemClock, now: () => systemClock.now() - 120_000 } })
  const old = await past.presign('GET', 'a', { expiresS: 60 })
  const answer = await fetch(old.url)
  t.is(answer.status, 403)
  t.regex(await answer.text(), /expired/)
})

test.serial('a URL that has expired when it is used is asked for again, then named', async (t) => {
  const past = open(t, { clock: { ...systemClock, now: () => systemClock.now() - 120_000 } })
  const server = await redirecting(past)
  t.teardown(() => server.close(0))
  await t.throwsAsync(httpStore({ url: server.url, token: 'token' }).get('a'), { code: 'store.denied', message: /expired.*clocks/ })
})

test.serial('a host gets no URL for an object that is not its own', async (t) => {
  const inner = open(t)
  await inner.put('theirs/a', text('1'))
  const server = await redirecting(inner, (operation, key) => operation !== 'list' && key.startsWith('mine/'))
  t.teardown(() => server.close(0))
  const store = httpStore({ url: server.url, token: 'token' })
  await store.put('mine/a', text('2'), { ifNoneMatch: '*' })
  t.is(await readText(inner, 'mine/a'), '2')
  for (const call of [store.get('theirs/a'), store.put('theirs/a', text('3')), store.delete('theirs/a'), all(store.list(''))])
    await t.throwsAsync(call, { code: 'store.denied' })
})

for (const condition of ['none', 'ifNoneMatch', 'ifMatch'] as const)
  test.serial(`a put that MinIO carries out and whose answer is cut off is done once, condition ${condition}`, async (t) => {
    const proxy = await cuttingProxy(t, minio.port)
    const store = open(t, { endpoint: proxy.endpoint })
    const { etag } = await store.put('old', text('0'))
    const key = condition === 'ifMatch' ? 'old' : 'new'
    const options = { none: {}, ifNoneMatch: { ifNoneMatch: '*' }, ifMatch: { ifMatch: etag } } as const
    proxy.cutNext()
    const put = await store.put(key, text('1'), options[condition])
    t.true(proxy.cuts() >= 1)
    t.is((await store.get(key)).etag, put.etag)
    await t.throwsAsync(store.put(key, text('1'), { ifNoneMatch: '*' }), { code: 'store.conflict' })
  })

test.serial('puts get through a MinIO that is killed in the middle of them, none torn, none lost, none done twice', async (t) => {
  const own = await minioFor(t)
  const s3 = s3Store({ ...bucketOptions(), endpoint: own.endpoint })
  const waits: number[] = []
  const store = patientStore(s3, { clock: systemClock, onWait: (_, delayMs) => waits.push(delayMs) })
  t.teardown(() => store.close())
  let { etag } = await store.put('head', text('0'), { ifNoneMatch: '*' })
  const work = { isDone: false }
  const blobs = (async () => {
    for (let i = 0; i < 40; i++) await store.put(`blobs/${i}`, filled(i, 2_000_000 + i), { ifNoneMatch: '*' })
  })()
  const heads = (async () => {
    let count = 0
    while (!work.isDone) etag = (await store.put('head', text(`${++count}`), { ifMatch: etag })).etag
    return count
  })()
  heads.catch(() => {})
  for (let kill = 0; kill < 2; kill++) {
    while ((await all(s3.list('blobs/')).catch(() => [])).length < 10 * (kill + 1)) await new Promise((resolve) => setImmediate(resolve))
    await own.kill()
    // The store repeats a call by itself for a moment. Whoever is patient has to wait for longer.
    const before = waits.length
    while (waits.length === before) await new Promise((resolve) => setTimeout(resolve, 10))
    await own.restart()
  }
  await blobs
  work.isDone = true
  const count = await heads
  t.is(await readText(store, 'head'), `${count}`)
  for (let i = 0; i < 40; i++) {
    const { bytes } = await store.get(`blobs/${i}`)
    t.true(bytes.length === 2_000_000 + i && isFilled(bytes, i), `blobs/${i}`)
  }
  t.log(`${count} conditional heads, ${waits.length} waits`)
})

function bucketOptions(): S3StoreOptions {
  return { endpoint: minio.endpoint, bucket: `objects-${buckets++}`, accessKey: MINIO_ROOT.rootUser, secretKey: MINIO_ROOT.rootPassword }
}

function open(t: ExecutionContext, options: Partial<S3StoreOptions> = {}): S3Store {
  const store = s3Store({ ...bucketOptions(), ...options })
  t.teardown(() => store.close())
  return store
}

/** A server whose callers do everything with MinIO themselves. */
async function redirecting(store: S3Store, allows: Access['allows'] = () => true) {
  const app = httpApp()
  app.use(
    storeRoutes({
      store,
      authorize: async () => ({ allows, via: 'redirect' }),
      presign: (method, key, options) => store.presign(method, key, options),
    }),
  )
  return listen(app)
}

/** A way to a server that, once told to, cuts a connection at the first byte of an answer. */
async function cuttingProxy(t: ExecutionContext, port: number): Promise<{ endpoint: string; cutNext(): void; cuts(): number }> {
  let isCutting = false
  let cuts = 0
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      // The other side shows it too.
      socket.on('error', () => {})
      socket.on('close', () => {
        client.destroy()
        upstream.destroy()
      })
    }
    client.pipe(upstream)
    upstream.on('data', (bytes) => {
      if (!isCutting) return void client.write(bytes)
      isCutting = false
      cuts++
      client.destroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cutNext: () => {
      isCutting = true
    },
    cuts: () => cuts,
  }
}
