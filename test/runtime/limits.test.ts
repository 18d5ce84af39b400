/** What the owner of a machine allows is kept: share of a core, rate of uploads, disk. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { systemClock } from '../../runtime/clock.js'
import type { ApplyRequest, Compute } from '../../runtime/compute/compute.js'
import { limitedCompute } from '../../runtime/compute/limited-compute.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { assertRoom, keepLogsSmall, trimLogs } from '../../runtime/disk-room.js'
import { isSwarmError } from '../../runtime/errors.js'
import { limitedStore } from '../../runtime/object-store/limited-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { RateLimit } from '../../runtime/rate-limit.js'
import { limitedBus } from '../../runtime/tensor-bus/limited-bus.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import { computeSuite } from '../conformance/compute.js'
import { objectStoreSuite } from '../conformance/object-store.js'
import { tensorBusSuite } from '../conformance/tensor-bus.js'
import { fakeClock } from '../support/fake-clock.js'
import { memorySubject } from '../support/store-subjects.js'
import { folder } from '../support/processes.js'

const MACHINES = new URL('../conformance/integer-machines.js', import.meta.url)
/** So much that no case of a suite waits for long, and little enough that large messages do wait. */
const FAST_BYTES_PER_SECOND = 2e9

const threads = computePool({ machines: MACHINES, spares: 2 })
test.after.always(() => threads.close())
let made = 0

for (const check of computeSuite({
  hasThreads: true,
  make: () => ({ compute: limitedCompute(threads.compute(`limited-${++made}`), 0.5, systemClock) }),
})) {
  test.serial(`half a core: ${check.title}`, async (t) => {
    await t.notThrowsAsync(check.run())
  })
}

/** A limited bus on a memory broker. */
function limitedPeers(bytesPerSecond: number, clock = systemClock) {
  const broker = memoryBroker()
  return async (name: string) => {
    const inner = Object.assign(await broker.connect(name), { name })
    return limitedBus(inner, new RateLimit(bytesPerSecond, clock), clock)
  }
}

for (const check of tensorBusSuite(async () => ({ connect: limitedPeers(FAST_BYTES_PER_SECOND), close: () => {} }))) {
  test(`limited bus: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

test('a compute of a quarter of a core rests three times as long as it works, and keeps the order of what waits', async (t) => {
  const clock = fakeClock()
  const begun: string[] = []
  const inner = {
    onLoss: () => () => {},
    apply: async (id: string, { step }: ApplyRequest) => {
      begun.push(`${id} ${step}`)
      return { frame: new Uint8Array(), metrics: {}, busyMs: 10 }
    },
    snapshot: async (id: string) => {
      begun.push(`${id} snapshot`)
      return new Uint8Array()
    },
    close: async () => {},
  } as unknown as Compute
  const compute = limitedCompute(inner, 0.25, clock)
  const request = (step: number) => ({ step, evaluation: 0, inputs: [], header: {} }) as unknown as ApplyRequest
  const first = compute.apply('a', request(1))
  const snapshot = compute.snapshot('a')
  const second = compute.apply('a', request(2))
  await t.throwsAsync(compute.apply('b', request(1), { signal: AbortSignal.abort() }), { code: 'aborted' } as never)
  await first
  await clock.advance(29)
  t.deepEqual(begun, ['a 1'])
  await clock.advance(1)
  await Promise.all([snapshot, second])
  t.deepEqual(begun, ['a 1', 'a snapshot', 'a 2'])
  const third = t.throwsAsync(compute.apply('a', request(3)))
  await compute.close()
  t.true(isSwarmError(await third, 'compute.closed'))
})

test('on a compute that is lent in part, background work that was asked for before is done behind the steps of others', async (t) => {
  const clock = fakeClock()
  const begun: string[] = []
  const inner = {
    onLoss: () => () => {},
    apply: async (id: string) => {
      begun.push(id)
      return { frame: new Uint8Array(), metrics: {}, busyMs: 10 }
    },
  } as unknown as Compute
  const compute = limitedCompute(inner, 0.25, clock)
  const request = { step: 1, evaluation: 0, inputs: [], header: { run: 'r' } } as unknown as ApplyRequest
  for (const [id, isBackground] of [
    ['audit', true],
    ['own', false],
  ] as const)
    for (let i = 0; i < 3; i++) void compute.apply(id, request, { isBackground })
  for (let i = 0; i < 6; i++) await clock.advance(30)
  t.deepEqual(begun, ['audit', 'own', 'own', 'own', 'audit', 'audit'])
})

test('a compute that is lent in part says so of its speed, and its steps take as long as they do with their rests', async (t) => {
  const inner = {
    onLoss: () => () => {},
    start: async (_signal: unknown, options: unknown) => ({ computeClass: 'c', gflops: 40, ...(options as object) }),
    apply: async () => ({ frame: new Uint8Array(), metrics: {}, busyMs: 10 }),
  } as unknown as Compute
  const compute = limitedCompute(inner, 0.25, fakeClock())
  t.deepEqual(await compute.start(undefined, { allocationBytes: 7 }), { computeClass: 'c', gflops: 10, allocationBytes: 7 } as never)
  const request = { step: 1, evaluation: 0, inputs: [], header: {} } as unknown as ApplyRequest
  t.is((await compute.apply('a', request)).busyMs, 40)
})

test('the rate holds on average, and a portion larger than any burst goes out whole', (t) => {
  let nowMs = 0
  const clock = { ...fakeClock(), now: () => nowMs }
  const limit = new RateLimit(1000, clock)
  // A quarter of a second is saved up, at most.
  t.is(limit.reserve(1250), 0)
  t.is(limit.reserve(500), 1000)
  t.is(limit.reserve(1), 1500)
  nowMs = 60_000
  t.is(limit.reserve(250), 0)
  t.is(limit.reserve(1), 0)
  t.is(limit.reserve(1), 1)
})

test('large messages wait for the rate, small ones of other subjects do not, and what is asked for again waits once', async (t) => {
  const clock = fakeClock()
  const sent: string[] = []
  const broker = memoryBroker()
  const inner = Object.assign(await broker.connect('a'), { name: 'a' })
  const publish = inner.publish.bind(inner)
  inner.publish = (subject, bytes) => {
    publish(subject, bytes)
    sent.push(`${subject} ${bytes.byteLength}`)
  }
  const bus = limitedBus(inner, new RateLimit(100_000, clock), clock)
  const [frame, other] = [new Uint8Array(100_000), new Uint8Array(50_000)]
  bus.publish('x.frame', frame)
  bus.publish('x.frame', other)
  bus.publish('x.frame', other)
  bus.publish('x.frame', new Uint8Array(1))
  bus.publish('x.credit', new Uint8Array(2))
  t.deepEqual(sent, ['x.frame 100000', 'x.credit 2'])
  const drained = bus.drain()
  await clock.advance(750)
  t.deepEqual(sent.slice(2), ['x.frame 50000'])
  await clock.advance(500)
  await drained
  t.deepEqual(sent.slice(3), ['x.frame 1'], 'order holds within a subject')
  t.throws(() => bus.publish('x.frame', frame), { code: 'bus.closed' } as never)
})

const limited = (store: ObjectStore) => limitedStore(store, new RateLimit(FAST_BYTES_PER_SECOND, systemClock), systemClock)

for (const check of objectStoreSuite(() => memorySubject(limited))) {
  test(`limited store: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

test('a put waits for the rate, with the bytes of its call, until it is aborted', async (t) => {
  const clock = fakeClock()
  const inner = memoryStore()
  const store = limitedStore(inner, new RateLimit(1000, clock), clock)
  await store.put('a', new Uint8Array(1250))
  const bytes = Uint8Array.of(1, 2, 3)
  const put = store.put('b', bytes)
  bytes.fill(9)
  const stop = new AbortController()
  const aborted = t.throwsAsync(store.put('c', bytes, { signal: stop.signal }), { code: 'aborted' } as never)
  stop.abort()
  await aborted
  await t.throwsAsync(inner.get('b'), { code: 'store.not-found' } as never)
  await clock.advance(1000)
  await put
  t.deepEqual((await store.get('b')).bytes, Uint8Array.of(1, 2, 3))
})

test('code beyond the disk that is lent is refused; logs beyond it are emptied, the largest first', async (t) => {
  const root = await folder(t)
  await mkdir(join(root, 'daprd'))
  await writeFile(join(root, 'code.mjs'), new Uint8Array(600))
  await t.notThrowsAsync(assertRoom(root, { addedBytes: 400, maxBytes: 1000 }))
  await t.notThrowsAsync(assertRoom(root, { addedBytes: 1000, maxBytes: 1000, except: join(root, 'code.mjs') }))
  await t.throwsAsync(assertRoom(root, { addedBytes: 401, maxBytes: 1000 }), {
    code: 'host.disk',
    message: /expected at most 1000 bytes, got 1001/,
  } as never)
  await writeFile(join(root, 'daprd', 'daprd.log'), new Uint8Array(900))
  await writeFile(join(root, 'small.log'), new Uint8Array(100))
  await trimLogs(root, 1000)
  t.is((await readFile(join(root, 'daprd', 'daprd.log'))).byteLength, 900)
  await trimLogs(root, 999)
  t.is((await readFile(join(root, 'daprd', 'daprd.log'))).byteLength, 0)
  t.is((await readFile(join(root, 'small.log'))).byteLength, 100)
  t.is((await readFile(join(root, 'code.mjs'))).byteLength, 600)
  const clock = fakeClock()
  const stop = keepLogsSmall(root, 1000, { clock, onError: (error) => t.fail(error.message) })
  t.is(clock.pending, 1)
  stop()
  t.is(clock.pending, 0)
})
