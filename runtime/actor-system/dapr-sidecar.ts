/** Our own Dapr sidecar, as a client sees it: actor calls, actor state, reminders, whether it is up. */
import { Agent, request } from 'node:http'
import type { HTTPClient, LoggerService } from '@dapr/dapr'
import type { Clock } from '../clock.js'
import { SwarmError, toSwarmError } from '../errors.js'

/** Where a sidecar answers. */
export interface SidecarAddress {
  /** Default 127.0.0.1. */
  readonly host?: string
  readonly httpPort: number
  /** What daprd was given as DAPR_API_TOKEN, if anything. */
  readonly apiToken?: string
}

/** What a sidecar answered to an actor call. */
export interface SidecarAnswer {
  readonly status: number
  readonly body: string
}

/** A reminder as Dapr keeps it: times in its own notation, data that it hands back. */
export interface SidecarReminder {
  readonly dueTime: string
  readonly period: string
  readonly data: unknown
}

/** Arguments are segments of a URL: encoded by the caller. */
export interface DaprSidecar {
  /** Answers of any status. @throws `actor.unreachable` (retryable) if the sidecar is away; the signal's reason */
  callActor(type: string, id: string, method: string, body: string, signal: AbortSignal): Promise<SidecarAnswer>
  /** The value, undefined if there is none. @throws `store.unavailable` (retryable) */
  getState(type: string, id: string, key: string): Promise<unknown>
  /** All or nothing, in the order given. @throws `store.unavailable` (retryable) */
  changeState(type: string, id: string, operations: readonly StateOperation[]): Promise<void>
  /** @throws `store.unavailable` (retryable) */
  putReminder(type: string, id: string, name: string, reminder: SidecarReminder): Promise<void>
  /** Harmless if there is none. @throws `store.unavailable` (retryable) */
  deleteReminder(type: string, id: string, name: string): Promise<void>
  /** Undefined while it does not answer. */
  health(): Promise<SidecarHealth | undefined>
  /** Ends its connections, and with them what waits. */
  close(): void
}

/** An operation of Dapr's actor state API. */
export type StateOperation =
  | { readonly operation: 'upsert'; readonly request: { readonly key: string; readonly value: unknown } }
  | { readonly operation: 'delete'; readonly request: { readonly key: string } }

export interface SidecarHealth {
  /** It is in touch with the placement service and has a store for actors. */
  readonly isPlaced: boolean
  /** The actor types that it read from this application. */
  readonly types: readonly string[]
}

/** State and reminders: a sidecar that hangs must not hold a turn for longer. It takes five seconds to say that an actor is not active there. */
const STORAGE_DEADLINE_MS = 7_000
/** Metadata comes from memory. */
const HEALTH_DEADLINE_MS = 1_000

/**
 * A client of the sidecar at `address`. It speaks through the SDK's HTTP client, but for the calls of actors: the SDK's client takes no
 * signal, so a call that was given up would hold the actor's lock in the sidecars, and the socket, until somebody answered it.
 */
export async function connectSidecar(address: SidecarAddress, clock: Clock): Promise<DaprSidecar> {
  const { host = '127.0.0.1', httpPort, apiToken } = address
  // Loaded when a cluster is: it takes a third of a second and brings gRPC along, which embedded runs never need.
  const { CommunicationProtocolEnum, HTTPClient, LogLevel } = await import('@dapr/dapr')
  const client = new HTTPClient({
    daprHost: host,
    daprPort: String(httpPort),
    communicationProtocol: CommunicationProtocolEnum.HTTP,
    logger: { level: LogLevel.Error, service: SILENT },
    daprApiToken: apiToken,
  })
  return new HttpSidecar(client, { host, httpPort, apiToken }, clock)
}

class HttpSidecar implements DaprSidecar {
  readonly #client: HTTPClient
  readonly #address: { readonly host: string; readonly httpPort: number; readonly apiToken: string | undefined }
  readonly #clock: Clock
  readonly #agent = new Agent({ keepAlive: true })

  constructor(client: HTTPClient, address: { host: string; httpPort: number; apiToken: string | undefined }, clock: Clock) {
    this.#client = client
    this.#address = address
    this.#clock = clock
  }

  async callActor(type: string, id: string, method: string, body: string, signal: AbortSignal): Promise<SidecarAnswer> {
    const path = `/v1.0/actors/${type}/${id}/method/${method}`
    try {
      return await this.#put(path, body, signal)
    } catch (error) {
      // A kept connection that the sidecar closed meanwhile (its restart) says nothing about the sidecar now. Not another of them.
      if (!(error instanceof StaleConnection) || signal.aborted) throw error
      return this.#put(path, body, signal, { isFresh: true })
    }
  }

  async getState(type: string, id: string, key: string): Promise<unknown> {
    const value = await this.#execute('reading state', 'GET', `/actors/${type}/${id}/state/${key}`)
    return value === '' ? undefined : value
  }

  async changeState(type: string, id: string, operations: readonly StateOperation[]): Promise<void> {
    await this.#execute('writing state', 'POST', `/actors/${type}/${id}/state`, operations)
  }

  async putReminder(type: string, id: string, name: string, reminder: SidecarReminder): Promise<void> {
    await this.#execute('storing a reminder', 'POST', `/actors/${type}/${id}/reminders/${name}`, reminder)
  }

  async deleteReminder(type: string, id: string, name: string): Promise<void> {
    await this.#execute('deleting a reminder', 'DELETE', `/actors/${type}/${id}/reminders/${name}`)
  }

  async health(): Promise<SidecarHealth | undefined> {
    try {
      const answer = (await this.#within(HEALTH_DEADLINE_MS, this.#request('GET', '/metadata'))) as Metadata
      const { hostReady = false, activeActors = [] } = answer.actorRuntime ?? {}
      return { isPlaced: hostReady, types: activeActors.map(({ type }) => type) }
    } catch {
      return undefined // away, or not up yet: the one thing that the caller asks
    }
  }

  close(): void {
    this.#agent.destroy()
  }

  async #execute(what: string, method: string, path: string, body?: unknown): Promise<unknown> {
    try {
      return await this.#within(STORAGE_DEADLINE_MS, this.#request(method, path, body))
    } catch (error) {
      const cause = toSwarmError(error, 'store.unavailable')
      throw new SwarmError('store.unavailable', {
        what: `${what} through the sidecar failed: ${cause.message}`,
        where: path,
        retryable: true,
        cause,
      })
    }
  }

  /** The last argument: the SDK's own wait for the sidecar, up to a minute, is not ours. */
  #request(method: string, path: string, body?: unknown): Promise<unknown> {
    const headers = { 'Content-Type': 'application/json' }
    return this.#client.execute(path, body === undefined ? { method } : ({ method, headers, body } as never), false)
  }

  /** The SDK's request cannot be ended: it is left to itself after `deadlineMs`. */
  #within<T>(deadlineMs: number, work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(deadlineMs, () => reject(new Error(`no answer within ${deadlineMs} ms`)))
      work.then(resolve, reject).finally(cancel)
    })
  }

  #put(path: string, body: string, signal: AbortSignal, { isFresh = false } = {}): Promise<SidecarAnswer> {
    const { host, httpPort: port, apiToken } = this.#address
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...(apiToken === undefined ? {} : { 'dapr-api-token': apiToken }),
    }
    return new Promise((resolve, reject) => {
      const outgoing = request({ host, port, path, method: 'PUT', agent: !isFresh && this.#agent, signal, headers }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }))
        response.on('error', (error) => reject(this.#unreachable(error)))
      })
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        const isStale = outgoing.reusedSocket && error.code === 'ECONNRESET'
        reject(isStale ? new StaleConnection(error.message) : this.#unreachable(error))
      })
      outgoing.end(body)
    })
  }

  #unreachable(cause: Error): SwarmError {
    const where = `${this.#address.host}:${this.#address.httpPort}`
    return new SwarmError('actor.unreachable', {
      what: `the Dapr sidecar does not answer: ${cause.message}`,
      where,
      retryable: true,
      cause,
    })
  }
}

class StaleConnection extends Error {}

interface Metadata {
  readonly actorRuntime?: { readonly hostReady?: boolean; readonly activeActors?: readonly { readonly type: string }[] }
}

/** The SDK logs what it throws as well, to the console. */
const SILENT: LoggerService = { error() {}, warn() {}, info() {}, verbose() {}, debug() {} }
