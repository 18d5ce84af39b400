/**
 * Control messages that are signed, over any actor system: what is called is signed by its caller, and an actor hears nothing but what is. Embedded
 * and on a cluster alike; tensors do not pass here.
 *
 * A call that is repeated is signed anew. One that arrives twice, because something between doubled it, is refused the second time
 * (`message.replayed`, retryable): whoever hears that, and not the first answer, says it again under another number.
 */
import { randomUUID } from 'node:crypto'
import { describeRef } from '../runtime/actor-system/actor-keys.js'
import type { ActorContext, ActorDefinition, ActorRef, ActorSystem, CallOptions, Json } from '../runtime/actor-system/actor-system.js'
import { type ErrorCode, isSwarmError, SwarmError } from '../runtime/errors.js'
import type { ReplayGuard } from '../runtime/replay-guard.js'
import { type MessageSigner, readMessage, type Sender, type SignedMessage } from '../runtime/signed-message.js'
import { assertMay, type HeardContext } from './who-may.js'

export interface SignedActorsOptions {
  /** Us. */
  readonly sender: Sender
  /** What signs calls to control's own actors, if that is not what signs all others. */
  readonly amongControl?: MessageSigner
  /** Whose words a message is. @throws `message.signature` */
  readonly assertSigned: (signed: SignedMessage) => Promise<void> | void
  /** Lets each message in once. */
  readonly guard: ReplayGuard
  /** Counts what was refused. */
  readonly onRefused: (code: ErrorCode) => void
}

/** Actors of control: they trust each other by a secret. */
const CONTROL_ROLES: ReadonlySet<string> = new Set(['Placement', 'Quarantine', 'Relocation', 'Run'])
/** `VNode` of `VNode.<pnode>`. */
const roleOf = (type: string): string => type.split('.', 1)[0]

/** `system`, in which calls are signed by `sender`, and actors hear signed calls only. */
export function signedActors(system: ActorSystem, options: SignedActorsOptions): ActorSystem {
  return new SignedActors(system, options)
}

/** A timer's own tick, which nobody signs: it never leaves this process. */
interface Tick {
  readonly tick: string
  readonly argument: Json
}

/** An actor is activated by the first word that counts: a stranger’s makes no owner of a run. */
interface Activated<Memory> {
  memory?: { readonly of: Memory }
}

class SignedActors implements ActorSystem {
  readonly #system: ActorSystem
  readonly #options: SignedActorsOptions
  /** What the handlers are given instead of the system's own context. */
  readonly #contexts = new WeakMap<ActorContext, ActorContext>()
  /** Tells ticks from calls: nobody else knows it. */
  readonly #tick = randomUUID()

  constructor(system: ActorSystem, options: SignedActorsOptions) {
    this.#system = system
    this.#options = options
  }

  register<Memory>(definition: ActorDefinition<Memory>): void {
    const contextOf = (context: ActorContext) => this.#context(context)
    const { type, handlers } = definition
    this.#system.register<Activated<Memory>>({
      type,
      activate: () => ({}),
      deactivate: (context, { memory }) => memory && definition.deactivate?.(contextOf(context), memory.of),
      handlers: Object.fromEntries(
        Object.keys(handlers).map((method) => [
          method,
          async (context: ActorContext, activated: Activated<Memory>, argument: unknown) => {
            const own = contextOf(context)
            if (this.#isTick(argument)) return activated.memory && handlers[method](own, activated.memory.of, argument.argument)
            try {
              const { message } = await this.#hear({ type, id: context.ref.id }, method, argument)
              const heard: HeardContext = { ...own, speaker: message }
              activated.memory ??= { of: await this.#activate(definition, own) }
              return await handlers[method](heard, activated.memory.of, message.body)
            } catch (error) {
              if (isSwarmError(error) && error.code.startsWith('message.')) this.#options.onRefused(error.code)
              throw error
            }
          },
        ]),
      ),
    })
  }

  unregister(type: string): Promise<void> {
    return this.#system.unregister(type)
  }

  call(target: ActorRef, method: string, argument?: Json, options?: CallOptions): Promise<Json> {
    return this.#system.call(target, method, this.#sign(target, method, argument), options)
  }

  deactivate(target: ActorRef): Promise<void> {
    return this.#system.deactivate(target)
  }

  start(): Promise<void> {
    return this.#system.start()
  }

  close(): Promise<void> {
    return this.#system.close()
  }

  #sign({ type, id }: ActorRef, purpose: string, body: Json = null): Json {
    const { sender, amongControl } = this.#options
    const signer = CONTROL_ROLES.has(type) ? amongControl : undefined
    return sender.sign({ to: `${type}/${id}`, purpose, body }, signer) as unknown as Json
  }

  /** One that does not succeed leaves nothing behind. */
  async #activate<Memory>(definition: ActorDefinition<Memory>, context: ActorContext): Promise<Memory> {
    try {
      return await definition.activate(context)
    } catch (error) {
      context.deactivate()
      throw error
    }
  }

  /** @throws `message.…` */
  async #hear({ type, id }: ActorRef, method: string, argument: unknown): Promise<SignedMessage> {
    const { assertSigned, guard } = this.#options
    const to = `${type}/${id}`
    const signed = readMessage(argument)
    const { message } = signed
    if (message.to !== to || message.purpose !== method) {
      const got = `${message.purpose} for ${message.to}`
      throw new SwarmError('message.denied', { what: 'a message for somebody else', expected: `${method} for ${to}`, got })
    }
    await assertSigned(signed)
    guard.admit(message)
    assertMay(roleOf(type), message)
    return signed
  }

  #isTick(argument: unknown): argument is Tick {
    return (argument as Partial<Tick> | null)?.tick === this.#tick
  }

  #context(context: ActorContext): ActorContext {
    let signing = this.#contexts.get(context)
    if (!signing) {
      signing = {
        ...context,
        call: (target, method, argument, options) => context.call(target, method, this.#sign(target, method, argument), options),
        setTimer: (name, method, when, argument = null) => context.setTimer(name, method, when, { tick: this.#tick, argument }),
        setReminder: async (name) => {
          const what = `reminders of ${describeRef(context.ref)} have nobody who signs them`
          throw new SwarmError('internal', { what, where: name })
        },
      }
      this.#contexts.set(context, signing)
    }
    return signing
  }
}
