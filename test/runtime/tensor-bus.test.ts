import test from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import type { Delivery } from '../../runtime/tensor-bus/tensor-bus.js'
import { tensorBusSuite } from '../conformance/tensor-bus.js'
import { brokenBuses, wrapBus } from '../support/broken-buses.js'

for (const check of tensorBusSuite(async () => ({ ...memoryBroker(), close: () => {} }))) {
  test(`memory bus: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

for (const [flaw, { caughtBy, connect }] of Object.entries(brokenBuses)) {
  test(`the suite catches a bus that ${flaw}`, async (t) => {
    const suite = tensorBusSuite(async () => ({ connect: connect(), close: () => {} }), { deadlineMs: 500 })
    const found = suite.find(({ title }) => title === caughtBy)
    t.truthy(found, `no case "${caughtBy}"`)
    await t.throwsAsync(found!.run())
  })
}

test('a good bus passes in the dress of the broken ones', async (t) => {
  const { connect } = memoryBroker()
  for (const check of tensorBusSuite(async () => ({ connect: async (name) => wrapBus(await connect(name)), close: () => {} })))
    await check.run()
  t.pass()
})

test('the memory bus hands over the very same view, on shared memory too', async (t) => {
  const { connect } = memoryBroker()
  const [sender, receiver] = await Promise.all([connect('sender'), connect('receiver')])
  const iterator = receiver.subscribe('x', { capacity: 4 })[Symbol.asyncIterator]()
  const shared = new Uint8Array(new SharedArrayBuffer(64), 8, 16)
  sender.publish('x', shared)
  const { value } = (await iterator.next()) as IteratorResult<Extract<Delivery, { type: 'message' }>>
  t.is(value.bytes, shared)
})

test('the memory bus never runs a reader inside publish', async (t) => {
  const { connect } = memoryBroker()
  const peer = await connect('peer')
  let isPublishing = false
  const reader = (async () => {
    for await (const delivery of peer.subscribe('x', { capacity: 4 })) {
      t.false(isPublishing, 'the reader ran inside publish')
      if (delivery.type === 'message') return delivery.from
    }
    return undefined
  })()
  await Promise.resolve()
  isPublishing = true
  peer.publish('x', new Uint8Array(1))
  isPublishing = false
  t.is(await reader, 'peer')
})

test('an aborted drain closes at once', async (t) => {
  const { connect } = memoryBroker()
  const peer = await connect('peer')
  const stuck = peer.subscribe('x', { capacity: 4 })[Symbol.asyncIterator]()
  peer.publish('x', new Uint8Array(1))
  peer.publish('x', new Uint8Array(2))
  await stuck.next() // and never again
  const abort = new AbortController()
  const drained = peer.drain(abort.signal)
  peer.publish('y', new Uint8Array(1)) // readers may still answer
  abort.abort()
  const error = await t.throwsAsync(drained)
  t.true(isSwarmError(error, 'aborted'))
  t.is(await peer.closed, undefined)
  t.deepEqual(await stuck.next(), { done: true, value: undefined })
})

test('a subscription is iterated once', async (t) => {
  const { connect } = memoryBroker()
  const peer = await connect('peer')
  const subscription = peer.subscribe('x', { capacity: 4 })
  subscription[Symbol.asyncIterator]()
  t.true(
    isSwarmError(
      t.throws(() => subscription[Symbol.asyncIterator]()),
      'usage',
    ),
  )
})

test('a peer name is one token', async (t) => {
  const { connect } = memoryBroker()
  for (const name of ['', 'a.b', 'a b', '>']) t.true(isSwarmError(await t.throwsAsync(connect(name)), 'usage'), name)
})
