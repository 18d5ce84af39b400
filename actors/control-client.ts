/** The other end of control-api.ts, for trainers and for machines that join. */
import type { Clock } from '../runtime/clock.js'
import { SwarmError, isSwarmError } from '../runtime/errors.js'
import { errorOfAnswer } from '../runtime/object-store/store-protocol.js'
import { API_VERSION, type JoinAnswer, type JoinRequest, minorOf } from './control-api.js'
import type { Membership } from './calls.js'
import type { RunEvent } from './events.js'

export interface ControlClientOptions {
  /** `http://control:7070` */
  readonly url: string
  readonly token: string | undefined
  readonly clock: Clock
}

/** More than this between two clocks, in ms, and signed URLs and rights run out early or too late. */
const MAX_CLOCK_DIFFERENCE_MS = 60_000
/** What a start may take: it lists and sweeps the store. */
const REQUEST_MS = 90_000

export class ControlClient {
  readonly url: string
  readonly #options: ControlClientOptions

  /** @throws `usage` */
  constructor(options: ControlClientOptions) {
    this.#options = options
    if (!URL.canParse(options.url) || !/^https?:$/.test(new URL(options.url).protocol)) {
      throw new SwarmError('usage', { what: 'not an address of a control host', expected: 'such as http://control:7070', got: options.url })
    }
    this.url = options.url.replace(/\/+$/, '')
  }

  /** Who is there, and whether we speak the same language. @throws `cluster.unreachable`, `cluster.version`, `cluster.clock` */
  async greet(version: string): Promise<{ readonly version: string; readonly nowMs: number; readonly differenceMs: number }> {
    const { clock } = this.#options
    const before = clock.now()
    const health = (await this.#ask('GET', '/health')) as { readonly version: string; readonly nowMs: number }
    const differenceMs = health.nowMs - (before + clock.now()) / 2
    if (minorOf(health.version) !== minorOf(version)) {
      const fix = `Install swarmgrad ${minorOf(health.version)}.x here, or upgrade the cluster`
      throw new SwarmError('cluster.version', {
        what: 'the cluster has another version of swarmgrad',
        expected: version,
        got: health.version,
        fix,
      })
    }
    if (Math.abs(differenceMs) > MAX_CLOCK_DIFFERENCE_MS) {
      const fix = 'Set the clock of this machine by a time service'
      const got = `${Math.round(differenceMs / 1000)} s`
      throw new SwarmError('cluster.clock', {
        what: 'the clock of this machine differs from that of the cluster',
        expected: 'at most 60 s',
        got,
        fix,
      })
    }
    return { ...health, differenceMs }
  }

  /** @throws `cluster.token`, `cluster.version`, `host.name-taken`, `usage` */
  async join(request: Omit<JoinRequest, 'v'>): Promise<JoinAnswer> {
    await this.greet(request.version)
    return (await this.#ask('POST', '/v1/hosts', { v: API_VERSION, ...request })) as JoinAnswer
  }

  /** Gives this host's name back. */
  async release(name: string): Promise<void> {
    await this.#ask('DELETE', `/v1/hosts/${name}`)
  }

  async pnodes(): Promise<readonly Membership[]> {
    return ((await this.#ask('GET', '/v1/pnodes')) as { readonly pnodes: readonly Membership[] }).pnodes
  }

  async stats(): Promise<object> {
    return this.#ask('GET', '/stats')
  }

  async start(run: string): Promise<void> {
    await this.#ask('POST', `/v1/runs/${run}/start`)
  }

  async pause(run: string): Promise<void> {
    await this.#ask('POST', `/v1/runs/${run}/pause`)
  }

  /** The run's events from a snapshot on, while it is under way and the connection holds. @throws `run.not-found`: it is not under way */
  async *events(run: string, signal?: AbortSignal): AsyncGenerator<RunEvent, void> {
    const response = await this.#fetch('GET', `/v1/runs/${run}/events`, undefined, signal)
    if (!response.ok) throw errorOfAnswer(response.status, await response.text(), `${this.url}/v1/runs/${run}/events`)
    let rest = ''
    try {
      for await (const chunk of response.body!.pipeThrough(new TextDecoderStream() as never)) {
        const lines = (rest + String(chunk)).split('\n')
        rest = lines.pop()!
        for (const line of lines) yield JSON.parse(line) as RunEvent
      }
    } catch (error) {
      if (!signal?.aborted) throw this.#unreachable(error)
    }
  }

  async #ask(method: string, path: string, body?: object): Promise<object> {
    const response = await this.#fetch(method, path, body, AbortSignal.timeout(REQUEST_MS))
    const text = await response.text().catch((error: unknown) => {
      throw this.#unreachable(error)
    })
    if (!response.ok) throw errorOfAnswer(response.status, text, `${this.url}${path}`)
    try {
      return JSON.parse(text) as object
    } catch (cause) {
      throw new SwarmError('cluster.unreachable', { what: 'no control host answers here', where: this.url, got: text.slice(0, 80), cause })
    }
  }

  async #fetch(method: string, path: string, body?: object, signal?: AbortSignal): Promise<Response> {
    const { token } = this.#options
    const headers = {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body && { 'content-type': 'application/json' }),
    }
    try {
      return await fetch(`${this.url}${path}`, { method, headers, body: body && JSON.stringify(body), signal })
    } catch (error) {
      throw this.#unreachable(error)
    }
  }

  #unreachable(cause: unknown): SwarmError {
    if (isSwarmError(cause)) return cause
    const reason = (cause as { cause?: { code?: string } }).cause?.code ?? String(cause)
    const fix = 'Check the address, and that the control host runs there: swarmgrad doctor'
    return new SwarmError('cluster.unreachable', {
      what: 'no control host answers',
      where: this.url,
      got: reason,
      retryable: true,
      fix,
      cause,
    })
  }
}
