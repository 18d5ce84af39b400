/** The address of this machine at which another one can reach it. */
import { connect } from 'node:net'
import { once } from 'node:events'
import { SwarmError } from '../../runtime/errors.js'

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1|\[::1\])$/
const CONNECT_MS = 5_000

/** The one from which a control host is reached; loopback, if it is on this machine. @throws `cluster.unreachable` */
export async function ownAddress(url: string): Promise<string> {
  const { hostname, port, protocol } = new URL(url)
  if (LOOPBACK.test(hostname)) return '127.0.0.1'
  const host = hostname.replaceAll(/[[\]]/g, '')
  const socket = connect({ host, port: Number(port) || (protocol === 'https:' ? 443 : 80), signal: AbortSignal.timeout(CONNECT_MS) })
  try {
    await once(socket, 'connect')
    return socket.localAddress!
  } catch (cause) {
    throw new SwarmError('cluster.unreachable', { what: 'no control host answers', where: url, retryable: true, cause })
  } finally {
    socket.destroy()
  }
}
