/** Calls to PNodes whose sidecar cannot be reached from outside: over their connection to the broker, to their own sidecar. */
import { answer } from '../ask.js'
import type { AnswerOptions, Answering, AskHandler, Asker } from '../ask.js'
import type { Clock } from '../clock.js'
import { SwarmError } from '../errors.js'
import type { TensorBus } from '../tensor-bus/tensor-bus.js'
import { checkCall } from './actor-host.js'
import { describeRef, hostOf } from './actor-keys.js'
import type { ActorContext, ActorDefinition, ActorRef, ActorSystem, CallOptions, Json } from './actor-system.js'
import { CallQueue } from './call-queue.js'
import { fromText } from './json-copy.js'

export interface RelayOptions {
  /** Asks as the control host. */
  readonly asker: Pick<Asker, 'ask'>
  readonly clock: Clock
  /** The PNode that a call to `target` has to be relayed through; undefined: Dapr reaches it. */
  readonly isRelayed: (target: ActorRef) => string | undefined
}

/** A relayed call. */
interface Relayed {
  readonly target: ActorRef
  readonly method: string
  readonly argument: Json
  readonly deadlineMs: number
}

/** The method that PNodes answer. */
const METHOD = 'call'

/**
 * `system`, with the calls of its callers and of its actors relayed where they have to be. The PNode calls its own system, so there is still one
 * turn at a time; calls to one actor arrive in the order made. Codes are those of any call; `actor.timeout` if the PNode is away.
 */
export function relayedActors(system: ActorSystem, options: RelayOptions): ActorSystem {
  return new RelayedActors(system, options)
}

class RelayedActors implements ActorSystem {
  readonly #system: ActorSystem
  readonly #isRelayed: RelayOptions['isRelayed']
  readonly #calls: CallQueue
  /** What the handlers are given instead of the system's own context. */
  readonly #contexts = new WeakMap<ActorContext, ActorContext>()

  constructor(system: ActorSystem, { asker, clock, isRelayed }: RelayOptions) {
    this.#system = system
    this.#isRelayed = isRelayed
    this.#calls = new CallQueue(async ({ target, method, text, deadlineMs }, signal) => {
      const pnode = isRelayed(target)
      if (pnode === undefined) return system.call(target, method, fromText(text), { deadlineMs, signal }) // it is reachable by now
      const relayed: Relayed = { target: { type: target.type, id: target.id }, method, argument: fromText(text), deadlineMs }
      return asker.ask(pnode, METHOD, relayed as unknown as Json, { deadlineMs, signal })
    }, clock)
  }

  register<Memory>(definition: ActorDefinition<Memory>): void {
    const contextOf = (context: ActorContext) => this.#context(context)
    const { handlers } = definition
    this.#system.register<Memory>({
      ...definition,
      activate: (context) => definition.activate(contextOf(context)),
      deactivate: (context, memory) => definition.deactivate?.(contextOf(context), memory),
      handlers: Object.fromEntries(
        Object.keys(handlers).map((method) => [
          method,
          (context: ActorContext, memory: Memory, argument: unknown) => handlers[method](contextOf(context), memory, argument),
        ]),
      ),
    })
  }

  unregister(type: string): Promise<void> {
    return this.#system.unregister(type)
  }

  async call(target: ActorRef, method: string, argument?: Json, options: CallOptions = {}): Promise<Json> {
    if (this.#isRelayed(target) === undefined) return this.#system.call(target, method, argument, options)
    return this.#calls.push(checkCall(target, method, argument, options))
  }

  deactivate(target: ActorRef): Promise<void> {
    return this.#system.deactivate(target)
  }

  start(): Promise<void> {
    return this.#system.start()
  }

  async close(): Promise<void> {
    this.#calls.refuse()
    await this.#system.close()
    await this.#calls.close(0)
  }

  #context(context: ActorContext): ActorContext {
    let relaying = this.#contexts.get(context)
    if (!relaying) {
      relaying = {
        ...context,
        call: async (target, ...rest) =>
          this.#isRelayed(target) === undefined ? context.call(target, ...rest) : this.call(target, ...rest),
      }
      this.#contexts.set(context, relaying)
    }
    return relaying
  }
}

export interface RelayAnswerOptions extends AnswerOptions {
  /** Who may call. Default `control`. */
  readonly control?: string
  /** What else this PNode answers: one peer, one set of questions. */
  readonly handlers?: { readonly [method: string]: AskHandler }
}

/** The PNode's side: calls `system` for `control`, for actors of types `<role>.<pnode>` and for nobody else. */
export function answerRelayedCalls(
  bus: TensorBus,
  pnode: string,
  system: Pick<ActorSystem, 'call'>,
  { control = 'control', handlers, ...options }: RelayAnswerOptions,
): Answering {
  const handle = async (argument: unknown, from: string) => {
    if (from !== control) throw new SwarmError('bus.denied', { what: 'only control may have calls relayed', expected: control, got: from })
    const { target, method, argument: inner, deadlineMs } = checkRelayed(argument)
    if (hostOf(target.type) !== pnode) {
      throw new SwarmError('actor.not-found', { what: `${describeRef(target)} is no actor of ${pnode}`, where: method })
    }
    return system.call(target, method, inner, { deadlineMs })
  }
  return answer(bus, pnode, { ...handlers, [METHOD]: handle }, options)
}

/** @throws `usage` */
function checkRelayed(argument: unknown): Relayed {
  const { target, method, argument: inner, deadlineMs } = (argument ?? {}) as { [name: string]: unknown }
  const { type, id } = (target ?? {}) as { [name: string]: unknown }
  if (
    typeof type === 'string' &&
    typeof id === 'string' &&
    typeof method === 'string' &&
    typeof deadlineMs === 'number' &&
    inner !== undefined
  ) {
    return { target: { type, id }, method, argument: inner as Json, deadlineMs }
  }
  throw new SwarmError('usage', { what: 'a relayed call with missing fields' })
}
