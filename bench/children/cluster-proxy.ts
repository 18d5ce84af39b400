/** Stands between hosts and the broker and counts every byte that goes through, by connection. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** Bytes of one connection: from the host to the broker, and back. */
export interface Counted {
  up: number
  down: number
}

export interface CountingProxy {
  /** `nats://host:port`, in the broker's place. */
  readonly url: string
  /** By the name that a client gives, such as `pnode-1/data`. */
  counted(): { readonly [name: string]: Counted }
  close(): void
}

/** A client gives its name in the first kilobyte or two. */
const LONGEST_GREETING = 65_536

/** @param broker `nats://host:port` */
export async function countingProxy(broker: string): Promise<CountingProxy> {
  const { hostname, port } = new URL(broker)
  const counts = new Map<string, Counted>()
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    const own: Counted = { up: 0, down: 0 }
    let said: string | undefined = ''
    for (const socket of [client, upstream]) {
      sockets.add(socket.setNoDelay())
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => {
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (bytes) => {
      own.up += bytes.byteLength
      if (said === undefined) return
      said += bytes.toString('latin1')
      const name = /CONNECT \{.*?"name":"([^"]+)"/.exec(said)?.[1]
      if (name) counts.set(name, own)
      if (name || said.length > LONGEST_GREETING) said = undefined
    })
    upstream.on('data', (bytes) => (own.down += bytes.byteLength))
    client.pipe(upstream)
    upstream.pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`,
    counted: () => Object.fromEntries(counts),
    close: () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
