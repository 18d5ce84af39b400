/** The other end of control-api.ts, for trainers and for machines that join. */
import type { Clock } from '../../runtime/clock.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { errorOfAnswer } from '../../runtime/object-store/store-protocol.js'
import {
  JOIN,
  JOIN_VERSION,
  type DrainAnswer,
  type EndAnswer,
  type JoinAnswer,
  type JoinRequest,
  minorOf,
  type ServersAnswer,
  type TrustAnswer,
} from './control-api.js'
import type { TrustEntry } from './trust-book.js'
import type { Membership } from '../calls.js'
import type { RunEvent } from '../events.js'
import type { Sender } from '../../runtime/signed-message.js'
import { CONTROL } from './channels.js'

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

/** What a control host says of itself, and how far its clock is from ours. */
export interface Health {
  readonly version: string
  readonly nowMs: number
  /** Its clock less ours; exact to half of the round trip. */
  readonly differenceMs: number
  readonly roundTripMs: number
}

/** @throws `cluster.version` */
export function checkVersion(health: Pick<Health, 'version'>, version: string): void {
  if (minorOf(health.version) === minorOf(version)) return
  const fix = `Install swarmgrad ${minorOf(health.version)}.x here, or upgrade the cluster`
  const what = 'the cluster has another version of swarmgrad'
  throw new SwarmError('cluster.version', { what, expected: version, got: health.version, fix })
}

/** @throws `cluster.clock` */
export function checkClock({ differenceMs }: Pick<Health, 'differenceMs'>): void {
  if (Math.abs(differenceMs) <= MAX_CLOCK_DIFFERENCE_MS) return
  const got = `${Math.round(Math.abs(differenceMs) / 1000)} s ${differenceMs < 0 ? 'ahead' : 'behind'}`
  const expected = `at most ${MAX_CLOCK_DIFFERENCE_MS / 1000} s`
  const fix = 'Set the clock of this machine by a time service'
  throw new SwarmError('cluster.clock', { what: 'the clock of this machine differs from that of the cluster', expected, got, fix })
}

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

  /** Who is there. @throws `cluster.unreachable` */
  async health(): Promise<Health> {
    const { clock } = this.#options
    const before = clock.now()
    const response = await this.#fetch('GET', '/health', undefined, AbortSignal.timeout(REQUEST_MS))
    const text = await this.#textOf(response)
    // Whatever else may listen there, it is of no use to us.
    const health = (response.ok ? parse(text) : undefined) as Partial<Health> | undefined
    const after = clock.now()
    const { version, nowMs } = health ?? {}
    if (typeof version !== 'string' || typeof nowMs !== 'number') throw this.#stranger(response.status)
    return { version, nowMs, differenceMs: nowMs - (before + after) / 2, roundTripMs: after - before }
  }

  /** Who is there, and whether we speak the same language. @throws `cluster.unreachable`, `cluster.version`, `cluster.clock` */
  async greet(version: string): Promise<Health> {
    const health = await this.health()
    checkVersion(health, version)
    checkClock(health)
    return health
  }

  /** Who this token makes us, and what else there is to be reached. @throws `cluster.token` */
  async servers(): Promise<ServersAnswer> {
    return (await this.#ask('GET', '/v1/servers')) as ServersAnswer
  }

  /** @param sender signs with the identity in the request @throws `cluster.token`, `cluster.version`, `host.name-taken`, `usage`, `message.…` */
  async join(request: Omit<JoinRequest, 'v'>, sender: Sender): Promise<JoinAnswer> {
    await this.greet(request.version)
    const body = { v: JOIN_VERSION, ...request }
    return (await this.#ask('POST', '/v1/hosts', sender.sign({ to: CONTROL, purpose: JOIN, body }))) as JoinAnswer
  }

  /** Gives this host's name back. */
  async release(name: string): Promise<void> {
    await this.#ask('DELETE', `/v1/hosts/${name}`)
  }

  async pnodes(): Promise<readonly Membership[]> {
    return ((await this.#ask('GET', '/v1/pnodes')) as { readonly pnodes: readonly Membership[] }).pnodes
  }

  /** A host gets no VNodes any more, and hands over those that it has; harmless when repeated. @returns what it still has @throws `host.unknown`, `host.lost` */
  async drain(pnode: string): Promise<readonly string[]> {
    return ((await this.#ask('POST', `/v1/pnodes/${encodeURIComponent(pnode)}/drain`)) as DrainAnswer).left
  }

  /** Takes `drain` back. @throws `host.unknown` */
  async undrain(pnode: string): Promise<void> {
    await this.#ask('POST', `/v1/pnodes/${encodeURIComponent(pnode)}/undrain`)
  }

  /** Ends a host's quarantine. @returns whether it was in one @throws `host.unknown` */
  async endQuarantine(pnode: string): Promise<boolean> {
    return ((await this.#ask('POST', `/v1/pnodes/${encodeURIComponent(pnode)}/endQuarantine`)) as EndAnswer).wasQuarantined
  }

  /** For whom control vouches, and for whom it has. @throws `cluster.token` */
  async trust(): Promise<readonly TrustEntry[]> {
    return ((await this.#ask('GET', '/v1/trust')) as TrustAnswer).trust
  }

  /** Control vouches for a host from now on, for so long, in ms. @throws `cluster.token`, `host.unknown`, `usage` */
  async grantTrust(host: string, forMs: number): Promise<TrustEntry> {
    return (await this.#ask('POST', `/v1/trust/${encodeURIComponent(host)}/grant`, { forMs })) as TrustEntry
  }

  /** It does not any more: here from now on, everywhere within a second. @throws `cluster.token`, `host.unknown` */
  async revokeTrust(host: string): Promise<TrustEntry> {
    return (await this.#ask('POST', `/v1/trust/${encodeURIComponent(host)}/revoke`)) as TrustEntry
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
    const text = await this.#textOf(response)
    if (!response.ok) throw errorOfAnswer(response.status, text, `${this.url}${path}`)
    const answer = parse(text)
    if (typeof answer !== 'object' || answer === null) throw this.#stranger(response.status)
    return answer
  }

  async #textOf(response: Response): Promise<string> {
    try {
      return await response.text()
    } catch (error) {
      throw this.#unreachable(error)
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

  /** Somebody else answers; what stands in front of a control host that is being restarted says so by a status of 500 and more. */
  #stranger(status: number): SwarmError {
    return new SwarmError('cluster.unreachable', {
      what: 'what answers here is no control host',
      where: this.url,
      got: `status ${status}`,
      retryable: status >= 500,
      fix: 'Check the address: it is the one that `swarmgrad up` or `swarmgrad control` shows',
    })
  }

  #unreachable(cause: unknown): SwarmError {
    if (isSwarmError(cause)) return cause
    const { code, message } = (cause as { cause?: { code?: string; message?: string } }).cause ?? {}
    const fix = `Check the address, and that the control host runs there: swarmgrad doctor --cluster ${this.url}`
    return new SwarmError('cluster.unreachable', {
      what: 'no control host answers',
      where: this.url,
      got: code ?? message ?? String(cause),
      retryable: true,
      fix,
      cause,
    })
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
