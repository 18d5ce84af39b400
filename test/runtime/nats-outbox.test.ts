import test from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { decodePlace, HEADER_BYTES, type Place } from '../../runtime/tensor-bus/nats-header.js'
import { NatsOutbox } from '../../runtime/tensor-bus/nats-outbox.js'
import { gate } from '../conformance/within.js'

/** A broker that writes down what it gets, and acknowledges when told to. */
function link(maxPayloadBytes = 1_000) {
  const sent: (Place & { wire: string; bytes: number })[] = []
  const asked: ReturnType<typeof gate<void>>[] = []
  return {
    isUp: true,
    maxPayloadBytes,
    sent,
    asked,
    send(wire: string, place: string, bytes: Uint8Array) {
      sent.push({ ...decodePlace(place)!, wire, bytes: bytes.byteLength })
      return true
    },
    acknowledged() {
      asked.push(gate())
      return asked.at(-1)!.opened
    },
  }
}

const MIB = 1024 * 1024

test('messages are numbered by subject, under the name of the publisher', (t) => {
  const broker = link()
  const outbox = new NatsOutbox('ann', broker, { dropped: 0 })
  for (const subject of ['a', 'b', 'a']) outbox.publish(subject, new Uint8Array(3))
  t.deepEqual(
    broker.sent.map(({ wire, sequence, size }) => `${wire} ${sequence} ${size}`),
    ['a.from.ann 1 3', 'b.from.ann 1 3', 'a.from.ann 2 3'],
  )
  t.is(new Set(broker.sent.map(({ stream }) => stream)).size, 2)
})

test('a message beyond the broker’s limit is cut, one at the limit is not', (t) => {
  const broker = link(100 + HEADER_BYTES)
  const outbox = new NatsOutbox('ann', broker, { dropped: 0 })
  for (const size of [0, 100, 101, 250]) outbox.publish('a', new Uint8Array(size))
  t.deepEqual(
    broker.sent.map(({ sequence, offset, bytes }) => [sequence, offset, bytes]),
    [
      [1, 0, 0],
      [2, 0, 100],
      [3, 0, 100],
      [3, 100, 1],
      [4, 0, 100],
      [4, 100, 100],
      [4, 200, 50],
    ],
  )
})

test('what is published while the broker is away is dropped, numbered, and told when it is back', (t) => {
  const broker = link()
  const counts = { dropped: 0 }
  const outbox = new NatsOutbox('ann', broker, counts)
  outbox.publish('a', new Uint8Array(1))
  broker.isUp = false
  for (let time = 0; time < 5; time++) outbox.publish('a', new Uint8Array(1))
  outbox.publish('b', new Uint8Array(1))
  t.is(counts.dropped, 6)
  t.is(broker.sent.length, 1)
  broker.isUp = true
  outbox.resume()
  outbox.publish('a', new Uint8Array(1))
  outbox.resume()
  t.deepEqual(
    broker.sent.map(({ kind, wire, sequence, size }) => `${kind} ${wire} ${sequence} ${size}`),
    [
      'message a.from.ann 1 1',
      'gap a.from.ann 7 5',
      'gap b.from.ann 2 1',
      'message a.from.ann 7 1',
      'gap a.from.ann 8 0',
      'gap b.from.ann 2 0',
    ],
  )
})

test('a broker that takes nothing costs bounded memory; what was dropped is told when it goes on', async (t) => {
  const broker = link(8 * MIB)
  const counts = { dropped: 0 }
  const outbox = new NatsOutbox('ann', broker, counts, 4 * MIB)
  for (let time = 0; time < 10; time++) outbox.publish('a', new Uint8Array(MIB))
  t.is(counts.dropped, 6)
  t.is(broker.asked.length, 1)
  broker.asked[0].open()
  await Promise.resolve()
  await Promise.resolve()
  const last = broker.sent.at(-1)!
  t.deepEqual([last.kind, last.sequence, last.size], ['gap', 11, 6])
  outbox.publish('a', new Uint8Array(MIB))
  t.is(counts.dropped, 6)
})

test('a message larger than the bound passes when nothing waits', (t) => {
  const broker = link(8 * MIB)
  const counts = { dropped: 0 }
  const outbox = new NatsOutbox('ann', broker, counts, MIB)
  outbox.publish('a', new Uint8Array(2 * MIB))
  outbox.publish('a', new Uint8Array(1))
  t.is(counts.dropped, 1)
})

test('a subject that makes no sense is refused', (t) => {
  const outbox = new NatsOutbox('ann', link(), { dropped: 0 })
  t.true(
    isSwarmError(
      t.throws(() => outbox.publish('a.>', new Uint8Array(1))),
      'usage',
    ),
  )
})
