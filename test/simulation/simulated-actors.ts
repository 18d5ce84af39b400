/** Actors of simulated processes: the mailboxes of the product, and calls that travel over the simulated network. */
import { ActorHost, checkCall, DEFAULT_IDLE_MS } from '../../runtime/actor-system/actor-host.js'
import type { ActorDefinition, ActorRef, ActorSystem, CallOptions, Json } from '../../runtime/actor-system/actor-system.js'
import { objectReminders, objectState } from '../../runtime/actor-system/object-storage.js'
import { errorAnswer, resultAnswer, unwrapAnswer } from '../../runtime/answer.js'
import { SwarmError, toSwarmError } from '../../runtime/errors.js'
import { type MemoryObjects, memoryStore } from '../../runtime/object-store/memory-store.js'
import type { Network } from './network.js'
import type { Process, World } from './world.js'

/** Told of each call that reaches its actor's process. */
export type CallTap = (to: Process, target: ActorRef, method: string, argument: Json) => void

/** Who hosts which actor type. */
export class ActorDirectory {
  readonly world: World
  readonly network: Network
  readonly tap: CallTap
  readonly #systems = new Map<string, SimulatedActors>()

  constructor(world: World, network: Network, tap: CallTap) {
    this.world = world
    this.network = network
    this.tap = tap
  }

  set(type: string, system: SimulatedActors): void {
    this.#systems.set(type, system)
  }

  remove(type: string, system: SimulatedActors): void {
    if (this.#systems.get(type) === system) this.#systems.delete(type)
  }

  find(type: string): SimulatedActors | undefined {
    return this.#systems.get(type)
  }
}

export class SimulatedActors implements ActorSystem {
  readonly process: Process
  readonly #directory: ActorDirectory
  readonly #host: ActorHost

  /** @param disk where state and reminders are kept */
  constructor(process: Process, directory: ActorDirectory, disk: MemoryObjects, onError: (error: SwarmError, ref: ActorRef) => void) {
    this.process = process
    this.#directory = directory
    const store = memoryStore({ objects: disk })
    this.#host = new ActorHost({
      clock: process.clock,
      idleMs: DEFAULT_IDLE_MS,
      state: objectState(store, ''),
      reminders: objectReminders(store, ''),
      onError,
      call: (...parts) => this.call(...parts),
    })
  }

  register<Memory>(definition: ActorDefinition<Memory>): void {
    this.#host.register(definition)
    this.#directory.set(definition.type, this)
  }

  async unregister(type: string): Promise<void> {
    this.#directory.remove(type, this)
    await this.#host.unregister(type)
  }

  async call(target: ActorRef, method: string, argument?: Json, options: CallOptions = {}): Promise<Json> {
    const what = `${target.type}/${target.id}: ${method}`
    this.#host.assertOpen(what)
    const call = checkCall(target, method, argument, options)
    const { world, network, tap } = this.#directory
    return new Promise((resolve, reject) => {
      let isSettled = false
      const settle = (end: () => void) => {
        if (isSettled) return
        isSettled = true
        cancelDeadline()
        call.signal?.removeEventListener('abort', onAbort)
        end()
      }
      const fail = (error: SwarmError) => settle(() => reject(error))
      const onAbort = () => fail(new SwarmError('aborted', { what: `call aborted (${what})`, cause: call.signal?.reason }))
      const late = `no answer from ${what} within ${call.deadlineMs} ms`
      const cancelDeadline = this.process.clock.after(call.deadlineMs, () =>
        fail(new SwarmError('actor.timeout', { what: late, retryable: true })),
      )
      call.signal?.addEventListener('abort', onAbort, { once: true })
      const system = this.#directory.find(target.type)
      const answer = (from: Process, text: string) =>
        network.send(from, this.process, 'answers', () =>
          settle(() => {
            try {
              resolve(unwrapAnswer(text, what))
            } catch (error) {
              reject(toSwarmError(error, 'internal'))
            }
          }),
        )
      if (!system?.process.isAlive) {
        // Its sidecar is gone: the connection is refused, if there is a way at all.
        if (system && network.isCut(this.process.name, system.process.name, 'calls')) return
        const refused = new SwarmError(system ? 'actor.unreachable' : 'actor.not-found', {
          what: `nobody is there: ${what}`,
          retryable: true,
        })
        world.after(1, this.process, () => fail(refused))
        return
      }
      network.send(this.process, system.process, 'calls', () => {
        world.note(3, method.length, system.process.index)
        tap(system.process, target, method, JSON.parse(call.text) as Json)
        system.#receive({ ...call, signal: undefined }).then(
          (text) => answer(system.process, text),
          () => undefined,
        )
      })
    })
  }

  deactivate(target: ActorRef): Promise<void> {
    return this.#host.deactivate(target)
  }

  async start(): Promise<void> {
    this.#host.assertOpen('start')
    await this.#host.reminders.start((type) => this.#host.has(type))
  }

  close(): Promise<void> {
    for (const type of this.#host.types) this.#directory.remove(type, this)
    return this.#host.close()
  }

  async #receive(call: Parameters<ActorHost['perform']>[0]): Promise<string> {
    try {
      this.#host.find(call.target, call.method)
      return resultAnswer(await this.#host.perform(call))
    } catch (error) {
      return errorAnswer(toSwarmError(error, 'actor.failed'))
    }
  }
}
