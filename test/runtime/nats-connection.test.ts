/** What the connection makes of a broker that misbehaves in a way that a real one does too seldom to wait for. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { connectNats } from '../../runtime/tensor-bus/nats-connection.js'
import { within } from '../conformance/within.js'

const INFO = `INFO ${JSON.stringify({ server_id: 'S', version: '2.14.5', proto: 1, max_payload: 1_048_576, headers: true })}\r\n`

const PONG = 'PONG\r\n'
const EXPIRED = "-ERR 'User Authentication Expired'\r\n"

/** A broker that answers a ping as it is told. */
async function brokerOf(t: ExecutionContext, pong: (socket: Socket, connection: number) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    const connection = sockets.add(socket).size
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      for (const _ping of bytes.toString('latin1').matchAll(/PING\r\n/g)) pong(socket, connection)
    })
    socket.write(INFO)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('credentials that run out again at the very moment of the reconnect are still what ended the connection', async (t) => {
  const url = await brokerOf(t, (socket, connection) => {
    if (connection === 1) socket.write(PONG, () => setTimeout(() => socket.end(EXPIRED), 50))
    else socket.end(PONG + EXPIRED)
  })
  const connection = await connectNats({ servers: url, clientName: 'short' })
  t.teardown(() => connection.close())
  const end = await within(20_000, 'the end', connection.closed)
  t.true(isSwarmError(end, 'bus.denied'), String(end))
})

test('credentials that were refused once and then accepted are not what ends a connection later', async (t) => {
  const denials: string[] = []
  const url = await brokerOf(t, (socket, connection) => {
    if (connection === 1) socket.write(PONG, () => setTimeout(() => socket.end(EXPIRED), 50))
    else socket.write(PONG)
  })
  const connection = await connectNats({ servers: url, clientName: 'renewed' })
  t.teardown(() => connection.close())
  const back = new Promise<void>((resolve) => connection.listen({ onReconnect: resolve, onError: ({ code }) => void denials.push(code) }))
  await within(20_000, 'the reconnect', back)
  await within(20_000, 'an answer', connection.flush())
  t.deepEqual(denials, ['bus.denied'])
  t.true(connection.isUp)
  connection.close()
  t.is(await within(20_000, 'the end', connection.closed), undefined)
})
