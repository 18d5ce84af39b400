import test from 'ava'
import { array, assert, constantFrom, integer, property } from 'fast-check'
import { NatsArrivals } from '../../runtime/tensor-bus/nats-arrivals.js'
import { decodePlace, type Place } from '../../runtime/tensor-bus/nats-header.js'
import { JoiningRoom } from '../../runtime/tensor-bus/nats-joining.js'
import { NatsOutbox } from '../../runtime/tensor-bus/nats-outbox.js'
import { senderOf } from '../../runtime/tensor-bus/nats-subject.js'
import { numbered, numberIn, range } from '../conformance/bus-reader.js'

interface Heard extends Partial<Omit<Place, 'sequence'>> {
  readonly from?: string
  readonly bytes?: Uint8Array
}

/** Arrivals that write down what they deliver. */
function arrivals(room = new JoiningRoom()) {
  const told: string[] = []
  const counts = { damaged: 0, duplicates: 0 }
  const sink = {
    message: (_subject: string, from: string, bytes: Uint8Array) =>
      void told.push(`${from} ${bytes.byteLength < 4 ? '' : numberIn(bytes)}`),
    lost: (count: number) => void told.push(`lost ${count}`),
  }
  const own = new NatsArrivals(sink, room, counts)
  const hear = (
    sequence: number,
    { from = 'ann', stream = 'a', offset = 0, size = 4, bytes = numbered(sequence), kind = 'message' }: Heard = {},
  ) => own.accept({ subject: 'x', from }, { kind, stream: stream.padEnd(16, '0'), sequence, offset, size }, bytes)
  return { arrivals: own, told, counts, hear, room }
}

test('a stream is told in order, each message once, each gap at its place', (t) => {
  const { told, counts, hear } = arrivals()
  for (const sequence of [5, 6, 6, 9, 7, 10]) hear(sequence)
  t.deepEqual(told, ['ann 5', 'ann 6', 'lost 2', 'ann 9', 'ann 10'])
  t.is(counts.duplicates, 2)
})

test('publishers are followed apart', (t) => {
  const { told, hear } = arrivals()
  for (const [from, sequence] of [
    ['ann', 1],
    ['bob', 7],
    ['ann', 2],
    ['bob', 9],
  ] as const)
    hear(sequence, { from })
  t.deepEqual(told, ['ann 1', 'bob 7', 'ann 2', 'lost 1', 'bob 9'])
})

test('a publisher that begins anew is followed from its first message on, while the old life runs out', (t) => {
  const { told, hear } = arrivals()
  for (const [stream, sequence] of [
    ['a', 8],
    ['b', 3],
    ['a', 9],
    ['b', 4],
    ['c', 1],
  ] as const)
    hear(sequence, { stream })
  t.deepEqual(told, ['ann 8', 'lost 2', 'ann 3', 'ann 9', 'ann 4', 'ann 1'])
})

test('a gap is told by its publisher: exactly to who knows it, as far as it owns up to a stranger', (t) => {
  const known = arrivals()
  known.hear(1)
  known.hear(5, { kind: 'gap', size: 3 })
  known.hear(5)
  t.deepEqual(known.told, ['ann 1', 'lost 3', 'ann 5'])
  const stranger = arrivals()
  stranger.hear(9, { kind: 'gap', size: 2 })
  stranger.hear(9)
  stranger.hear(9, { kind: 'gap', size: 0 })
  t.deepEqual(stranger.told, ['lost 2', 'ann 9'])
})

test('a loss that was told when the connection came back counts once, and hides none of later', (t) => {
  const { arrivals: own, told, hear } = arrivals()
  hear(1)
  own.foretell()
  hear(4)
  own.foretell()
  hear(5)
  hear(7)
  t.deepEqual(told, ['ann 1', 'lost 1', 'lost 1', 'ann 4', 'lost 1', 'ann 5', 'lost 1', 'ann 7'])
})

test('parts are joined; a message of which one is missing is lost', (t) => {
  const { told, counts, hear, room } = arrivals()
  const whole = numbered(77, 10)
  const part = (sequence: number, offset: number, end: number) => hear(sequence, { offset, size: 10, bytes: whole.subarray(offset, end) })
  part(1, 0, 4)
  part(1, 4, 8)
  part(1, 4, 8)
  part(1, 8, 10)
  part(2, 0, 4)
  part(2, 8, 10)
  part(3, 4, 10)
  part(4, 0, 4)
  hear(5)
  t.deepEqual(told, ['ann 77', 'lost 1', 'lost 1', 'lost 1', 'ann 5'])
  t.deepEqual(counts, { damaged: 0, duplicates: 1 })
  t.is(room.usedBytes, 0)
})

test('sizes that contradict each other are damage, and the message is lost', (t) => {
  const { told, counts, hear, room } = arrivals()
  hear(1, { size: 2 })
  hear(2, { size: 2 ** 32 - 1 })
  hear(3, { size: 8 })
  hear(3, { offset: 4, size: 9 })
  hear(4, { offset: 4, size: 4 })
  t.deepEqual(told, ['lost 1', 'lost 1', 'lost 1', 'lost 1'])
  t.is(counts.damaged, 4)
  t.is(room.usedBytes, 0)
})

test('open messages are bounded for the whole bus: the oldest is lost', (t) => {
  const { arrivals: own, told, hear, room } = arrivals(new JoiningRoom(25))
  for (const from of ['ann', 'bob', 'eve']) hear(1, { from, size: 10 })
  t.deepEqual(told, ['lost 1'])
  t.is(room.usedBytes, 20)
  for (const from of ['bob', 'eve']) hear(1, { from, offset: 4, size: 10, bytes: new Uint8Array(6) })
  hear(2)
  t.deepEqual(told, ['lost 1', 'bob 1', 'eve 1', 'ann 2'])
  hear(3, { size: 10 })
  own.close()
  t.is(room.usedBytes, 0)
})

test('what is delivered is a copy: the socket’s buffer is written again', (t) => {
  const kept: Uint8Array[] = []
  const sink = { message: (_subject: string, _from: string, bytes: Uint8Array) => void kept.push(bytes), lost: () => {} }
  const own = new NatsArrivals(sink, new JoiningRoom(), { damaged: 0, duplicates: 0 })
  const chunk = Buffer.from(numbered(7, 100))
  own.accept(
    { subject: 'x', from: 'ann' },
    { kind: 'message', stream: 'a'.repeat(16), sequence: 1, offset: 0, size: 93 },
    chunk.subarray(0, 93),
  )
  chunk.fill(255)
  t.is(numberIn(kept[0]), 7)
  t.is(kept[0].buffer.byteLength, 93)
})

test('whatever the network drops or repeats, messages and losses add up to what was published', (t) => {
  const fate = array(constantFrom('arrives', 'arrives', 'is dropped', 'comes twice'), { minLength: 1, maxLength: 120 })
  const sizes = array(integer({ min: 4, max: 260 }), { minLength: 1, maxLength: 30 })
  assert(
    property(fate, sizes, (fates, sizes) => {
      const told: string[] = []
      let lost = 0
      const sink = {
        message: (_subject: string, _from: string, bytes: Uint8Array) => void told.push(`${numberIn(bytes)} of ${bytes.byteLength}`),
        lost: (count: number) => void (lost += count),
      }
      const room = new JoiningRoom()
      const own = new NatsArrivals(sink, room, { damaged: 0, duplicates: 0 })
      let sent = 0
      let isLossy = false
      const link = {
        isUp: true,
        maxPayloadBytes: 150,
        acknowledged: () => Promise.resolve(),
        send(wire: string, place: string, bytes: Uint8Array) {
          const what = isLossy ? fates[sent++ % fates.length] : 'arrives'
          for (let times = what === 'is dropped' ? 0 : what === 'comes twice' ? 2 : 1; times > 0; times--) {
            own.accept(senderOf(wire, 'x')!, decodePlace(place)!, bytes)
          }
          return true
        },
      }
      const outbox = new NatsOutbox('ann', link, { dropped: 0 })
      outbox.publish('x', numbered(0))
      isLossy = true
      for (const [index, size] of sizes.entries()) outbox.publish('x', numbered(index + 1, size))
      isLossy = false
      outbox.publish('x', numbered(sizes.length + 1))
      t.is(told.length + lost, sizes.length + 2)
      const expected = ['0 of 4', ...sizes.map((size, index) => `${index + 1} of ${size}`), `${sizes.length + 1} of 4`]
      t.deepEqual(
        told,
        expected.filter((message) => told.includes(message)),
      )
      t.is(room.usedBytes, 0)
    }),
  )
})

test('many publishers and subjects cost bounded memory', (t) => {
  const { told, hear } = arrivals()
  for (const index of range(0, 70_000)) hear(1, { from: `p${index}` })
  hear(3, { from: 'p69999' })
  hear(3, { from: 'p0' }) // forgotten: met as if for the first time
  t.deepEqual(told.slice(-3), ['lost 1', 'p69999 3', 'p0 3'])
})
