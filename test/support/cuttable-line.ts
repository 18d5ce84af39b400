/** A TCP connection to a server by way of this process, which can hold everything for a while, as a network that is cut, or break it. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Teardown } from './servers.js'

export interface CuttableLine {
  /** On 127.0.0.1. */
  readonly port: number
  /** Nothing passes any more, in either direction; nobody is told. */
  cut(): void
  /** What was held passes, and what comes after it. */
  mend(): void
  /** Resets all connections that there are. */
  abort(): void
}

/** @param url of the server: its host and port count. */
export async function cuttableLine(t: Teardown, url: string): Promise<CuttableLine> {
  const { hostname: host, port } = new URL(url)
  const open = new Set<Socket>()
  /** Who came while the line was cut. */
  const waiting: Socket[] = []
  let isCut = false
  const pass = (from: Socket, to: Socket) => {
    from.on('data', (bytes) => {
      if (!to.write(bytes)) from.pause()
    })
    to.on('drain', () => void (isCut || from.resume()))
    from.on('end', () => to.end())
    // Who is held reads nothing, and so does not learn of an end either.
    from.on('close', () => to.destroy())
  }
  const add = (socket: Socket) => {
    open.add(socket.setNoDelay(true))
    socket.on('error', () => undefined)
    socket.on('close', () => open.delete(socket))
  }
  const begin = (client: Socket) => {
    const server = connect({ host, port: Number(port), allowHalfOpen: true })
    add(server)
    pass(client, server)
    pass(server, client)
    if (isCut) server.pause()
    else client.resume()
  }
  const listener = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    add(client)
    if (isCut) waiting.push(client)
    else begin(client)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const abort = () => {
    for (const socket of open) socket.resetAndDestroy()
  }
  t.teardown(() => {
    abort()
    listener.close()
  })
  return {
    port: (listener.address() as AddressInfo).port,
    cut() {
      isCut = true
      for (const socket of open) socket.pause()
    },
    mend() {
      isCut = false
      for (const socket of open) if (!waiting.includes(socket)) socket.resume()
      for (const client of waiting.splice(0)) if (!client.destroyed) begin(client)
    },
    abort,
  }
}
