import test, { type ExecutionContext } from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { s3Store, type S3Store } from '../../runtime/object-store/s3-store.js'
import { objectStoreSuite } from '../conformance/object-store.js'
import { all, onlyWinner, readText, text } from '../conformance/object-store-check.js'
import { fakeS3, type FakeS3, type FakeS3Fault, type FakeS3Options } from '../support/fake-s3.js'
import { forFile } from '../support/servers.js'

const ADDRESS = { bucket: 'objects', accessKey: 'nobody', secretKey: 'nobody' }

for (const wants of ['quoted', 'unquoted'] as const)
  for (const check of objectStoreSuite(() => fakeSubject(wants)))
    test.serial(`S3 store, etags ${wants}: ${check.title}`, async (t) => {
      await check.run()
      t.pass()
    })

async function fakeSubject(wants: 'quoted' | 'unquoted') {
  const file = forFile()
  const { endpoint } = await fakeS3(file, { wants })
  let store = s3Store({ ...ADDRESS, endpoint })
  return {
    store,
    async reopen() {
      await store.close()
      store = s3Store({ ...ADDRESS, endpoint })
      return store
    },
    async close() {
      await store.close()
      await file.end()
    },
  }
}

for (const ignores of [['if-match'], ['if-none-match'], ['if-match', 'if-none-match']] as const)
  test(`a server that does not look at ${ignores.join(' and ')} is refused by name, before anything is stored`, async (t) => {
    const { fake, store } = await setUp(t, { ignores })
    const error = await t.throwsAsync(store.put('a', text('1')), { code: 'store.unsuitable' })
    t.regex(error.message, /expected exactly one of several writers.*MinIO/)
    t.is(fake.objects.size, 0)
    await t.throwsAsync(store.probe(), { code: 'store.unsuitable' })
  })

test('a server that does not know conditions is refused by name', async (t) => {
  const { fake, store } = await setUp(t)
  fake.fault = ({ headers }) => (headers['if-none-match'] ? { status: 501, code: 'NotImplemented' } : undefined)
  await t.throwsAsync(store.probe(), { code: 'store.unsuitable' })
})

test('the probe is made once, and leaves nothing', async (t) => {
  const { fake, store } = await setUp(t)
  await Promise.all([store.probe(), store.probe(), store.get('a').catch(() => {})])
  t.is(fake.objects.size, 0)
  const count = fake.requests.length
  await store.probe()
  t.is(fake.requests.length, count)
})

for (const condition of ['none', 'ifNoneMatch', 'ifMatch'] as const)
  test(`a put whose answer is lost is done once, condition ${condition}`, async (t) => {
    const { fake, store } = await setUp(t)
    const { etag } = await store.put('old', text('0'))
    const key = condition === 'ifMatch' ? 'old' : 'new'
    const options = { none: {}, ifNoneMatch: { ifNoneMatch: '*' }, ifMatch: { ifMatch: etag } } as const
    loseOnce(fake, 'PUT')
    const put = await store.put(key, text('1'), options[condition])
    t.is((await store.get(key)).etag, put.etag)
    await store.put(key, text('2'), { ifMatch: put.etag })
  })

test('a put whose answer is lost has lost to another, even to one of the same bytes', async (t) => {
  const { fake, store } = await setUp(t)
  await store.probe()
  let puts = 0
  // The first attempt does not arrive, and meanwhile somebody else writes the very same.
  fake.fault = ({ method }) => {
    if (method !== 'PUT' || puts++ > 0) return undefined
    queueMicrotask(() =>
      fake.objects.set('/objects/a!', { bytes: Buffer.from('1'), etag: 'c4ca4238a0b923820dcc509a6f75849b', headers: {} }),
    )
    return { status: 503, code: 'SlowDown' }
  }
  await t.throwsAsync(store.put('a', text('1'), { ifNoneMatch: '*' }), { code: 'store.conflict' })
})

test('of concurrent writers whose answers are all lost exactly one succeeds', async (t) => {
  const { fake, store } = await setUp(t)
  const { etag } = await store.put('a', text('0'))
  const lost = new Set<unknown>()
  fake.fault = ({ method, headers }) => {
    const put = headers['x-amz-meta-swarmgrad-put']
    if (method !== 'PUT' || lost.has(put)) return undefined
    lost.add(put)
    return 'lose-answer'
  }
  const winner = await onlyWinner((i) => store.put('a', text(`${i}`), { ifMatch: etag }))
  t.is(await readText(store, 'a'), `${winner}`)
  t.is(lost.size, 16)
})

const SKEWED = { status: 403, code: 'RequestTimeTooSkewed', headers: { date: 'Tue, 07 Jul 2026 10:00:00 GMT' } }
const FAULTS: readonly [string, FakeS3Fault, RegExp][] = [
  ['store.denied', { status: 403, code: 'InvalidAccessKeyId' }, /access key/],
  ['store.denied', { status: 403, code: 'SignatureDoesNotMatch' }, /secret key/],
  ['store.denied', { status: 400, code: 'ExpiredToken' }, /ExpiredToken/],
  ['store.full', { status: 507, code: 'XMinioStorageFull' }, /Free some space/],
  ['store.too-large', { status: 400, code: 'EntityTooLarge' }, /too large/],
  ['store.unavailable', { status: 404, code: 'NoSuchBucket' }, /bucket does not exist/],
  ['cluster.clock', SKEWED, /expected Tue, 07 Jul 2026 10:00:00 GMT, got \d{8}T\d{6}Z/],
]
for (const [code, fault, message] of FAULTS)
  test(`${(fault as { code: string }).code} is ${code}, at once and not repeated`, async (t) => {
    const { fake, store } = await setUp(t)
    await store.put('a', text('1'))
    const count = fake.requests.length
    fake.fault = () => fault
    const error = await t.throwsAsync(store.put('a', text('2')), { code })
    // Somebody may give the server room.
    t.true(isSwarmError(error) && error.retryable === (code === 'store.full'))
    t.regex(error.message, message)
    t.is(fake.requests.length, count + 1)
    await t.throwsAsync(store.get('a'), { code })
    await t.throwsAsync(all(store.list('')), { code })
    fake.fault = () => undefined
    t.is(await readText(store, 'a'), '1')
  })

test('a failure that passes is waited over, one that stays may be tried again later', async (t) => {
  const { fake, store } = await setUp(t)
  await store.put('a', text('1'))
  let count = 0
  fake.fault = () => (count++ < 2 ? { status: 503, code: 'SlowDown' } : undefined)
  t.is(await readText(store, 'a'), '1')
  fake.fault = () => ({ status: 500, code: 'InternalError' })
  const error = await t.throwsAsync(store.get('a'), { code: 'store.unavailable' })
  t.true(isSwarmError(error) && error.retryable)
})

test('where nobody answers the store is unavailable, retryably, and says where it looked', async (t) => {
  const store = s3Store({ ...ADDRESS, endpoint: 'http://127.0.0.1:1' })
  const error = await t.throwsAsync(store.get('a'), { code: 'store.unavailable', message: /ECONNREFUSED.*127\.0\.0\.1:1/ })
  t.true(isSwarmError(error) && error.retryable)
  await store.close()
})

test('an abort ends the wait between two attempts', async (t) => {
  const { fake, store } = await setUp(t)
  await store.probe()
  const controller = new AbortController()
  fake.fault = () => {
    setImmediate(() => controller.abort())
    return { status: 503, code: 'SlowDown' }
  }
  await t.throwsAsync(store.get('a', { signal: controller.signal }), { code: 'aborted' })
})

test('objects of others in the bucket are not listed, and a prefix keeps ours together', async (t) => {
  const { fake, store } = await setUp(t)
  await store.put('a', text('1'))
  fake.objects.set('/objects/theirs', { bytes: Buffer.alloc(1), etag: '1', headers: {} })
  const below = s3Store({ ...ADDRESS, endpoint: fake.endpoint, prefix: 'team/one' })
  await below.put('b', text('2'))
  t.true(fake.objects.has('/objects/team/one/b!'))
  t.deepEqual(await all(below.list('')), [{ key: 'b', sizeBytes: 1 }])
  t.deepEqual(
    (await all(store.list(''))).map(({ key }) => key),
    ['a', 'team/one/b'],
  )
  await below.close()
})

test('a listing of several pages is whole, and can begin after a key', async (t) => {
  const { fake, store } = await setUp(t)
  await store.probe()
  const keys = Array.from({ length: 2500 }, (_, i) => `x/${String(i).padStart(5, '0')}`)
  for (const key of keys) fake.objects.set(`/objects/${key}!`, { bytes: Buffer.alloc(1), etag: '1', headers: {} })
  t.deepEqual(
    (await all(store.list('x/'))).map(({ key }) => key),
    keys,
  )
  t.deepEqual(
    (await all(store.list('x/', { after: keys[2000] }))).map(({ key }) => key),
    keys.slice(2001),
  )
})

test('an address or a bucket that cannot be one is refused at once', (t) => {
  for (const endpoint of ['', 'localhost:9000', 'ftp://a', 'http://a/path'])
    t.throws(() => s3Store({ ...ADDRESS, endpoint }), { code: 'usage' }, endpoint)
  for (const bucket of ['', 'ab', 'Upper', 'a_b']) t.throws(() => s3Store({ ...ADDRESS, endpoint: 'http://a', bucket }), { code: 'usage' })
})

async function setUp(t: ExecutionContext, options?: FakeS3Options): Promise<{ fake: FakeS3; store: S3Store }> {
  const fake = await fakeS3(t, options)
  const store = s3Store({ ...ADDRESS, endpoint: fake.endpoint })
  t.teardown(() => store.close())
  return { fake, store }
}

/** The next request with this method is carried out and not answered. */
function loseOnce(fake: FakeS3, method: string): void {
  fake.fault = (request) => {
    if (request.method !== method) return undefined
    fake.fault = () => undefined
    return 'lose-answer'
  }
}
