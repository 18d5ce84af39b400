/** The mailbox of one actor: runs its turns one after the other. */
import { SwarmError } from '../errors.js'
import { Activation } from './actor-activation.js'
import type { ActivationParts } from './actor-activation.js'
import { describeRef } from './actor-keys.js'
import { MAX_MAILBOX } from './actor-system.js'
import type { ActorDefinition, ActorState } from './actor-system.js'
import { toActorError } from './actor-turn.js'
import type { Turn, TurnOutcome } from './actor-turn.js'
import { fromText, toCallText } from './json-copy.js'

interface Deactivation {
  readonly kind: 'deactivate'
  done(): void
}

/** What a mailbox needs from the system around it. */
export interface MailboxParts extends Omit<ActivationParts, 'definition' | 'state' | 'tick'> {
  readonly idleMs: number
  /** A view of the actor's state with an empty cache, for one activation. */
  openState(): ActorState
  report(error: SwarmError): void
  /** Called when nothing waits and the actor is inactive: the mailbox may be forgotten. */
  onEmpty(): void
}

/**
 * One actor, active or not. Turns run strictly one after the other, never inside the caller's own stack; the first of an activation
 * activates. At most MAX_MAILBOX calls wait; beside them at most one tick per timer and reminder.
 */
export class ActorMailbox {
  readonly #parts: MailboxParts
  readonly #queue: (Turn | Deactivation)[] = []
  #waitingCalls = 0
  #isRunning = false
  #activation: Activation | undefined
  /** Set while the idle timer runs: the actor is active and was not used since. */
  #cancelIdle: (() => void) | undefined

  constructor(parts: MailboxParts) {
    this.#parts = parts
  }

  /** Queues a turn. @throws `actor.busy` if it is a call and too many wait */
  push(turn: Turn): void {
    if (turn.kind === 'call') {
      if (this.#waitingCalls >= MAX_MAILBOX) {
        throw new SwarmError('actor.busy', {
          what: `the mailbox of ${describeRef(this.#parts.ref)} is full`,
          expected: `at most ${MAX_MAILBOX} waiting calls`,
          retryable: true,
        })
      }
      this.#waitingCalls++
    }
    // Timers are no use, or an actor with one would never be idle.
    if (turn.kind !== 'timer') this.#stopIdle()
    this.#enqueue(turn)
  }

  /** Takes a turn out again if it has not begun; `done` is not called then. */
  withdraw(turn: Turn): void {
    const place = this.#queue.indexOf(turn)
    if (place === -1) return
    this.#queue.splice(place, 1)
    if (turn.kind === 'call') this.#waitingCalls--
  }

  /** Deactivates after what is already queued. */
  deactivate(): Promise<void> {
    return new Promise((resolve) => this.#enqueue({ kind: 'deactivate', done: resolve }))
  }

  /** Refuses what waits with `actor.closed`, lets the turn under way end, deactivates. */
  close(): Promise<void> {
    this.#activation?.leave()
    const waiting = this.#queue.splice(0)
    this.#waitingCalls = 0
    for (const turn of waiting) {
      if (turn.kind === 'deactivate') this.#queue.push(turn)
      else turn.done({ type: 'failed', error: new SwarmError('actor.closed', `the actor system closed before ${turn.method} ran`) })
    }
    return this.deactivate()
  }

  #enqueue(turn: Turn | Deactivation): void {
    this.#queue.push(turn)
    if (this.#isRunning) return
    this.#isRunning = true
    void this.#run()
  }

  async #run(): Promise<void> {
    await Promise.resolve()
    for (let turn = this.#queue.shift(); turn; turn = this.#queue.shift()) {
      if (turn.kind === 'deactivate') {
        await this.#deactivate()
        turn.done()
        continue
      }
      if (turn.kind === 'call') this.#waitingCalls--
      turn.done(turn.isWanted() ? await this.#perform(turn) : { type: 'skipped' })
      if (this.#activation?.isLeaving) await this.#deactivate()
    }
    this.#isRunning = false
    if (this.#activation) this.#cancelIdle ??= this.#parts.clock.after(this.#parts.idleMs, () => void this.deactivate())
    else this.#parts.onEmpty()
  }

  async #perform(turn: Turn): Promise<TurnOutcome> {
    const { ref } = this.#parts
    let step = 'activate'
    try {
      const activation = this.#activation ?? (await this.#activate(turn.definition))
      step = turn.method
      const handler = turn.definition.handlers[turn.method]
      const result = await handler(activation.context, activation.memory, fromText(turn.argument))
      return { type: 'done', result: toCallText(result, `the result of ${describeRef(ref)}: ${turn.method}`, 'actor.failed') }
    } catch (error) {
      return { type: 'failed', error: toActorError(error, ref, step) }
    }
  }

  async #activate(definition: ActorDefinition): Promise<Activation> {
    const activation = new Activation({
      ...this.#parts,
      definition,
      state: this.#parts.openState(),
      tick: (method, argument, isWanted, done) => {
        const onDone = (outcome: TurnOutcome) => {
          if (outcome.type === 'failed' && outcome.error.code !== 'actor.closed') this.#parts.report(outcome.error)
          done(outcome)
        }
        this.push({ kind: 'timer', definition, method, argument, isWanted, done: onDone })
      },
    })
    this.#activation = activation
    try {
      activation.memory = await definition.activate(activation.context)
      return activation
    } catch (error) {
      this.#activation = undefined
      activation.seal()
      throw error
    }
  }

  async #deactivate(): Promise<void> {
    this.#stopIdle()
    const activation = this.#activation
    if (!activation) return
    activation.leave()
    try {
      await activation.definition.deactivate?.(activation.context, activation.memory)
    } catch (error) {
      this.#parts.report(toActorError(error, this.#parts.ref, 'deactivate'))
    }
    activation.seal()
    this.#activation = undefined
  }

  #stopIdle(): void {
    this.#cancelIdle?.()
    this.#cancelIdle = undefined
  }
}
