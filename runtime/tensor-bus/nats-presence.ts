/** Who is connected to the broker, told by the broker itself: a killed host is known to be gone before any heartbeat is missed. */
import { SwarmError } from '../errors.js'
import { connectNats, type NatsAddress, type NatsCredentials } from './nats-connection.js'

/** The broker's reason to end a connection whose rights have run out: a host that has renewed them is back at once. */
export const RIGHTS_EXPIRED = 'Authentication Expired'

/** A connection of a host that came or went. */
export interface Presence {
  /** Whose: the name that the authority put into its JWT. */
  readonly host: string
  /** Which of the host's connections; what the host says of itself. */
  readonly part: 'control' | 'data'
  /** The user key that it proved to have, `U…`. */
  readonly publicKey: string
  /** The broker's number of the connection: a host that comes back has another. */
  readonly connection: number
}

export interface PresenceOptions extends Omit<NatsAddress, 'credentials'> {
  /** Of a system user (nats-authority.ts). */
  readonly systemCredentials: NatsCredentials | (() => NatsCredentials)
  /** The public key of the account to watch, `A…`. */
  readonly account: string
  readonly onConnect: (presence: Presence) => void
  /** `reason` as the broker gives it, such as `Client Closed`, `Read Error`, `Stale Connection` or `RIGHTS_EXPIRED`. */
  readonly onDisconnect: (presence: Presence, reason: string) => void
  /** Our own connection went away: from now on silence means nothing. */
  readonly onBlind?: () => void
  /** Our own connection is back: what happened meanwhile was not told. */
  readonly onSight?: () => void
}

/** A watch over who is there. */
export interface PresenceWatch {
  /** Whether comings and goings are being heard, as far as is known. */
  readonly isSighted: boolean
  /** Events that made no sense. */
  readonly damaged: number
  /** Resolves when the watch is over, with the error that ended it if it was not `close`. */
  readonly closed: Promise<Error | undefined>
  close(): void
}

/** The broker's event, as far as it is read here. */
interface ConnectionEvent {
  readonly reason?: string
  readonly client: { readonly id: number; readonly user: string; readonly name?: string; readonly jwt?: string }
}

/**
 * Watches the hosts of an account; resolves when every later coming and going will be told. The callbacks must not throw.
 * @throws `bus.unreachable` (retryable), `bus.denied`
 */
export async function watchPresence(options: PresenceOptions): Promise<PresenceWatch> {
  const { systemCredentials, account, onConnect, onDisconnect, onBlind, onSight, ...address } = options
  if (!/^A[A-Z2-7]{55}$/.test(account)) {
    throw new SwarmError('usage', { what: 'invalid account', expected: 'a public nkey, A…', got: JSON.stringify(account.slice(0, 4)) })
  }
  const connection = await connectNats({ ...address, credentials: systemCredentials, clientName: 'presence' })
  connection.listen({ onDisconnect: onBlind, onReconnect: onSight })
  let damaged = 0
  const prefix = `$SYS.ACCOUNT.${account}.`
  const listen = (kind: 'CONNECT' | 'DISCONNECT', tell: (presence: Presence, reason: string) => void) => {
    const feed = connection.subscribe(`${prefix}${kind}`)
    const read = async () => {
      for await (const { bytes } of feed) {
        const event = decodeEvent(bytes)
        const presence = event && presenceOf(event)
        if (event && presence) tell(presence, event.reason ?? '')
        else damaged++
      }
    }
    void read().catch(() => {}) // refused: `ready` says so
    return feed.ready
  }
  try {
    await Promise.all([listen('CONNECT', onConnect), listen('DISCONNECT', onDisconnect)])
  } catch (error) {
    connection.close()
    throw error
  }
  return {
    get isSighted() {
      return connection.isUp
    },
    get damaged() {
      return damaged
    },
    closed: connection.closed,
    close: () => connection.close(),
  }
}

/** Whose connection an event is about; undefined if it names nobody. */
export function presenceOf({ client }: ConnectionEvent): Presence | undefined {
  const { id, user, name, jwt } = client
  const host = nameIn(jwt)
  if (!host || typeof user !== 'string' || !Number.isSafeInteger(id)) return undefined
  return { host, part: String(name).endsWith('/control') ? 'control' : 'data', publicKey: user, connection: id }
}

/** The name that a user's JWT carries. Not verified here: the broker has, and nobody else can speak under `$SYS`. */
function nameIn(jwt: unknown): string | undefined {
  try {
    const claims = JSON.parse(Buffer.from(String(jwt).split('.')[1], 'base64url').toString()) as { name?: unknown }
    return typeof claims.name === 'string' ? claims.name : undefined
  } catch {
    return undefined
  }
}

function decodeEvent(bytes: Uint8Array): ConnectionEvent | undefined {
  try {
    const event = JSON.parse(new TextDecoder().decode(bytes)) as ConnectionEvent
    return typeof event?.client === 'object' && event.client ? event : undefined
  } catch {
    return undefined
  }
}
