import { once } from 'node:events'
import { type AddressInfo, connect as dial, createServer, type Socket } from 'node:net'
import { connect as rawConnect, headers } from '@nats-io/transport-node'
import test, { type ExecutionContext } from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { loopbackBus } from '../../runtime/tensor-bus/loopback-bus.js'
import { natsBus, natsConnect, type NatsBusOptions } from '../../runtime/tensor-bus/nats-bus.js'
import { encodePlace, HEADER_BYTES, HEADER_NAME } from '../../runtime/tensor-bus/nats-header.js'
import type { BusConnect, TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { numbered, numberIn, range, readerOf, type Reader } from '../conformance/bus-reader.js'
import { tensorBusSuite } from '../conformance/tensor-bus.js'
import { within, yieldTurn } from '../conformance/within.js'
import { forFile, natsFor } from '../support/servers.js'

const DEADLINE_MS = 20_000
const servers = forFile()
let url: string
let port: number

test.before(async () => {
  // A small limit, so that the larger messages of the suite travel in parts.
  ;({ url, port } = await natsFor(servers, { maxPayloadBytes: 1024 * 1024 }))
})
test.after.always(() => servers.end())

/** Peers of the one server, closed after the case; each case has its own subjects. */
function ownPeers(connect: () => BusConnect) {
  return async () => {
    const peers: TensorBus[] = []
    return {
      async connect(name: string) {
        const peer = await connect()(name)
        peers.push(peer)
        return peer
      },
      close: () => peers.forEach((peer) => peer.close()),
    }
  }
}

for (const check of tensorBusSuite(ownPeers(() => natsConnect({ servers: url })))) {
  test(`NATS bus: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

const beside: BusConnect = async (name) => loopbackBus(await natsBus({ servers: url, name }), () => false)
for (const check of tensorBusSuite(
  ownPeers(() => beside),
  { subject: 'beside' },
)) {
  test(`NATS bus beside a short cut: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

test('a server that is killed and comes back costs exactly what was published meanwhile, and says so', async (t) => {
  const server = await natsFor(t)
  const [sender, receiver] = await Promise.all(['sender', 'receiver'].map((name) => peer(t, { servers: server.url, name })))
  const reader = await readerOf(receiver, 'x', DEADLINE_MS)
  for (const value of range(0, 5)) sender.publish('x', numbered(value))
  await reader.messages(5)
  await server.kill()
  for (const value of range(5, 10)) sender.publish('x', numbered(value))
  await server.restart()
  await within(DEADLINE_MS, 'both are back', Promise.all([sender.flush(), receiver.flush()]))
  sender.publish('x', numbered(15))
  t.deepEqual(await untilMessage(reader), { lost: 10, value: 15 })
  sender.publish('x', numbered(16))
  t.deepEqual(await untilMessage(reader), { lost: 0, value: 16 })
  t.is(receiver.counts.reconnects, 1)
})

test('what a publisher lost while it was cut off is told without a further message', async (t) => {
  const line = await cuttable(t)
  const sender = await peer(t, { servers: line.url, name: 'sender' })
  const receiver = await peer(t, { servers: url, name: 'receiver' })
  const [known, strange] = await Promise.all(['cut.known', 'cut.strange'].map((at) => readerOf(receiver, at, DEADLINE_MS)))
  sender.publish('cut.known', numbered(0))
  await known.messages(1)
  line.cut()
  await until(() => !sender.isUp, 'the sender sees the cut')
  for (const value of range(1, 7)) sender.publish('cut.known', numbered(value))
  for (const value of range(0, 4)) sender.publish('cut.strange', numbered(value))
  t.is(sender.counts.dropped, 11)
  line.mend()
  t.deepEqual(await known.next(), { type: 'lost', subject: 'cut.known', count: 7 })
  t.deepEqual(await strange.next(), { type: 'lost', subject: 'cut.strange', count: 4 })
  t.is(receiver.counts.reconnects, 0)
})

test('a receiver that was cut off is told at once, and exactly by the next message', async (t) => {
  const line = await cuttable(t)
  const sender = await peer(t, { servers: url, name: 'sender' })
  const receiver = await peer(t, { servers: line.url, name: 'receiver' })
  const reader = await readerOf(receiver, 'cut.receiver', DEADLINE_MS)
  sender.publish('cut.receiver', numbered(0))
  await reader.messages(1)
  line.cut()
  await until(() => !receiver.isUp, 'the receiver sees the cut')
  for (const value of range(1, 7)) sender.publish('cut.receiver', numbered(value))
  await sender.flush()
  line.mend()
  t.deepEqual(await reader.next(), { type: 'lost', subject: 'cut.receiver', count: 1 })
  await receiver.flush()
  sender.publish('cut.receiver', numbered(8))
  t.deepEqual(await untilMessage(reader), { lost: 6, value: 8 })
})

test('a restarted publisher under the same name begins anew without being taken for a repetition', async (t) => {
  const receiver = await peer(t, { servers: url, name: 'receiver' })
  const reader = await readerOf(receiver, 'lives', DEADLINE_MS)
  for (const life of range(0, 3)) {
    const sender = await peer(t, { servers: url, name: 'sender' })
    for (const value of range(0, 4)) sender.publish('lives', numbered(life * 4 + value))
    await sender.drain()
  }
  t.deepEqual(
    (await reader.messages(12)).map(({ bytes }) => numberIn(bytes)),
    range(0, 12),
  )
})

test('garbage and repetitions are dropped and counted', async (t) => {
  const receiver = await peer(t, { servers: url, name: 'receiver' })
  const reader = await readerOf(receiver, 'garbage', DEADLINE_MS)
  const raw = await rawConnect({ servers: url })
  t.teardown(() => raw.close())
  const send = (value: number, sequence: number) => {
    const header = headers()
    header.set(HEADER_NAME, encodePlace({ kind: 'message', stream: '0123456789abcdef', sequence, offset: 0, size: 4 }))
    raw.publish('garbage.from.raw', numbered(value), { headers: header })
  }
  const wrong = headers()
  wrong.set(HEADER_NAME, 'nonsense')
  raw.publish('garbage.from.raw', numbered(1))
  raw.publish('garbage.from.raw', numbered(1), { headers: wrong })
  send(1, 1)
  send(1, 1)
  send(2, 2)
  send(1, 1)
  send(3, 3)
  t.deepEqual(
    (await reader.messages(3)).map(({ bytes }) => numberIn(bytes)),
    [1, 2, 3],
  )
  t.like(receiver.counts, { damaged: 2, duplicates: 2 })
})

test('large messages arrive in shared memory, for compute threads to read', async (t) => {
  const [sender, receiver] = await Promise.all(['sender', 'receiver'].map((name) => peer(t, { servers: url, name })))
  const reader = await readerOf(receiver, 'shared', DEADLINE_MS)
  for (const sizeBytes of [100, 500_000, 3_000_000]) sender.publish('shared', numbered(1, sizeBytes))
  const shared = (await reader.messages(3)).map(({ bytes }) => bytes.buffer instanceof SharedArrayBuffer)
  t.deepEqual(shared, [false, true, true])
})

test('a message costs less than 200 bytes over the wire besides its payload', async (t) => {
  const sender = await peer(t, { servers: url, name: 'sender' })
  const raw = await rawConnect({ servers: url })
  t.teardown(() => raw.close())
  const subject = 'sg.20261121-mnist-0000.to.host-000001.layer-000001.frame'
  const heard = raw.subscribe(`${subject}.from.*`, { max: 1 })
  await raw.flush()
  sender.publish(subject, new Uint8Array(512 * 1024))
  for await (const message of heard) {
    const line = `HMSG ${message.subject} 1 00 000000\r\n\r\n`
    t.true(line.length + HEADER_BYTES < 200, line)
    t.is(message.headers?.get(HEADER_NAME).length, HEADER_BYTES - `NATS/1.0\r\n${HEADER_NAME}: \r\n\r\n`.length)
  }
})

test('nobody at the address is told by code, and may be there later', async (t) => {
  const error = await t.throwsAsync(natsBus({ servers: '127.0.0.1:9', name: 'peer', connectTimeoutMs: 2_000 }))
  t.true(isSwarmError(error, 'bus.unreachable') && error.retryable, error?.message)
  for (const name of ['', 'a.b', 'a b', '>', '*']) {
    t.true(isSwarmError(await t.throwsAsync(natsBus({ servers: url, name })), 'usage'), name)
  }
})

test('while the server is away flush waits for it, an abort ends the wait, and drain does not wait', async (t) => {
  const server = await natsFor(t)
  const sender = await peer(t, { servers: server.url, name: 'sender' })
  await server.kill()
  await until(() => !sender.isUp, 'the sender sees that the server is gone')
  const abort = new AbortController()
  const flushed = sender.flush(abort.signal)
  abort.abort()
  t.true(isSwarmError(await t.throwsAsync(flushed), 'aborted'))
  for (const value of range(0, 100)) sender.publish('away', numbered(value, 1_000_000))
  t.is(sender.counts.dropped, 100)
  await within(DEADLINE_MS, 'drain', sender.drain())
  t.is(await sender.closed, undefined)
})

/** A peer that is closed with the test. */
async function peer(t: ExecutionContext, options: NatsBusOptions) {
  const bus = await natsBus(options)
  t.teardown(() => bus.close())
  return bus
}

/** The next message's number, and how many were told lost before it. */
async function untilMessage(reader: Reader): Promise<{ lost: number; value: number }> {
  let lost = 0
  for (;;) {
    const delivery = await reader.next()
    if (!delivery) throw new Error('expected a message, got the end')
    if (delivery.type === 'message') return { lost, value: numberIn(delivery.bytes) }
    lost += delivery.count
  }
}

async function until(isSo: () => boolean, what: string): Promise<void> {
  let isOver = false
  const wait = async () => {
    while (!isSo() && !isOver) await yieldTurn()
  }
  try {
    await within(DEADLINE_MS, what, wait())
  } finally {
    isOver = true
  }
}

/** A line to the server that can be cut and mended. */
async function cuttable(t: ExecutionContext) {
  const sockets = new Set<Socket>()
  let isCut = false
  const server = createServer((near) => {
    if (isCut) {
      near.destroy()
      return
    }
    const far = dial(port, '127.0.0.1')
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
    near.pipe(far)
    far.pipe(near)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const cut = () => {
    isCut = true
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(() => {
    cut()
    server.close()
  })
  return {
    url: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    mend() {
      isCut = false
    },
  }
}
