import test from 'ava'
import { Feed, type FeedOptions } from '../../runtime/telemetry.js'

const dropped = (count: number) => `dropped ${count}`
const feedOf = (options: Partial<FeedOptions<string>> = {}) => new Feed<string>({ dropped, ...options })

async function all(events: AsyncIterable<string>): Promise<string[]> {
  const read: string[] = []
  for await (const event of events) read.push(event)
  return read
}

test('every reader gets every event, in order, each at its own pace', async (t) => {
  const feed = feedOf()
  const [slow, fast] = [feed.subscribe(), feed.subscribe()]
  const fastEvents = all(fast)
  feed.emit('a')
  t.is((await slow.next()).value, 'a')
  for (const event of ['b', 'c']) feed.emit(event)
  feed.close()
  t.deepEqual(await fastEvents, ['a', 'b', 'c'])
  t.deepEqual(await all(slow), ['b', 'c'])
})

test('a reader gets what happens after it subscribed, read or not yet read, after the snapshot', async (t) => {
  let state = 'early'
  const feed = feedOf({ snapshot: () => state })
  feed.emit('before')
  const reader = feed.subscribe()
  state = 'late'
  feed.emit('after')
  feed.close()
  t.deepEqual(await all(reader), ['early', 'after'])
})

test('a reader that waits is woken by an event, by the end, and by its signal', async (t) => {
  const feed = feedOf()
  const abort = new AbortController()
  const [first, second] = [feed.subscribe(), feed.subscribe(abort.signal)]
  const event = first.next()
  feed.emit('a')
  t.is((await event).value, 'a')
  t.is((await second.next()).value, 'a')
  const ended = second.next()
  abort.abort()
  t.true((await ended).done)
  const closed = first.next()
  feed.close()
  t.true((await closed).done)
})

test('an aborted signal ends a reader at once, whatever it has not read', async (t) => {
  const feed = feedOf({ snapshot: () => 'snapshot' })
  t.deepEqual(await all(feed.subscribe(AbortSignal.abort())), [])
  const abort = new AbortController()
  const reader = feed.subscribe(abort.signal)
  feed.emit('a')
  await reader.next()
  abort.abort()
  t.true((await reader.next()).done)
})

test('of several unread events with one key only the newest is kept, at its own place', async (t) => {
  const feed = feedOf({ coalesce: (event) => (event.startsWith('progress') ? 'progress' : undefined) })
  const reader = feed.subscribe()
  for (const event of ['progress 1', 'placed', 'progress 2', 'placed', 'progress 3', 'done']) feed.emit(event)
  t.is((await reader.next()).value, 'placed')
  feed.emit('progress 4')
  feed.close()
  t.deepEqual(await all(reader), ['placed', 'done', 'progress 4'])
})

test('what was read already is not replaced', async (t) => {
  const feed = feedOf({ coalesce: () => 'one' })
  const reader = feed.subscribe()
  feed.emit('1')
  t.is((await reader.next()).value, '1')
  feed.emit('2')
  feed.close()
  t.deepEqual(await all(reader), ['2'])
})

test('a slow reader is bounded: it loses the oldest events, is told exactly how many, and holds up nobody', async (t) => {
  const feed = feedOf({ capacity: 3 })
  const [slow, fast] = [feed.subscribe(), feed.subscribe()]
  const seen: string[] = []
  for (let i = 1; i <= 10; i++) {
    feed.emit(String(i))
    seen.push((await fast.next()).value as string)
  }
  t.deepEqual(
    seen,
    Array.from({ length: 10 }, (_, i) => String(i + 1)),
  )
  t.is((await slow.next()).value, 'dropped 7')
  t.is((await slow.next()).value, '8')
  for (const event of ['11', '12', '13', '14']) feed.emit(event)
  feed.close()
  t.deepEqual(await all(slow), ['dropped 3', '12', '13', '14'])
})

test('nothing vanishes: events read, dropped and coalesced add up to the events emitted', async (t) => {
  for (const capacity of [1, 2, 7]) {
    const feed = feedOf({ capacity, coalesce: (event) => (Number(event) % 3 === 0 ? 'third' : undefined) })
    const reader = feed.subscribe()
    let [read, lost, last] = [0, 0, 0]
    const take = (event: string) => {
      if (event.startsWith('dropped')) lost += Number(event.slice(8))
      else {
        read++
        t.true(Number(event) > last, 'in order')
        last = Number(event)
      }
    }
    for (let i = 1; i <= 300; i++) {
      feed.emit(String(i))
      if (i % 5 === 0) take((await reader.next()).value as string)
    }
    feed.close()
    for (const event of await all(reader)) take(event)
    // At most every third event can have been replaced by a newer one.
    t.true(read + lost <= 300 && read + lost >= 200, `${read} read, ${lost} dropped`)
    t.is(last, 300)
  }
})

test('a reader that stops gets nothing more', async (t) => {
  const feed = feedOf()
  const reader = feed.subscribe()
  feed.emit('a')
  for await (const event of reader) {
    t.is(event, 'a')
    break
  }
  feed.emit('b')
  t.true((await reader.next()).done)
})

test('a listener hears each event at once, until it is told to stop', (t) => {
  const feed = feedOf({ capacity: 1, coalesce: () => 'one' })
  const heard: string[] = []
  const stop = feed.listen((event) => heard.push(event))
  for (const event of ['a', 'b', 'c']) feed.emit(event)
  stop()
  feed.emit('d')
  t.deepEqual(heard, ['a', 'b', 'c'])
})

test('a closed feed takes nothing more; who subscribes then gets the snapshot alone', async (t) => {
  const feed = feedOf({ snapshot: () => 'snapshot' })
  const heard: string[] = []
  feed.listen((event) => heard.push(event))
  feed.close()
  feed.close()
  feed.emit('late')
  t.deepEqual(await all(feed.subscribe()), ['snapshot'])
  t.deepEqual(heard, [])
})
