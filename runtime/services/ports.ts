/** Ports for servers that are to keep theirs over a restart. */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { SwarmError } from '../errors.js'

/**
 * Below the ports that Linux (32768 and up), macOS and Windows (49152 and up) give to outgoing connections: while a server is down for
 * a restart, none of these can take its port, not even a client's own attempt to reach it.
 */
const PORTS = { from: 20_000, to: 32_768 } as const

/** Attempts before the machine is taken to be full; also how many drawn ports are remembered. */
const MOST_DRAWS = 1_000

const drawn: number[] = []

/** A port of `host` that nobody listens on, and that was not drawn before by this process. @throws `port.taken` if all are */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let draw = 0; draw < MOST_DRAWS; draw++) {
    const port = randomInt(PORTS.from, PORTS.to)
    if (drawn.includes(port)) continue
    drawn.push(port)
    if (drawn.length > MOST_DRAWS) drawn.shift()
    if (await isFree(port, host)) return port
  }
  throw new SwarmError('port.taken', { what: 'no free port', where: host, retryable: true })
}

/** Whether a server could listen on `port` of `host` now. */
export async function isFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  const server = createServer()
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  const closed = once(server, 'close')
  server.close()
  await closed
  return true
}
