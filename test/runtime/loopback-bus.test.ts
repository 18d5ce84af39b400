import test from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { loopbackBus, type NamedBus } from '../../runtime/tensor-bus/loopback-bus.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import { MAX_MESSAGE_BYTES } from '../../runtime/tensor-bus/tensor-bus.js'
import { numbered, numberIn, range, readerOf } from '../conformance/bus-reader.js'
import { tensorBusSuite } from '../conformance/tensor-bus.js'

const DEADLINE_MS = 10_000

/** Peers of one broker, with a short cut for `mine`; `sent` counts what went to the broker. */
function peers(isMine: (subject: string) => boolean) {
  const broker = memoryBroker()
  const sent: string[] = []
  return {
    sent,
    connect: async (name: string): Promise<NamedBus> => {
      const inner = await broker.connect(name)
      const publish = inner.publish.bind(inner)
      inner.publish = (subject, bytes) => {
        publish(subject, bytes)
        sent.push(subject)
      }
      return loopbackBus(Object.assign(inner, { name }), isMine)
    },
  }
}

for (const check of tensorBusSuite(async () => ({ ...peers(() => false), close: () => {} }))) {
  test(`beside a short cut: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

test('what is mine is handed over in memory, as the very view, and never sent', async (t) => {
  const { connect, sent } = peers((subject) => subject.startsWith('mine.'))
  const [own, other] = await Promise.all([connect('own'), connect('other')])
  const readers = await Promise.all([readerOf(own, 'mine.a', DEADLINE_MS), readerOf(own, 'mine.>', DEADLINE_MS)])
  const bytes = numbered(1)
  own.publish('mine.a', bytes)
  for (const reader of readers) {
    const [message] = await reader.messages(1)
    t.is(message.bytes, bytes)
    t.is(message.from, 'own')
  }
  t.deepEqual(sent, [])
  t.is(own.name, 'own')
  await other.drain()
})

test('a subscription hears both ways, and counts what it lost on both', async (t) => {
  const { connect } = peers((subject) => subject === 'x.near')
  const [own, other] = await Promise.all([connect('own'), connect('other')])
  const reader = await readerOf(own, 'x.>', DEADLINE_MS)
  own.publish('x.near', numbered(1))
  other.publish('x.far', numbered(2))
  own.publish('x.far', numbered(3))
  t.deepEqual((await reader.messages(3)).map(({ from, bytes }) => `${from} ${numberIn(bytes)}`).sort(), ['other 2', 'own 1', 'own 3'])
  const slow = await readerOf(own, 'x.>', DEADLINE_MS, 4)
  for (const value of range(0, 10)) own.publish('x.near', numbered(value))
  await reader.messages(10)
  for (const value of range(10, 10)) other.publish('x.far', numbered(value))
  await reader.messages(10)
  const deliveries = await Promise.all(range(0, 5).map(() => slow.next()))
  t.deepEqual(
    deliveries.map((delivery) => (delivery?.type === 'lost' ? delivery.count : 1)),
    [1, 1, 1, 1, 16],
  )
})

test('the contract’s refusals hold on the short cut', async (t) => {
  const own = await peers(() => true).connect('own')
  const code = (attempt: () => unknown) => t.throws<Error & { code?: string }>(attempt)?.code
  t.is(
    code(() => own.publish('a.>', numbered(1))),
    'usage',
  )
  t.is(
    code(() => own.publish('a', new Uint8Array(MAX_MESSAGE_BYTES + 1))),
    'bus.too-large',
  )
  t.is(
    code(() => own.subscribe('a', { capacity: 0 })),
    'usage',
  )
  const reader = await readerOf(own, 'a', DEADLINE_MS)
  own.publish('a', numbered(1))
  own.close()
  t.deepEqual(await reader.rest(), [])
  t.is(
    code(() => own.publish('a', numbered(1))),
    'bus.closed',
  )
  t.is(
    code(() => own.subscribe('a', { capacity: 1 })),
    'bus.closed',
  )
  t.is(await own.closed, undefined)
})

test('drain lets readers of the short cut come to the end, who may still publish; an abort ends it', async (t) => {
  const own = await peers(() => true).connect('own')
  const seen: number[] = []
  const questions = own.subscribe('a', { capacity: 16 })
  const loop = (async () => {
    for await (const delivery of questions) {
      if (delivery.type !== 'message') continue
      seen.push(numberIn(delivery.bytes))
      own.publish('b', delivery.bytes)
    }
  })()
  for (const value of range(0, 5)) own.publish('a', numbered(value))
  await own.drain()
  await loop
  t.deepEqual(seen, range(0, 5))
  const stuck = await peers(() => true).connect('stuck')
  const reader = await readerOf(stuck, 'a', DEADLINE_MS)
  stuck.publish('a', numbered(1))
  stuck.publish('a', numbered(2))
  await reader.next()
  const abort = new AbortController()
  const drained = stuck.drain(abort.signal)
  t.is(t.throws<Error & { code?: string }>(() => stuck.subscribe('a', { capacity: 1 }))?.code, 'bus.closed')
  abort.abort()
  t.true(isSwarmError(await t.throwsAsync(drained), 'aborted'))
})
