import test from 'ava'
import {
  type Link,
  LINE_DEADLINE_MS,
  MAX_PROBE_BYTES,
  MEASURE_MS,
  measureLink,
  measureQuietly,
  probeKey,
} from '../../actors/pnode/profile.js'
import { SwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { fakeClock, type FakeClock } from '../support/fake-clock.js'

interface Line {
  readonly bytesPerMs: number
  readonly roundTripMs: number
}

/** A store and a broker behind a line, by a clock that moves as bytes do. */
function linkOver(clock: FakeClock, { bytesPerMs, roundTripMs }: Line): Link & { readonly sizes: number[] } {
  const store = memoryStore()
  const sizes: number[] = []
  const pass = (bytes: number, signal?: AbortSignal) => clock.sleep(roundTripMs + bytes / bytesPerMs, signal)
  return {
    sizes,
    ping: (signal) => clock.sleep(roundTripMs, signal),
    store: {
      async put(key, bytes, options) {
        sizes.push(bytes.length)
        await pass(bytes.length, options?.signal)
        return store.put(key, bytes)
      },
      async get(key, options) {
        const object = await store.get(key)
        await pass(object.bytes.length, options?.signal)
        return object
      },
    },
  }
}

/** Runs `work` while time passes. */
async function lived<T>(clock: FakeClock, work: Promise<T>): Promise<T> {
  let isDone = false
  const done = work.finally(() => (isDone = true))
  done.catch(() => undefined)
  while (!isDone) await clock.advance(10)
  return done
}

const never = new AbortController().signal

test('a fast line is measured with a larger object, a slow one with a small one', async (t) => {
  const clock = fakeClock()
  const fast = linkOver(clock, { bytesPerMs: 10_000, roundTripMs: 20 })
  const { uploadBytesPerS, downloadBytesPerS, roundTripMs } = await lived(clock, measureLink('ann', fast, clock, never))
  t.is(roundTripMs, 20)
  t.deepEqual(fast.sizes, [65_536, 262_144, MAX_PROBE_BYTES])
  // 1 MiB in 105 ms and 20 of waiting.
  t.true(Math.abs(uploadBytesPerS! - 8.4e6) < 0.1e6, String(uploadBytesPerS))
  t.is(downloadBytesPerS, uploadBytesPerS)
  const slow = linkOver(clock, { bytesPerMs: 64, roundTripMs: 100 })
  const home = await lived(clock, measureLink('bob', slow, clock, never))
  t.deepEqual(slow.sizes, [65_536, 65_536, 65_536])
  t.true(Math.abs(home.uploadBytesPerS! - 58e3) < 1e3, String(home.uploadBytesPerS))
})

test('a line that was busy at the first try is as fast as the best one shows', async (t) => {
  const clock = fakeClock()
  const { ping, store } = linkOver(clock, { bytesPerMs: 10_000, roundTripMs: 20 })
  let puts = 0
  const put: typeof store.put = async (...args) => {
    if (++puts === 1) await clock.sleep(3_000)
    return store.put(...args)
  }
  const line = await lived(clock, measureLink('ann', { ping, store: { ...store, put } }, clock, never))
  t.true(line.uploadBytesPerS! > 8e6, String(line.uploadBytesPerS))
})

test('a line on which nothing gets through in time is as slow as that, and joining does not wait for it', async (t) => {
  const clock = fakeClock()
  const startMs = clock.now()
  const dead = linkOver(clock, { bytesPerMs: 1, roundTripMs: 60_000 })
  const line = await lived(clock, measureLink('ann', dead, clock, never))
  t.deepEqual(line, { roundTripMs: 2_000, uploadBytesPerS: Math.round(65_536 / (LINE_DEADLINE_MS / 1000)) })
  t.true(clock.now() - startMs < 10_000)
})

test('control that is away at first and then back says nothing of the line', async (t) => {
  const clock = fakeClock()
  const { ping, store } = linkOver(clock, { bytesPerMs: 10_000, roundTripMs: 20 })
  let pings = 0
  const away = (signal: AbortSignal) => (pings++ === 0 ? clock.sleep(60_000, signal) : ping(signal))
  t.like(await lived(clock, measureLink('ann', { ping: away, store }, clock, never)), { roundTripMs: 20 })
})

test('what cannot be reached just now says nothing of the line', async (t) => {
  const clock = fakeClock()
  const down = () => Promise.reject(new SwarmError('store.unavailable', { what: 'down', retryable: true }))
  t.deepEqual(await lived(clock, measureLink('ann', { ping: down, store: { get: down, put: down } }, clock, never)), {})
  const { ping } = linkOver(clock, { bytesPerMs: 1, roundTripMs: 5 })
  t.deepEqual(await lived(clock, measureLink('ann', { ping, store: { get: down, put: down } }, clock, never)), { roundTripMs: 5 })
})

test('in no time there is no network: no speed is made up', async (t) => {
  const clock = fakeClock()
  const store = memoryStore()
  const line = await lived(clock, measureLink('ann', { ping: async () => null, store }, clock, never))
  t.deepEqual(line, { roundTripMs: 0 })
  t.is((await store.get(probeKey('ann'))).bytes.length, 65_536)
})

test('an abort ends it', async (t) => {
  const clock = fakeClock()
  const stop = new AbortController()
  const link = linkOver(clock, { bytesPerMs: 1, roundTripMs: 60_000 })
  const measuring = measureLink('ann', link, clock, stop.signal)
  stop.abort(new SwarmError('aborted', 'it left'))
  await t.throwsAsync(lived(clock, measuring), { message: /it left/ })
  t.is(clock.pending, 0)
})

/** When somebody measures itself, in shares of the mean. */
async function timesOf(pnode: string, isIdle: () => boolean, rounds = 20): Promise<number[]> {
  const clock = fakeClock(0)
  const stop = new AbortController()
  const times: number[] = []
  const measure = async () => void times.push(clock.now() / MEASURE_MS)
  measureQuietly({ pnode, clock, signal: stop.signal, everyMs: MEASURE_MS, isIdle, measure })
  await clock.advance(rounds * MEASURE_MS)
  stop.abort()
  await clock.advance(2 * MEASURE_MS)
  return times
}

test('measured again now and then, at times of its own, the same each time it is asked', async (t) => {
  const ann = await timesOf('ann', () => true)
  t.true(ann.length >= 16 && ann.length <= 27, String(ann.length))
  for (const [i, time] of ann.entries()) {
    const gap = time - (ann[i - 1] ?? 0)
    if (i === 0) t.true(gap >= 0.075 && gap <= 0.125, String(gap))
    else t.true(gap >= 0.75 && gap <= 1.25, String(gap))
  }
  t.deepEqual(await timesOf('ann', () => true), ann)
  t.notDeepEqual(await timesOf('bob', () => true), ann)
})

test('nothing is measured while a step could wait for it, and not after the end', async (t) => {
  t.deepEqual(await timesOf('ann', () => false), [])
  let looks = 0
  const times = await timesOf('ann', () => ++looks > 5)
  t.true(times.length > 0 && times[0] > 4)
})

test('where it is never to be, no timer is set', (t) => {
  const clock = fakeClock()
  measureQuietly({ pnode: 'ann', clock, signal: never, everyMs: Infinity, isIdle: () => true, measure: async () => t.fail() })
  t.is(clock.pending, 0)
})
