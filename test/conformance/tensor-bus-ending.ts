/** Cases of the bus: unsubscribing, draining, closing, and readers that fail. */
import assert from 'node:assert/strict'
import { numberIn, numbered, range, readerOf, reading } from './bus-reader.js'
import type { BusCases } from './tensor-bus.js'
import { assertCode, rejectionOf, within, yieldTurn } from './within.js'

export const endingCases: BusCases = {
  'after drain nothing published before it is lost to a live reader': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const reader = await readerOf(receiver, subject('drained'), deadlineMs)
    for (const value of range(0, 500)) sender.publish(subject('drained'), numbered(value, 1_000))
    await within(deadlineMs, 'drain', sender.drain())
    assert.deepEqual(
      (await reader.messages(500)).map(({ bytes }) => numberIn(bytes)),
      range(0, 500),
    )
    assert.equal(await within(deadlineMs, 'closed', sender.closed), undefined)
  },

  'drain lets the peer’s own slow readers come to the end': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const subscription = receiver.subscribe(subject('slow'), { capacity: 100 })
    const witness = await readerOf(receiver, subject('slow'), deadlineMs)
    await within(deadlineMs, 'ready', subscription.ready)
    const seen: number[] = []
    const loop = (async () => {
      for await (const delivery of subscription) {
        await yieldTurn()
        if (delivery.type === 'message') seen.push(numberIn(delivery.bytes))
      }
    })()
    for (const value of range(0, 50)) sender.publish(subject('slow'), numbered(value))
    await witness.messages(50)
    witness.subscription.unsubscribe()
    await witness.rest()
    await within(deadlineMs, 'drain', receiver.drain())
    await within(deadlineMs, 'the end of the loop', loop)
    assert.deepEqual(seen, range(0, 50))
  },

  'a drained bus refuses to publish and to subscribe': async ({ connect, deadlineMs, subject }) => {
    const peer = await connect('peer')
    await within(deadlineMs, 'drain', peer.drain())
    for (const attempt of [() => peer.publish(subject('x'), numbered(1)), () => peer.subscribe(subject('x'), { capacity: 1 })]) {
      assert.throws(attempt, isClosed)
    }
    peer.close()
    await within(deadlineMs, 'drain after the close', peer.drain())
  },

  'publish, subscribe and flush after close are refused by code': async ({ connect, deadlineMs, subject }) => {
    const peer = await connect('peer')
    peer.close()
    peer.close()
    assert.equal(await within(deadlineMs, 'closed', peer.closed), undefined)
    assert.throws(() => peer.publish(subject('x'), numbered(1)), isClosed)
    assert.throws(() => peer.subscribe(subject('x'), { capacity: 1 }), isClosed)
    assertCode(await rejectionOf(deadlineMs, 'flush after close', peer.flush()), 'bus.closed')
  },

  'close drops what is queued for this peer and ends its iterations': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver, other] = await Promise.all([connect('sender'), connect('receiver'), connect('other')])
    const queued = await readerOf(receiver, subject('crash'), deadlineMs)
    const waiting = await readerOf(receiver, subject('silence'), deadlineMs)
    const witness = await readerOf(receiver, subject('crash'), deadlineMs)
    const survivor = await readerOf(other, subject('crash'), deadlineMs)
    const end = waiting.next()
    for (const value of range(0, 10)) sender.publish(subject('crash'), numbered(value))
    await witness.messages(10)
    receiver.close()
    assert.equal(await end, undefined, 'a waiting reader')
    assert.deepEqual(await queued.rest(), [], 'a reader with ten messages queued')
    await survivor.messages(10)
  },

  'a peer that crashed disturbs no publisher and no other reader': async ({ connect, deadlineMs, subject }) => {
    const [sender, crashed, other] = await Promise.all([connect('sender'), connect('crashed'), connect('other')])
    await readerOf(crashed, subject('x'), deadlineMs)
    const reader = await readerOf(other, subject('x'), deadlineMs)
    crashed.close()
    sender.publish(subject('x'), numbered(7))
    const [message] = await reader.messages(1)
    assert.equal(numberIn(message.bytes), 7)
  },

  'after unsubscribe the iteration ends behind what was queued': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const reader = await readerOf(receiver, subject('x'), deadlineMs)
    const witness = await readerOf(receiver, subject('x'), deadlineMs)
    for (const value of range(0, 5)) sender.publish(subject('x'), numbered(value))
    await witness.messages(5)
    reader.subscription.unsubscribe()
    reader.subscription.unsubscribe()
    sender.publish(subject('x'), numbered(5))
    await witness.messages(1)
    const rest = await reader.rest()
    assert.deepEqual(
      rest.map((delivery) => delivery.type === 'message' && numberIn(delivery.bytes)),
      range(0, 5),
    )
  },

  'the abort of a signal ends the iteration without an error': async ({ connect, deadlineMs, subject }) => {
    const receiver = await connect('receiver')
    const abort = new AbortController()
    const at = subject('aborted')
    const subscription = receiver.subscribe(at, { capacity: 4, signal: abort.signal })
    await within(deadlineMs, 'ready', subscription.ready)
    const end = reading(subscription, at, deadlineMs).next()
    abort.abort()
    assert.equal(await end, undefined)
    const late = receiver.subscribe(at, { capacity: 4, signal: abort.signal })
    assert.equal(await reading(late, at, deadlineMs).next(), undefined, 'subscribed with an aborted signal')
  },

  'leaving the loop unsubscribes, and other subscriptions go on': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const left = receiver.subscribe(subject('x'), { capacity: 16 })
    const reader = await readerOf(receiver, subject('x'), deadlineMs)
    await within(deadlineMs, 'ready', left.ready)
    for (const value of range(0, 5)) sender.publish(subject('x'), numbered(value))
    const leave = async () => {
      for await (const delivery of left) if (delivery.type === 'message') return numberIn(delivery.bytes)
      return undefined
    }
    assert.equal(await within(deadlineMs, 'the first message', leave()), 0)
    await reader.messages(5)
    await within(
      deadlineMs,
      'drain',
      (reader.subscription.unsubscribe(), reader.rest()).then(() => receiver.drain()),
    )
  },

  'a reader that throws disturbs no other': async ({ connect, deadlineMs, subject }) => {
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const bad = receiver.subscribe(subject('x'), { capacity: 16 })
    const good = await readerOf(receiver, subject('x'), deadlineMs)
    await within(deadlineMs, 'ready', bad.ready)
    const failing = (async () => {
      for await (const delivery of bad) throw new Error(`thrown on purpose at ${delivery.subject}`)
    })()
    const failed = rejectionOf(deadlineMs, 'the throwing reader', failing)
    for (const value of range(0, 100)) sender.publish(subject('x'), numbered(value))
    assert.match(String(await failed), /thrown on purpose/)
    assert.deepEqual(
      (await good.messages(100)).map(({ bytes }) => numberIn(bytes)),
      range(0, 100),
    )
    sender.publish(subject('x'), numbered(100))
    await good.messages(1)
  },

  'a reader may publish while it reads': async ({ connect, deadlineMs, subject }) => {
    const [ping, pong] = await Promise.all([connect('ping'), connect('pong')])
    const answers = await readerOf(ping, subject('pong'), deadlineMs)
    const questions = pong.subscribe(subject('ping'), { capacity: 16 })
    await within(deadlineMs, 'ready', questions.ready)
    const answering = (async () => {
      for await (const question of questions) if (question.type === 'message') pong.publish(subject('pong'), question.bytes)
    })()
    for (const value of range(0, 20)) {
      ping.publish(subject('ping'), numbered(value))
      const [answer] = await answers.messages(1)
      assert.equal(numberIn(answer.bytes), value)
    }
    pong.close()
    await within(deadlineMs, 'the end of the loop', answering)
  },
}

function isClosed(error: unknown): true {
  assertCode(error, 'bus.closed')
  return true
}
