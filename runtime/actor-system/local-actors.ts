/** The embedded half of the actor system: mailboxes in this process, state in an object store. */
import type { Clock } from '../clock.js'
import type { ObjectStore } from '../object-store/object-store.js'
import { ActorHost, DEFAULT_IDLE_MS, checkCall, warnOfActor } from './actor-host.js'
import type { ActorErrorListener } from './actor-host.js'
import { describeRef } from './actor-keys.js'
import type { ActorDefinition, ActorRef, ActorSystem, CallOptions, Json } from './actor-system.js'
import { objectReminders, objectState } from './object-storage.js'

export interface LocalActorsOptions {
  /** Not closed by the system. One live system per (store, prefix): a second one would not know of the first one's actors. */
  readonly store: ObjectStore
  readonly clock: Clock
  /** Before the keys `actors/…` and `reminders/…`. Default none; end it in `/`. */
  readonly prefix?: string
  /** An actor that was not called for so long is deactivated. Range 1 to 2^31 - 1 ms. Default DEFAULT_IDLE_MS. */
  readonly idleMs?: number
  /** Told of what no caller hears: a throwing timer, reminder or `deactivate`, and a failed turn whose caller had given up. Default: a process warning. */
  readonly onError?: ActorErrorListener
}

/**
 * An actor system in this process.
 *
 * - A call that times out or is aborted before its turn began is withdrawn and never runs; a turn that has begun goes on.
 * - A call to an actor whose turn is under way waits for that turn. A cycle of calls therefore waits for itself, until the
 *   deadline of one of its calls breaks it with `actor.timeout`.
 * - `close` refuses what waits with `actor.closed`, aborts the contexts' signals and waits for the turns under way, for as long as they take.
 *
 * @throws `usage` if idleMs is out of range
 */
export function localActors(options: LocalActorsOptions): ActorSystem {
  return new LocalActors(options)
}

class LocalActors implements ActorSystem {
  readonly #host: ActorHost

  constructor({ store, clock, prefix = '', idleMs = DEFAULT_IDLE_MS, onError = warnOfActor }: LocalActorsOptions) {
    this.#host = new ActorHost({
      clock,
      idleMs,
      state: objectState(store, prefix),
      reminders: objectReminders(store, prefix),
      onError,
      call: (...parts) => this.call(...parts),
    })
  }

  register<Memory>(definition: ActorDefinition<Memory>): void {
    this.#host.register(definition)
  }

  unregister(type: string): Promise<void> {
    return this.#host.unregister(type)
  }

  async call(target: ActorRef, method: string, argument?: Json, options: CallOptions = {}): Promise<Json> {
    this.#host.assertOpen(`${describeRef(target)}: ${method}`)
    this.#host.find(target, method)
    return this.#host.perform(checkCall(target, method, argument, options))
  }

  deactivate(target: ActorRef): Promise<void> {
    return this.#host.deactivate(target)
  }

  async start(): Promise<void> {
    this.#host.assertOpen('start')
    await this.#host.reminders.start((type) => this.#host.has(type))
  }

  close(): Promise<void> {
    return this.#host.close()
  }
}
