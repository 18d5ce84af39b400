/** Calls on their way out: one after the other to each actor. */
import type { Clock } from '../clock.js'
import { SwarmError, toSwarmError } from '../errors.js'
import type { CheckedCall } from './actor-host.js'
import { actorPath, describeRef } from './actor-keys.js'
import { MAX_MAILBOX } from './actor-system.js'
import type { Json } from './actor-system.js'

interface Waiting {
  readonly call: CheckedCall
  /** Gives the call up, for whatever it waits. */
  readonly abort: AbortController
  readonly settle: (end: () => void) => void
  readonly resolve: (result: Json) => void
  readonly reject: (error: unknown) => void
}

interface Lane {
  readonly waiting: Waiting[]
}

/** Carries one call; its signal aborts with a SwarmError when the call is given up. */
export type SendCall = (call: CheckedCall, signal: AbortSignal) => Promise<Json>

/**
 * Sends calls so that those to one actor arrive in the order made: the next one goes out when the last one was answered or given up.
 * At most MAX_MAILBOX wait for each actor. Deadlines run from the call, not from its sending.
 */
export class CallQueue {
  readonly #send: SendCall
  readonly #clock: Clock
  /** By actorPath; only those with a call under way. */
  readonly #lanes = new Map<string, Lane>()
  readonly #underWay = new Set<Waiting>()
  /** Told when nothing is under way any more. */
  readonly #onIdle = new Set<() => void>()
  #isClosed = false

  constructor(send: SendCall, clock: Clock) {
    this.#send = send
    this.#clock = clock
  }

  /** @throws what `send` throws, `actor.busy`, `actor.timeout`, `aborted`, `actor.closed` */
  async push(call: CheckedCall): Promise<Json> {
    const { target, method, deadlineMs, signal } = call
    const what = `${describeRef(target)}: ${method}`
    if (this.#isClosed) throw closed(what)
    const path = actorPath(target)
    const lane = this.#lanes.get(path)
    if (lane && lane.waiting.length >= MAX_MAILBOX) {
      const expected = `at most ${MAX_MAILBOX} waiting calls`
      throw new SwarmError('actor.busy', { what: `too many calls wait for ${describeRef(target)}`, expected, retryable: true })
    }
    return new Promise((resolve, reject) => {
      const abort = new AbortController()
      const settle = (end: () => void) => {
        cancelDeadline()
        signal?.removeEventListener('abort', onAbort)
        end()
      }
      const giveUp = (error: SwarmError) => {
        const place = this.#lanes.get(path)?.waiting.indexOf(waiting) ?? -1
        if (place !== -1) this.#lanes.get(path)!.waiting.splice(place, 1)
        abort.abort(error)
        settle(() => reject(error))
      }
      const onAbort = () => giveUp(new SwarmError('aborted', { what: `call aborted (${what})`, cause: signal?.reason }))
      const waiting: Waiting = { call, abort, settle, resolve, reject }
      const cancelDeadline = this.#clock.after(deadlineMs, () =>
        giveUp(new SwarmError('actor.timeout', { what: `no answer from ${what} within ${deadlineMs} ms`, retryable: true })),
      )
      signal?.addEventListener('abort', onAbort, { once: true })
      if (lane) lane.waiting.push(waiting)
      else void this.#run(path, waiting)
    })
  }

  /** Refuses what waits with `actor.closed`; what is under way may still be answered. */
  refuse(): void {
    this.#isClosed = true
    for (const { waiting } of this.#lanes.values()) {
      for (const { call, settle, reject } of waiting.splice(0)) settle(() => reject(closed(`${describeRef(call.target)}: ${call.method}`)))
    }
  }

  /** Waits until nothing is under way, at most `graceMs`, then gives up the rest with `actor.closed`. */
  async close(graceMs: number): Promise<void> {
    this.refuse()
    const giveUp = () => {
      for (const { call, abort } of this.#underWay) abort.abort(closed(`${describeRef(call.target)}: ${call.method}`))
    }
    if (graceMs === 0) giveUp()
    const cancel = this.#clock.after(graceMs, giveUp)
    await this.#idle()
    cancel()
  }

  async #idle(): Promise<void> {
    if (this.#underWay.size > 0) await new Promise<void>((resolve) => this.#onIdle.add(resolve))
  }

  async #run(path: string, first: Waiting): Promise<void> {
    const lane: Lane = { waiting: [] }
    this.#lanes.set(path, lane)
    for (let next: Waiting | undefined = first; next; next = lane.waiting.shift()) await this.#carry(next)
    this.#lanes.delete(path)
  }

  async #carry(waiting: Waiting): Promise<void> {
    const { call, abort, settle, resolve, reject } = waiting
    this.#underWay.add(waiting)
    try {
      const result = await this.#send(call, abort.signal)
      settle(() => resolve(result))
    } catch (error) {
      const reason: unknown = abort.signal.aborted ? abort.signal.reason : error
      settle(() => reject(toSwarmError(reason, 'internal')))
    }
    this.#underWay.delete(waiting)
    if (this.#underWay.size > 0) return
    for (const resolve of this.#onIdle) resolve()
    this.#onIdle.clear()
  }
}

function closed(where: string): SwarmError {
  return new SwarmError('actor.closed', { what: 'the actor system is closed', where })
}
