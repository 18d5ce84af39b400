/** One connection to a NATS server: the only file that knows nats.js, but for its socket in `nats-transport.ts`. */
import {
  AuthorizationError,
  headers,
  InvalidArgumentError,
  jwtAuthenticator,
  type Msg,
  type NatsConnection as Client,
  NatsConnectionImpl,
  PermissionViolationError,
  setTransportFactory,
  type Status,
  type Subscription,
  UserAuthenticationExpiredError,
} from '@nats-io/transport-node'
import { nodeResolveHost } from '@nats-io/transport-node/lib/node_transport.js'
import { SwarmError } from '../errors.js'
import { HEADER_NAME } from './nats-header.js'
import { WholeMessageTransport } from './nats-transport.js'

/** A user's JWT and the nkey seed (`SU…`) that it is bound to; the seed signs the server's challenge and is never sent. */
export interface NatsCredentials {
  readonly jwt: string
  readonly seed: string
}

/** Where a broker is, and as whom to come. */
export interface NatsAddress {
  /** `host:port` or `nats://host:port`, one or several of one cluster. */
  readonly servers: string | readonly string[]
  /** Default: none. A function is asked at every reconnect, so that a renewed JWT is used. */
  readonly credentials?: NatsCredentials | (() => NatsCredentials)
  /** How long the first attempt may take, per server. Default 5,000 ms: a broker across the world answers in one. */
  readonly connectTimeoutMs?: number
}

export interface NatsConnectionOptions extends NatsAddress {
  /** What the server knows the connection by; shown in its events. */
  readonly clientName: string
}

/** What a connection tells. None of these may throw. */
export interface ConnectionEvents {
  readonly onDisconnect?: () => void
  readonly onReconnect?: () => void
  /** The broker refused a subject, or reported another error. */
  readonly onError?: (error: SwarmError) => void
}

/** A message as it came; `bytes` is a view to be copied. */
export interface NatsMessage {
  readonly wire: string
  /** The value of our header, if there is one. */
  readonly place: string | undefined
  readonly bytes: Uint8Array
}

/** A subscription at the broker. */
export interface NatsFeed extends AsyncIterable<NatsMessage> {
  /** Resolves when the broker knows of the subscription. @throws `bus.denied`, `bus.closed` */
  readonly ready: Promise<void>
  /** Ends the iteration after what has arrived. */
  stop(): void
  /** Ends the iteration after what is under way from the broker. */
  drain(): Promise<void>
}

/** The server counts as gone after two pings without an answer: by default nats.js would notice after four minutes. */
const PING_INTERVAL_MS = 5_000
/** Short, since a run waits; with as much jitter, since everybody comes back at once. */
const RECONNECT_WAIT_MS = 250
const CONNECT_TIMEOUT_MS = 5_000

/** @throws `bus.unreachable` (retryable), `bus.denied`, `usage` (address) */
export async function connectNats(options: NatsConnectionOptions): Promise<NatsConnection> {
  const { servers, credentials, clientName, connectTimeoutMs = CONNECT_TIMEOUT_MS } = options
  const current = typeof credentials === 'function' ? credentials : () => credentials!
  try {
    setTransportFactory({ factory: () => new WholeMessageTransport(), dnsResolveFn: nodeResolveHost })
    const client = await NatsConnectionImpl.connect({
      servers: typeof servers === 'string' ? servers : [...servers],
      name: clientName,
      timeout: connectTimeoutMs,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_WAIT_MS,
      reconnectJitter: RECONNECT_WAIT_MS,
      pingInterval: PING_INTERVAL_MS,
      // A server cannot send its clients elsewhere than where their owner wanted them to go.
      ignoreClusterUpdates: true,
      // Nothing of ours asks for answers; if anything ever does, its inbox is nobody else's.
      inboxPrefix: `_INBOX_${clientName.replaceAll(/[^A-Za-z0-9_-]/g, '_')}`,
      noAsyncTraces: true,
      ...(credentials && {
        authenticator: jwtAuthenticator(
          () => current().jwt,
          () => new TextEncoder().encode(current().seed),
        ),
      }),
    })
    return new NatsConnection(client, options)
  } catch (error) {
    throw toBusError(error, `cannot connect as ${clientName}`, servers)
  }
}

/** A connection that comes back by itself for as long as it is not closed or denied. */
export class NatsConnection {
  /** Resolves when the connection is over, with the error if it was not `close` that ended it. */
  readonly closed: Promise<SwarmError | undefined>
  readonly #client: Client
  readonly #options: NatsConnectionOptions
  #events: ConnectionEvents = {}
  #isUp = true
  #isClosed = false
  #maxPayloadBytes: number
  /** The credentials were refused, and no server has answered since. */
  #denial: SwarmError | undefined
  #waiters: (() => void)[] = []
  #end: () => void = () => {}
  readonly #ended: Promise<void>

  constructor(client: Client, options: NatsConnectionOptions) {
    this.#client = client
    this.#options = options
    this.#maxPayloadBytes = client.info!.max_payload
    this.#ended = new Promise((resolve) => {
      this.#end = resolve
    })
    this.closed = client.closed().then((error) => {
      const isOurs = this.#isClosed
      this.#isUp = false
      this.#isClosed = true
      this.#wake()
      if (isOurs || !error) return undefined
      // It gives up on nothing but credentials, but may say "connection refused" of a server that answers.
      return this.#denial ?? toBusError(error, `the connection of ${options.clientName} ended`, options.servers)
    })
    void this.#follow(client.status())
  }

  /** Who hears of disconnects, reconnects and errors. Set at once: nothing happens before the next turn of the event loop. */
  listen(events: ConnectionEvents): void {
    this.#events = events
  }

  /** Whether the broker is there, as far as is known. */
  get isUp(): boolean {
    return this.#isUp && this.#client.info !== undefined
  }

  get maxPayloadBytes(): number {
    return this.#maxPayloadBytes
  }

  /** Hands one message over, under our header; false if the connection is gone. */
  send(wire: string, place: string, bytes: Uint8Array): boolean {
    if (!this.isUp) return false
    const header = headers()
    header.set(HEADER_NAME, place)
    try {
      this.#client.publish(wire, bytes, { headers: header })
      return true
    } catch {
      return false // closed or shrunk under our hands: as if it had been sent and lost
    }
  }

  /** Resolves when the server has taken all that was sent; rejects if the connection went away first. */
  acknowledged(): Promise<void> {
    return this.#client.flush()
  }

  /** Resolves when the server has taken all that was sent, at the first opportunity. @throws `bus.closed` */
  async flush(): Promise<void> {
    for (;;) {
      while (!this.#isUp && !this.#isClosed) await new Promise<void>((resolve) => this.#waiters.push(resolve))
      if (this.#isClosed) throw new SwarmError('bus.closed', { what: 'the connection is closed', where: this.#options.clientName })
      const acknowledged = this.#client.flush().then(
        () => true,
        () => false, // away again: what was lost is numbered
      )
      // The client leaves the question unanswered when it is closed.
      if (await Promise.race([acknowledged, this.#ended.then(() => false)])) return
    }
  }

  subscribe(wire: string): NatsFeed {
    const subscription = this.#client.subscribe(wire)
    const ready = this.#confirm(subscription, wire)
    ready.catch(() => {}) // nobody has to look
    return {
      ready,
      stop: () => subscription.unsubscribe(),
      drain: () => subscription.drain().catch(() => {}), // closed already
      [Symbol.asyncIterator]: () => this.#read(subscription, wire),
    }
  }

  /** Ends the connection at once. Harmless when repeated. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#isUp = false
    this.#wake()
    void this.#client.close().catch(() => {})
  }

  async #confirm(subscription: Subscription, wire: string): Promise<void> {
    await this.flush()
    // A refusal comes before the answer to the flush, and ends the subscription.
    const cause = subscription.isClosed() ? await subscription.closed : undefined
    if (cause) throw toBusError(cause, `cannot subscribe to ${wire}`, this.#options.servers)
  }

  async *#read(subscription: Subscription, wire: string): AsyncGenerator<NatsMessage, void, undefined> {
    try {
      for await (const message of subscription) yield { wire: message.subject, place: placeOf(message), bytes: message.data }
    } catch (cause) {
      throw toBusError(cause, `cannot subscribe to ${wire}`, this.#options.servers)
    }
  }

  async #follow(status: AsyncIterable<Status>): Promise<void> {
    for await (const event of status) {
      if (event.type === 'disconnect') {
        this.#isUp = false
        this.#events.onDisconnect?.()
      } else if (event.type === 'reconnect') {
        this.#isUp = true
        this.#forgive()
        this.#maxPayloadBytes = this.#client.info?.max_payload ?? this.#maxPayloadBytes
        this.#events.onReconnect?.()
        this.#wake()
      } else if (event.type === 'error') {
        const error = toBusError(event.error, `the broker refuses ${this.#options.clientName}`, this.#options.servers)
        if (error.code === 'bus.denied' && !(event.error instanceof PermissionViolationError)) this.#denial = error
        this.#events.onError?.(error)
      }
    }
  }

  /** Forgets a denial when the server answers: it may refuse the same credentials once more just after it let them in. */
  #forgive(): void {
    const denial = this.#denial
    if (!denial) return
    const forget = () => {
      if (this.#denial === denial) this.#denial = undefined
    }
    this.#client.flush().then(forget, () => {})
  }

  #wake(): void {
    if (this.#isClosed) this.#end()
    for (const resolve of this.#waiters.splice(0)) resolve()
  }
}

function placeOf(message: Msg): string | undefined {
  try {
    return message.headers?.get(HEADER_NAME)
  } catch {
    return undefined // headers that are none
  }
}

/** Which of our codes an error of the client is: an address that is none, what the broker refuses, and everything else, which may pass. */
function toBusError(cause: unknown, what: string, servers: NatsAddress['servers']): SwarmError {
  const isDenied =
    cause instanceof AuthorizationError ||
    cause instanceof UserAuthenticationExpiredError ||
    cause instanceof PermissionViolationError ||
    // A seed that is none: the client does not export the class of that error.
    (cause instanceof Error && cause.message.startsWith('nkeys:'))
  const isNoAddress = cause instanceof InvalidArgumentError || (cause as NodeJS.ErrnoException | undefined)?.code === 'ERR_INVALID_URL'
  const detail = cause instanceof Error && cause.message ? cause.message : 'no answer'
  return new SwarmError(isNoAddress ? 'usage' : isDenied ? 'bus.denied' : 'bus.unreachable', {
    what: `${what}: ${detail}`,
    where: [servers].flat().join(', '),
    retryable: !isDenied && !isNoAddress,
    cause,
  })
}
