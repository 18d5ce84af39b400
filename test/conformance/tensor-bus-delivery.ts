/** Cases of the bus: what arrives, where, from whom, in which order. */
import assert from 'node:assert/strict'
import { MAX_MESSAGE_BYTES } from '../../runtime/tensor-bus/tensor-bus.js'
import { numberIn, numbered, range, readerOf } from './bus-reader.js'
import type { BusCases } from './tensor-bus.js'
import { assertCode, within } from './within.js'

/** Around the usual buffer, cache line and page sizes, up to the largest frames that a run sends. */
const SIZES = [0, 1, 3, 63, 64, 65, 4_095, 65_536, 1_000_003, 8 * 1024 * 1024]

export const deliveryCases: BusCases = {
  'bytes arrive identical, from 0 B to 8 MB': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const reader = await readerOf(receiver, subject('bytes'), deadlineMs)
    for (const sizeBytes of SIZES) {
      const sent = pattern(sizeBytes)
      sender.publish(subject('bytes'), sent)
      const [message] = await reader.messages(1)
      assertSame(message.bytes, pattern(sizeBytes), `${sizeBytes} bytes`)
      assertSame(sent, pattern(sizeBytes), `the sender's own ${sizeBytes} bytes`)
      assert.equal(message.subject, subject('bytes'))
    }
  },

  'a view into a larger buffer travels alone': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const reader = await readerOf(receiver, subject('view'), deadlineMs)
    sender.publish(subject('view'), pattern(1_000).subarray(100, 164))
    const [message] = await reader.messages(1)
    assertSame(message.bytes, pattern(1_000).slice(100, 164), 'the view')
  },

  'a sender keeps its buffer and may send it again': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const reader = await readerOf(receiver, subject('again'), deadlineMs)
    const kept = pattern(5_000)
    for (let time = 0; time < 3; time++) sender.publish(subject('again'), kept)
    for (const { bytes } of await reader.messages(3)) assertSame(bytes, pattern(5_000), 'a resent message')
    assertSame(kept, pattern(5_000), 'the kept buffer')
  },

  'a received message stays valid while later ones arrive': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const reader = await readerOf(receiver, subject('valid'), deadlineMs)
    for (const value of range(0, 200)) sender.publish(subject('valid'), numbered(value, 2_000))
    const held = await reader.messages(200)
    assert.deepEqual(
      held.map(({ bytes }) => numberIn(bytes)),
      range(0, 200),
    )
    assert.ok(held.every(({ bytes }) => bytes.byteLength === 2_000))
  },

  'messages of one publisher under one subject arrive in order, each once': async ({ connect, deadlineMs, subject }) => {
    const [first, second, receiver] = await Promise.all([connect('first'), connect('second'), connect('receiver')])
    const reader = await readerOf(receiver, subject('order.>'), deadlineMs)
    for (const value of range(0, 150)) {
      for (const sender of [first, second]) {
        sender.publish(subject('order.x'), numbered(value))
        sender.publish(subject('order.y'), numbered(value))
      }
    }
    const edges = new Map<string, number[]>()
    for (const { from, subject: at, bytes } of await reader.messages(600)) {
      const edge = `${from} ${at}`
      edges.set(edge, [...(edges.get(edge) ?? []), numberIn(bytes)])
    }
    assert.equal(edges.size, 4, `edges: ${[...edges.keys()].join(', ')}`)
    for (const [edge, values] of edges) assert.deepEqual(values, range(0, 150), edge)
    receiver.publish(subject('order.end'), numbered(0))
    const [last] = await reader.messages(1)
    assert.equal(last.subject, subject('order.end'), 'a message arrived twice')
  },

  'order holds on an exact subject between small and large messages': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const reader = await readerOf(receiver, subject('mixed'), deadlineMs)
    for (const value of range(0, 40)) sender.publish(subject('mixed'), numbered(value, value % 3 === 0 ? 300_000 : 4))
    assert.deepEqual(
      (await reader.messages(40)).map(({ bytes }) => numberIn(bytes)),
      range(0, 40),
    )
  },

  'an exact subject hears nothing else': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const reader = await readerOf(receiver, subject('a.b'), deadlineMs)
    for (const other of ['a', 'a.b.c', 'a.bc', 'A.b', 'b.a']) sender.publish(subject(other), numbered(1))
    sender.publish(subject('a.b'), numbered(2))
    const [message] = await reader.messages(1)
    assert.equal(message.subject, subject('a.b'))
  },

  'a wildcard hears every subject below its prefix, and no other': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const reader = await readerOf(receiver, subject('w.>'), deadlineMs)
    for (const at of ['w', 'wx.a', 'v.w.a', 'w.a', 'x', 'w.a.b.c', 'w.b']) sender.publish(subject(at), numbered(0))
    assert.deepEqual(
      (await reader.messages(3)).map((message) => message.subject),
      ['w.a', 'w.a.b.c', 'w.b'].map(subject),
    )
  },

  'every subscription gets its own copy of the news, also two of one peer and the publisher': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const readers = await Promise.all([
      readerOf(receiver, subject('fan'), deadlineMs),
      readerOf(receiver, subject('fan'), deadlineMs),
      readerOf(sender, subject('fan'), deadlineMs),
    ])
    for (const value of range(0, 20)) sender.publish(subject('fan'), numbered(value))
    for (const reader of readers) {
      assert.deepEqual(
        (await reader.messages(20)).map(({ bytes }) => numberIn(bytes)),
        range(0, 20),
      )
    }
  },

  'from is the name that the publisher connected with': async ({ connect, deadlineMs, subject }) => {
    const [ann, bob, receiver] = await Promise.all([connect('ann'), connect('bob'), connect('receiver')])
    const reader = await readerOf(receiver, subject('from'), deadlineMs)
    for (const value of range(0, 30)) (value % 3 === 0 ? bob : ann).publish(subject('from'), numbered(value))
    for (const { from, bytes } of await reader.messages(30)) {
      assert.equal(from, numberIn(bytes) % 3 === 0 ? 'bob' : 'ann', `from of message ${numberIn(bytes)}`)
    }
  },

  'from cannot be forged': async ({ connect, deadlineMs, subject }) => {
    const [mallory, victim, receiver] = await Promise.all([connect('mallory'), connect('victim'), connect('receiver')])
    const reader = await readerOf(receiver, subject('forged.>'), deadlineMs)
    const forgedBytes = Object.assign(new TextEncoder().encode('{"from":"victim"}'), { from: 'victim' })
    const publish = (...parts: unknown[]) => mallory.publish(...(parts as [string, Uint8Array]))
    publish(subject('forged.from.victim'), forgedBytes, { from: 'victim' })
    publish(subject('forged.victim'), forgedBytes, 'victim')
    for (const { from } of await reader.messages(2)) assert.equal(from, 'mallory')
    victim.close()
  },

  'a reader that changes its delivery changes nobody else’s': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const readers = await Promise.all([readerOf(receiver, subject('own'), deadlineMs), readerOf(receiver, subject('own'), deadlineMs)])
    sender.publish(subject('own'), numbered(1))
    const [mine] = await readers[0].messages(1)
    try {
      Object.assign(mine, { from: 'victim', subject: 'elsewhere' })
    } catch {
      // A frozen delivery is as good.
    }
    const [theirs] = await readers[1].messages(1)
    assert.deepEqual([theirs.from, theirs.subject], ['sender', subject('own')])
  },

  'a message to nobody vanishes without an error': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    sender.publish(subject('nobody'), numbered(1))
    await within(deadlineMs, 'flush', sender.flush())
    const reader = await readerOf(receiver, subject('nobody'), deadlineMs)
    sender.publish(subject('nobody'), numbered(2))
    const [message] = await reader.messages(1)
    assert.equal(numberIn(message.bytes), 2)
  },

  'a message beyond the limit is refused by code': async ({ connect, subject }) => {
    const sender = await connect('sender')
    assert.throws(
      () => sender.publish(subject('large'), new Uint8Array(MAX_MESSAGE_BYTES + 1)),
      (error) => {
        assertCode(error, 'bus.too-large', false)
        return true
      },
    )
  },

  'a subject or capacity that makes no sense is refused': async ({ connect, subject }) => {
    const peer = await connect('peer')
    const refused = (attempt: () => unknown) =>
      assert.throws(attempt, (error) => {
        assertCode(error, 'usage')
        return true
      })
    for (const at of ['', '.a', 'a.', 'a..b', 'a b', 'a.*', 'a.>']) refused(() => peer.publish(at, numbered(1)))
    for (const at of ['', 'a..b', 'a.*', 'a>', '>.a']) refused(() => peer.subscribe(at, { capacity: 1 }))
    for (const capacity of [0, -1, 1.5, 65_537, Number.NaN]) refused(() => peer.subscribe(subject('x'), { capacity }))
  },
}

/** Bytes that differ with place and size. */
function pattern(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes)
  for (let at = 0, value = sizeBytes & 0xff; at < sizeBytes; at++) {
    bytes[at] = value
    value = (value * 5 + 11 + (at >> 8)) & 0xff
  }
  return bytes
}

function assertSame(got: Uint8Array, expected: Uint8Array, what: string): void {
  assert.equal(got.byteLength, expected.byteLength, `${what}: length`)
  assert.ok(Buffer.compare(got, expected) === 0, `${what}: bytes differ`)
}
