/** The production half of the actor system: Dapr finds the host of an actor, keeps state and reminders; turns run in mailboxes as ever. */
import type { Clock } from '../clock.js'
import { SwarmError, isSwarmError } from '../errors.js'
import { listen } from '../http-server.js'
import type { HttpServer } from '../http-server.js'
import { ActorHost, DEFAULT_IDLE_MS, checkCall, warnOfActor } from './actor-host.js'
import type { ActorErrorListener, CheckedCall } from './actor-host.js'
import { actorPath, describeRef, encodeSegment, hostOf } from './actor-keys.js'
import { MAX_CALL_BYTES, MAX_CALL_DEADLINE_MS } from './actor-system.js'
import type { ActorDefinition, ActorRef, ActorSystem, CallOptions, Json } from './actor-system.js'
import { CallQueue } from './call-queue.js'
import { parseAnswer } from './dapr-answer.js'
import { NOBODY, daprApp } from './dapr-app.js'
import { connectSidecar } from './dapr-sidecar.js'
import type { DaprSidecar, SidecarAddress } from './dapr-sidecar.js'
import { daprReminders, daprState, parseTick } from './dapr-storage.js'
import { DaprTypes } from './dapr-types.js'

export interface DaprActorsOptions {
  readonly clock: Clock
  /** Where Dapr reaches this process. */
  readonly app: {
    /** Default 127.0.0.1. */
    readonly host?: string
    /** Default 0: any free one, which `sidecar` is told. */
    readonly port?: number
    /** What daprd was given as APP_API_TOKEN, if anything; requests without it are refused. */
    readonly token?: string
  }
  /** Where our sidecar answers; or starts one, now that the application listens: daprd waits for it and then reads its types, once. */
  readonly sidecar: SidecarAddress | ((appPort: number) => Promise<SidecarAddress>)
  /** Types that can only be in this process (`VNode.<pnode>`): called without a way through Dapr, and never deactivated by it. */
  readonly ownTypes?: readonly string[]
  /** Whether the host of a type `<role>.<host>` is known to be lost: calls to it fail at once. Through Dapr they would block for seconds. */
  readonly isLost?: (host: string) => boolean
  /** Range 1 to 2^31 - 1 ms. Default DEFAULT_IDLE_MS. */
  readonly idleMs?: number
  /** Told of what no caller hears. Default: a process warning. */
  readonly onError?: ActorErrorListener
}

/** Dapr takes a second or two to start, join the placement service and spread the word; ten times that on a machine that compiles meanwhile. */
const READY_MS = 30_000
const READY_POLL_MS = 50
/** So long the sidecar is believed that it is not ready: what it says of itself differs between versions. */
const TRUST_MS = 5_000
/** An answer that is on its way through two sidecars when the system closes. */
const ANSWER_GRACE_MS = 1_000
/** Dapr deactivates one actor after the other before it looks for the placement service again: a long turn must not hold that up. */
const DEACTIVATION_GRACE_MS = 500
/** To have the sidecar take an actor for active: a call to ourselves. */
const CLAIM_MS = 2_000

/**
 * Actors over Dapr 1.14 to 1.18. Register all types, then `start`.
 *
 * - A call goes through our sidecar to the host that placement names, in the order made, the next one when the last was answered.
 *   Its turn runs in a mailbox there: one at a time, whatever Dapr does.
 * - `actor.unreachable` (retryable): our sidecar is away, or Dapr cannot reach the host. `actor.not-found` for a type that no live host has.
 * - Dapr deactivates all actors of a host whenever it loses the placement service. Actors of shared types are deactivated then, since
 *   another host may have them next; those of `ownTypes` stay: they can be nowhere else.
 * - Timers are this process's own. Reminders are Dapr's, but fire by our own timer, to the millisecond.
 * - `deactivate` reaches actors that are active in this process.
 * - A sidecar that was killed and started again on the same ports finds everything as it was; calls fail with `actor.unreachable` meanwhile.
 *
 * @throws `usage` if idleMs is out of range
 */
export function daprActors(options: DaprActorsOptions): ActorSystem {
  return new DaprActors(options)
}

class DaprActors implements ActorSystem {
  readonly #options: DaprActorsOptions
  readonly #host: ActorHost
  readonly #calls: CallQueue
  readonly #types: DaprTypes
  readonly #ownTypes: ReadonlySet<string>
  /** By actorPath: what the sidecar holds for active here, as far as it told us. */
  readonly #claims = new Set<string>()
  /** Set by `start`. */
  #announced: readonly string[] | undefined
  #sidecar: DaprSidecar | undefined
  #server: HttpServer | undefined
  #starting: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(options: DaprActorsOptions) {
    this.#options = options
    const { clock, idleMs = DEFAULT_IDLE_MS, onError = warnOfActor, ownTypes = [] } = options
    const sidecar = () => this.#connected()
    this.#ownTypes = new Set(ownTypes)
    this.#host = new ActorHost({
      clock,
      idleMs,
      state: daprState({ sidecar, claim: (ref) => this.#claim(ref), disclaim: (ref) => void this.#claims.delete(actorPath(ref)) }),
      reminders: daprReminders(sidecar),
      onError,
      call: (...parts) => this.call(...parts),
    })
    this.#calls = new CallQueue((call, signal) => this.#send(call, signal), clock)
    this.#types = new DaprTypes({ sidecar, clock, announced: () => this.#announced ?? [] })
  }

  register<Memory>(definition: ActorDefinition<Memory>): void {
    if (this.#announced && !this.#announced.includes(definition.type)) {
      const fix = 'Register all types before start: Dapr reads them once'
      throw new SwarmError('usage', { what: `the actor type ${JSON.stringify(definition.type)} comes too late`, fix })
    }
    this.#host.register(definition)
  }

  unregister(type: string): Promise<void> {
    return this.#host.unregister(type)
  }

  async call(target: ActorRef, method: string, argument?: Json, options: CallOptions = {}): Promise<Json> {
    const what = `${describeRef(target)}: ${method}`
    this.#host.assertOpen(what)
    if (method === '' || target.id === '') throw new SwarmError('actor.not-found', { what: 'an empty name', where: what })
    const isOwn = this.#ownTypes.has(target.type)
    if (isOwn) this.#host.find(target, method)
    const call = checkCall(target, method, argument, options)
    const host = hostOf(target.type)
    if (host !== undefined && this.#options.isLost?.(host)) {
      throw new SwarmError('actor.closed', { what: `${host} is lost`, where: what })
    }
    return isOwn ? this.#host.perform(call) : this.#calls.push(call)
  }

  deactivate(target: ActorRef): Promise<void> {
    return this.#host.deactivate(target)
  }

  async start(): Promise<void> {
    this.#host.assertOpen('start')
    this.#starting ??= this.#start()
    await this.#starting
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #start(): Promise<void> {
    const { app, sidecar, clock } = this.#options
    this.#announced = this.#host.types
    try {
      this.#server = await listen(this.#createApp(), app)
      const address = typeof sidecar === 'function' ? await sidecar(this.#server.port) : sidecar
      this.#sidecar = await connectSidecar(address, clock)
      await this.#untilReady(this.#sidecar)
    } catch (error) {
      await this.#disconnect()
      throw error
    }
  }

  async #close(): Promise<void> {
    this.#calls.refuse()
    const isStarted = this.#starting?.catch(() => {}) // its caller is told
    await this.#host.close()
    await isStarted
    await this.#calls.close(ANSWER_GRACE_MS)
    await this.#disconnect()
  }

  async #disconnect(): Promise<void> {
    this.#sidecar?.close()
    await this.#server?.close()
  }

  #createApp() {
    return daprApp(
      {
        types: () => this.#announced ?? [],
        onConfig: () => this.#claims.clear(),
        onClaim: (target) => void this.#claims.add(actorPath(target)),
        call: (target, method, text, signal) => this.#receive({ target, method, text, signal, deadlineMs: MAX_CALL_DEADLINE_MS }),
        deactivate: (target) => this.#onDeactivate(target),
        remind: (target, name, body) => this.#host.reminders.wake(parseTick(target, name, body)),
        report: (error, target) => this.#host.report(error, target),
      },
      this.#options.app.token,
    )
  }

  async #receive(call: CheckedCall): Promise<Json> {
    const sizeBytes = Buffer.byteLength(call.text)
    if (sizeBytes > MAX_CALL_BYTES) {
      const where = `${describeRef(call.target)}: ${call.method}`
      throw new SwarmError('actor.too-large', {
        what: 'the argument is too large',
        where,
        expected: `at most ${MAX_CALL_BYTES} bytes`,
        got: sizeBytes,
      })
    }
    return this.#host.perform(call)
  }

  async #onDeactivate(target: ActorRef): Promise<void> {
    this.#claims.delete(actorPath(target))
    if (this.#ownTypes.has(target.type)) return
    this.#host.reminders.forgetActor(target)
    await within(this.#options.clock, DEACTIVATION_GRACE_MS, this.#host.deactivate(target))
  }

  async #send({ target, method, text }: CheckedCall, signal: AbortSignal): Promise<Json> {
    const { type, id } = target
    const sidecar = this.#connected()
    await this.#types.confirm(type, signal)
    try {
      const answer = await sidecar.callActor(encodeSegment(type), encodeSegment(id), encodeSegment(method), text, signal)
      return parseAnswer(answer, `${describeRef(target)}: ${method}`)
    } catch (error) {
      if (signal.aborted || isSwarmError(error, 'actor.unreachable', 'actor.not-found')) this.#types.doubt(type)
      throw error
    }
  }

  /** The sidecar refuses state of an actor that it did not activate itself: a call to it that is no turn makes it one. */
  async #claim(ref: ActorRef): Promise<void> {
    const path = actorPath(ref)
    if (this.#claims.has(path)) return
    const abort = new AbortController()
    const late = new SwarmError('store.unavailable', { what: `the sidecar does not take ${describeRef(ref)} for active`, retryable: true })
    const cancel = this.#options.clock.after(CLAIM_MS, () => abort.abort(late))
    try {
      const answer = await this.#connected().callActor(encodeSegment(ref.type), encodeSegment(ref.id), NOBODY, 'null', abort.signal)
      parseAnswer(answer, describeRef(ref))
    } catch (error) {
      throw abort.signal.aborted ? late : error
    } finally {
      cancel()
    }
    if (!this.#claims.has(path))
      throw new SwarmError('actor.closed', { what: `${describeRef(ref)} lives on another host now`, retryable: true })
  }

  #connected(): DaprSidecar {
    if (this.#sidecar) return this.#sidecar
    throw new SwarmError('actor.unreachable', { what: 'the actor system has not started', retryable: true })
  }

  /** Until a call to each of our types comes back to a host that has it: then all of Dapr works, whatever it says of itself. */
  async #untilReady(sidecar: DaprSidecar): Promise<void> {
    const { clock } = this.#options
    const startMs = clock.now()
    let missing = ''
    do {
      this.#host.assertOpen('start')
      missing = await this.#whatIsMissing(sidecar, clock.now() - startMs > TRUST_MS)
      if (missing === '') return
      await clock.sleep(READY_POLL_MS)
    } while (clock.now() - startMs < READY_MS)
    throw new SwarmError('actor.unreachable', { what: `Dapr is not ready after ${READY_MS} ms: ${missing}`, retryable: true })
  }

  /** @param mayDoubt try even if the sidecar says that it is not ready */
  async #whatIsMissing(sidecar: DaprSidecar, mayDoubt: boolean): Promise<string> {
    const types = this.#announced ?? []
    const health = await sidecar.health()
    if (!health) return 'no answer from the sidecar'
    if (types.length === 0) return ''
    const untaken = types.filter((type) => !health.types.includes(encodeSegment(type)))
    const said =
      untaken.length > 0
        ? `the sidecar has not taken the actor types ${untaken.join(', ')}: it reads them when it starts, and takes none without a state store for actors`
        : health.isPlaced
          ? ''
          : 'the sidecar is not in touch with the placement service, or has no state store for actors'
    if (said !== '' && !mayDoubt) return said
    const signal = new AbortController().signal
    const outcomes = await Promise.allSettled(types.map((type) => this.#types.confirm(type, signal)))
    const isUp = outcomes.every(({ status }) => status === 'fulfilled')
    return isUp ? '' : said || 'the placement service does not know our actor types'
  }
}

/** Resolves with `work`, or after `graceMs`: it goes on then. */
function within(clock: Clock, graceMs: number, work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(graceMs, resolve)
    work.then(resolve, reject).finally(cancel)
  })
}
