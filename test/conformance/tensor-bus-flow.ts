/** Cases of the bus: slow readers, loss that is told, and credits over two subjects. */
import assert from 'node:assert/strict'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { numberIn, numbered, range, readerOf } from './bus-reader.js'
import type { Reader } from './bus-reader.js'
import type { BusCaseContext, BusCases } from './tensor-bus.js'
import { within, yieldTurn } from './within.js'

/** The window of the credit protocol, in messages; the receiver's queue is exactly as long. */
const WINDOW = 4

export const flowCases: BusCases = {
  'a slow reader keeps at most its capacity and is told how much it lost, at the place of the gap': async (context) => {
    const { connect, deadlineMs, subject } = context
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const slow = await readerOf(receiver, subject('slow'), deadlineMs, 8)
    await publishAll(context, sender, receiver, subject('slow'), range(0, 100))
    assert.deepEqual(await taken(slow, 9), [...range(0, 8), 'lost 92'])
    await publishAll(context, sender, receiver, subject('slow'), range(100, 8))
    assert.deepEqual(await taken(slow, 8), range(100, 8))
  },

  'each gap is told at its own place': async (context) => {
    const { connect, deadlineMs, subject } = context
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const slow = await readerOf(receiver, subject('gaps'), deadlineMs, 8)
    await publishAll(context, sender, receiver, subject('gaps'), range(0, 20))
    assert.deepEqual(await taken(slow, 3), range(0, 3))
    await publishAll(context, sender, receiver, subject('gaps'), range(20, 10))
    assert.deepEqual(await taken(slow, 10), [...range(3, 5), 'lost 12', ...range(20, 3), 'lost 7'])
    await publishAll(context, sender, receiver, subject('gaps'), [30])
    assert.deepEqual(await taken(slow, 1), [30])
  },

  'a wildcard counts what it lost under all its subjects': async (context) => {
    const { connect, deadlineMs, subject } = context
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const slow = await readerOf(receiver, subject('many.>'), deadlineMs, 4)
    await publishAll(context, sender, receiver, subject('many.a'), range(0, 10))
    await publishAll(context, sender, receiver, subject('many.b'), range(10, 10))
    await taken(slow, 4)
    const loss = await slow.next()
    assert.deepEqual(loss, { type: 'lost', subject: subject('many.>'), count: 16 })
  },

  'a slow reader of large messages holds no more than its capacity of them': async (context) => {
    const { connect, deadlineMs, subject } = context
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const slow = await readerOf(receiver, subject('heavy'), deadlineMs, 2)
    await publishAll(context, sender, receiver, subject('heavy'), range(0, 48), 1_000_000)
    assert.deepEqual(await taken(slow, 3), [0, 1, 'lost 46'])
  },

  'a slow reader delays and costs nobody else': async (context) => {
    const { connect, deadlineMs, subject } = context
    const [sender, receiver, other] = await Promise.all([connect('sender'), connect('receiver'), connect('other')])
    await readerOf(receiver, subject('shared'), deadlineMs, 1)
    const readers = await Promise.all([readerOf(receiver, subject('shared'), deadlineMs), readerOf(other, subject('shared'), deadlineMs)])
    for (const value of range(0, 300)) sender.publish(subject('shared'), numbered(value))
    for (const reader of readers) {
      assert.deepEqual(
        (await reader.messages(300)).map(({ bytes }) => numberIn(bytes)),
        range(0, 300),
      )
    }
  },

  'a sender that honours absolute credits never overruns a slow reader': async (context) => {
    const { connect, deadlineMs, subject } = context
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const frames = await readerOf(receiver, subject('frames'), deadlineMs, WINDOW)
    const sending = sendWithCredits(context, sender, 100)
    await within(deadlineMs, 'the sender listens', sending.ready)
    const grant = (position: number) => receiver.publish(subject('credits'), numbered(position + WINDOW))
    grant(0)
    for (const position of range(1, 100)) {
      for (let pause = 0; pause < 3; pause++) await yieldTurn()
      assert.deepEqual(await taken(frames, 1), [position])
      grant(position)
      grant(position) // an absolute credit may be repeated at will
    }
    await within(deadlineMs, 'the sender is done', sending.done)
  },

  'a lost credit is repaired by the next repetition': async (context) => {
    const { connect, deadlineMs, subject } = context
    const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
    const frames = await readerOf(receiver, subject('frames'), deadlineMs, WINDOW)
    const grant = (position: number) => receiver.publish(subject('credits'), numbered(position + WINDOW))
    grant(0) // nobody listens yet: lost
    await within(deadlineMs, 'flush of the lost credit', receiver.flush())
    const sending = sendWithCredits(context, sender, 20)
    await within(deadlineMs, 'the sender listens', sending.ready)
    grant(0)
    for (const position of range(1, 20)) {
      assert.deepEqual(await taken(frames, 1), [position])
      // Every second credit is swallowed; the next one, being absolute, makes up for it.
      if (position % 2 === 0) grant(position)
    }
    await within(deadlineMs, 'the sender is done', sending.done)
  },
}

/** Sends positions 1 to `last`, never beyond the highest credit that it has heard. */
function sendWithCredits(
  { subject, deadlineMs }: BusCaseContext,
  bus: TensorBus,
  last: number,
): { ready: Promise<void>; done: Promise<void> } {
  const credits = bus.subscribe(subject('credits'), { capacity: 1_024 })
  const send = async () => {
    let position = 0
    let granted = 0
    for await (const credit of credits) {
      assert.equal(credit.type, 'message', 'a credit was lost by overflow')
      if (credit.type === 'message') granted = Math.max(granted, numberIn(credit.bytes))
      while (position < Math.min(granted, last)) bus.publish(subject('frames'), numbered(++position))
      if (position === last) return
    }
  }
  const done = send()
  done.catch(() => {}) // reported where the case awaits it
  return { ready: within(deadlineMs, 'credits ready', credits.ready), done }
}

/** Publishes the values and waits until the receiving peer has had them all: a second subscription of it is the witness. */
async function publishAll(
  { deadlineMs }: BusCaseContext,
  sender: TensorBus,
  receiver: TensorBus,
  subject: string,
  values: number[],
  sizeBytes?: number,
): Promise<void> {
  const witness = await readerOf(receiver, subject, deadlineMs, values.length)
  for (const value of values) sender.publish(subject, numbered(value, sizeBytes))
  await witness.messages(values.length)
  witness.subscription.unsubscribe()
  await witness.rest()
}

/** The next deliveries: numbers, and gaps as `lost <count>`. */
async function taken(reader: Reader, count: number): Promise<(number | string | undefined)[]> {
  const deliveries: (number | string | undefined)[] = []
  for (let index = 0; index < count; index++) {
    const delivery = await reader.next()
    deliveries.push(delivery?.type === 'message' ? numberIn(delivery.bytes) : delivery && `lost ${delivery.count}`)
  }
  return deliveries
}
