import test from 'ava'
import { SwarmError, type ErrorCode } from '../../runtime/errors.js'
import { systemClock } from '../../runtime/clock.js'
import { memoryObjects, memoryStore, type MemoryObjects } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore, PutOptions } from '../../runtime/object-store/object-store.js'
import { patientStore } from '../../runtime/object-store/patient-store.js'
import type { NamedPut } from '../../runtime/object-store/repeated-call.js'
import { objectStoreSuite } from '../conformance/object-store.js'
import { all, readText, text } from '../conformance/object-store-check.js'
import { fakeClock } from '../support/fake-clock.js'
import { memorySubject } from '../support/store-subjects.js'

for (const check of objectStoreSuite(() => memorySubject((store) => patientStore(store, { clock: systemClock }))))
  test.serial(`patient store: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })

test('a store that is away is asked again ever more slowly, for as long as it takes', async (t) => {
  const clock = fakeClock()
  const delays: number[] = []
  const { store, objects, fail } = failing()
  const patient = patientStore(store, { clock, onWait: (_, delayMs) => delays.push(delayMs) })
  fail(20)
  const put = patient.put('a', text('1'))
  await clock.advance(60_000)
  t.deepEqual(delays, [20, 40, 80, 160, 320, 640, 1280, ...Array.from({ length: 13 }, () => 2000)])
  await put
  t.is(objects.puts, 1)
  fail(3)
  const get = readText(patient, 'a')
  const deletion = get.then(() => patient.delete('a'))
  await clock.advance(1000)
  t.is(await get, '1')
  await deletion
})

for (const code of ['store.conflict', 'store.full', 'store.denied', 'store.unavailable', 'cluster.clock'] as const)
  test(`${code} that no waiting heals is told at once`, async (t) => {
    const clock = fakeClock()
    const { store, fail } = failing()
    fail(1, code, false)
    await t.throwsAsync(patientStore(store, { clock }).put('a', text('1')), { code })
    t.is(clock.pending, 0)
  })

test('a full store is waited for, where that may help', async (t) => {
  const clock = fakeClock()
  const { store, fail } = failing()
  fail(3, 'store.full', true)
  const patient = patientStore(store, { clock })
  const put = patient.put('a', text('1'))
  await clock.advance(1000)
  await put
  t.is(await readText(patient, 'a'), '1')
})

test('an abort ends the wait', async (t) => {
  const clock = fakeClock()
  const { store, fail } = failing()
  fail(Infinity)
  const controller = new AbortController()
  const get = patientStore(store, { clock }).get('a', { signal: controller.signal })
  await clock.advance(500)
  controller.abort()
  await t.throwsAsync(get, { code: 'aborted' })
  t.is(clock.pending, 0)
})

test('close ends the wait with what is the matter', async (t) => {
  const clock = fakeClock()
  const { store, fail } = failing()
  fail(Infinity)
  const patient = patientStore(store, { clock })
  const get = patient.get('a')
  get.catch(() => {})
  await clock.advance(500)
  await patient.close()
  await t.throwsAsync(get, { code: 'store.unavailable', message: 'away' })
  await t.throwsAsync(patient.get('a'), { code: 'store.unavailable' })
  t.is(clock.pending, 0)
})

test('a put is repeated under one name, and with the bytes as they were', async (t) => {
  const clock = fakeClock()
  const { store, puts, fail } = failing()
  const patient = patientStore(store, { clock })
  fail(2)
  const bytes = text('1')
  const put = patient.put('a', bytes, { ifNoneMatch: '*' })
  bytes.fill(0)
  await clock.advance(1000)
  await put
  await patient.put('b', text('2'))
  t.is(puts.length, 4)
  t.deepEqual(new Set(puts.slice(0, 3).map(({ putId }) => putId)).size, 1)
  t.not(puts[3].putId, puts[0].putId)
  t.is(puts[2].ifNoneMatch, '*')
  t.is(await readText(patient, 'a'), '1')
})

test('a listing goes on where it broke off', async (t) => {
  const clock = fakeClock()
  const { store, fail } = failing()
  const patient = patientStore(store, { clock })
  const keys = ['a', 'b', 'c', 'd']
  for (const key of keys) await patient.put(key, text('1'))
  const found: string[] = []
  const listing = (async () => {
    for await (const { key } of patient.list('')) {
      found.push(key)
      fail(2)
    }
  })()
  await clock.advance(1000)
  await listing
  t.deepEqual(found, keys)
  fail(0)
  t.is((await all(patient.list(''))).length, 4)
})

/** A memory store of which as many calls as wanted fail. */
function failing(): {
  store: ObjectStore
  objects: MemoryObjects
  puts: NamedPut[]
  fail: (times: number, code?: ErrorCode, retryable?: boolean) => void
} {
  const objects = memoryObjects()
  const inner = memoryStore({ objects })
  const puts: NamedPut[] = []
  let left = 0
  let error = new SwarmError('store.unavailable', 'away')
  const check = () => {
    if (left-- > 0) throw error
  }
  const store: ObjectStore = {
    async get(key, options) {
      check()
      return inner.get(key, options)
    },
    async put(key, bytes, options: PutOptions = {}) {
      puts.push(options)
      check()
      return inner.put(key, bytes, options)
    },
    async delete(key, options) {
      check()
      return inner.delete(key, options)
    },
    async *list(prefix, options) {
      for await (const entry of inner.list(prefix, options)) {
        check()
        yield entry
      }
    },
    close: () => inner.close(),
  }
  const fail = (times: number, code: ErrorCode = 'store.unavailable', retryable = true) => {
    left = times
    error = new SwarmError(code, { what: 'away', retryable })
  }
  return { store, objects, puts, fail }
}
