/** One actor between activation and deactivation: its context, timers and memory. */
import type { Clock } from '../clock.js'
import { SwarmError } from '../errors.js'
import { describeRef } from './actor-keys.js'
import type { ReminderBook } from './actor-reminders.js'
import type { ActorContext, ActorDefinition, ActorRef, ActorState, ActorSystem, Json } from './actor-system.js'
import { checkHandler, checkSchedule } from './actor-turn.js'
import type { Schedule, TurnOutcome } from './actor-turn.js'
import { toCallText } from './json-copy.js'

/** What an activation needs from the system around it. */
export interface ActivationParts {
  readonly ref: ActorRef
  readonly definition: ActorDefinition
  readonly clock: Clock
  readonly state: ActorState
  readonly reminders: ReminderBook
  readonly call: ActorSystem['call']
  /** Queues a tick; `isWanted` is asked when it comes up. */
  tick(method: string, argument: string, isWanted: () => boolean, done: (outcome: TurnOutcome) => void): void
}

interface Timer {
  cancel(): void
}

/** Everything that ends with a deactivation. A context that is used afterwards is refused with `actor.closed`. */
export class Activation {
  readonly definition: ActorDefinition
  readonly context: ActorContext
  memory: unknown
  /** The actor asked to be deactivated after its turn. */
  isLeaving = false
  readonly #parts: ActivationParts
  readonly #abort = new AbortController()
  readonly #timers = new Map<string, Timer>()
  #isSealed = false

  constructor(parts: ActivationParts) {
    this.#parts = parts
    this.definition = parts.definition
    this.context = this.#createContext()
  }

  /** Aborts the context's signal and stops the timers; state can still be written, by `deactivate`. */
  leave(): void {
    this.#abort.abort(new SwarmError('actor.closed', { what: `${describeRef(this.#parts.ref)} is deactivated` }))
    for (const timer of this.#timers.values()) timer.cancel()
    this.#timers.clear()
  }

  /** Refuses the context from now on: a promise that an old turn forgot must not write into the next activation. */
  seal(): void {
    this.leave()
    this.#isSealed = true
  }

  #createContext(): ActorContext {
    const { ref, clock, state, reminders, call, definition } = this.#parts
    const open = <T>(use: () => T): T => {
      if (this.#isSealed)
        throw new SwarmError('actor.closed', { what: `the context of ${describeRef(ref)} was used after its deactivation` })
      return use()
    }
    return {
      ref,
      clock,
      signal: this.#abort.signal,
      state: {
        get: async <T extends Json>(key: string) => open(() => state.get<T>(key)),
        set: async (key, value) => open(() => state.set(key, value)),
        delete: async (key) => open(() => state.delete(key)),
      },
      call: async (target, method, argument, options) => open(() => call(target, method, argument, options)),
      setTimer: (name, method, when, argument) => open(() => this.#setTimer(name, method, when, argument)),
      clearTimer: (name) => this.#clearTimer(name),
      setReminder: async (name, method, when, argument) =>
        open(() => {
          checkHandler(definition, method, ref)
          return reminders.set(ref, name, method, when, argument)
        }),
      clearReminder: async (name) => open(() => reminders.clear(ref, name)),
      deactivate: () => {
        this.isLeaving = true
      },
    }
  }

  #setTimer(name: string, method: string, when: Schedule, argument?: Json): void {
    const { ref, definition, clock } = this.#parts
    const where = `timer ${JSON.stringify(name)} of ${describeRef(ref)}`
    checkHandler(definition, method, ref)
    checkSchedule(when, where)
    const text = toCallText(argument, `the argument of ${where}`, 'usage')
    this.#clearTimer(name)
    if (this.#abort.signal.aborted) return // set during the deactivation: lost with it
    let isQueued = false
    const arm = (delayMs: number) => {
      timer.cancel = clock.after(delayMs, () => {
        if (when.everyMs !== undefined) arm(when.everyMs)
        if (isQueued) return // the last tick still waits or runs: this one is the same news
        isQueued = true
        this.#parts.tick(method, text, isWanted, () => {
          isQueued = false
        })
      })
    }
    const timer: Timer = { cancel: () => {} }
    const isWanted = () => {
      const isCurrent = this.#timers.get(name) === timer
      if (isCurrent && when.everyMs === undefined) this.#timers.delete(name)
      return isCurrent
    }
    this.#timers.set(name, timer)
    arm(when.afterMs)
  }

  #clearTimer(name: string): void {
    this.#timers.get(name)?.cancel()
    this.#timers.delete(name)
  }
}
