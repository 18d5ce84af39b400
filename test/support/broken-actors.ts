/** Actor systems that break one promise each: the conformance suite has to catch them. */
import type { ActorDefinition, ActorSystem, Json } from '../../runtime/actor-system/actor-system.js'
import { localActors } from '../../runtime/actor-system/local-actors.js'
import { SwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { ActorsUnderTest } from '../conformance/actor-system.js'
import { fakeClock } from './fake-clock.js'

/** What a broken system does instead of a good one; `system` is the good one. */
type Flaw = (system: ActorSystem) => Partial<ActorSystem>

/** A broken system and the case that must catch it. */
export interface BrokenActors {
  readonly caughtBy: string
  readonly make: () => Promise<ActorsUnderTest>
}

/** Local actors on a memory store and a fake clock, as the suite wants them; `flaw` breaks each system, `nextStore` the storage. */
export async function localUnderTest(
  flaw: Flaw = () => ({}),
  nextStore: (store: ObjectStore) => ObjectStore = (store) => store,
): Promise<ActorsUnderTest> {
  const clock = fakeClock()
  let store = memoryStore()
  let current: ActorSystem
  const open = (): ActorSystem => {
    const system = localActors({ store, clock, prefix: 'runs/x/', onError: () => {} })
    current = system
    const bound: ActorSystem = {
      register: (definition) => system.register(definition),
      unregister: (type) => system.unregister(type),
      call: (...parts) => system.call(...parts),
      deactivate: (ref) => system.deactivate(ref),
      start: () => system.start(),
      close: () => system.close(),
    }
    return { ...bound, ...flaw(system) }
  }
  return {
    system: open(),
    async restart() {
      await current.close()
      store = nextStore(store)
      return open()
    },
    advance: (ms) => clock.advance(ms),
    close: () => current.close(),
  }
}

export const brokenActors: { readonly [title: string]: BrokenActors } = {
  'runs two turns at once': broken('one turn at a time for each id', overlapping),

  'lets a timer into a turn': broken('timers and reminders wait for the turn under way', overlapping),

  'activates twice': broken('an actor is activated once, and that has ended before its first call', (system) => ({
    register: (definition) =>
      system.register({
        ...definition,
        async activate(context) {
          await definition.activate(context)
          return definition.activate(context)
        },
      }),
  })),

  'calls before the activation has ended': broken('an actor is activated once, and that has ended before its first call', (system) => ({
    register: (definition) =>
      system.register({
        ...definition,
        activate(context) {
          const memory = definition.activate(context)
          void Promise.resolve(memory).catch(() => {})
          return null as never
        },
      }),
  })),

  'runs calls in another order': broken('calls of one caller run in the order made', (system) => {
    let count = 0
    return {
      async call(...parts) {
        if (++count % 5 === 0) await Promise.resolve()
        return system.call(...parts)
      },
    }
  }),

  'forgets state after a restart': {
    caughtBy: 'state survives a restart of the system',
    make: () => localUnderTest(undefined, () => memoryStore()),
  },

  'keeps state in memory only': broken('state survives deactivation', (system) => ({
    register: (definition) => system.register(mapContext(definition, () => ({ state: forgetful() }))),
  })),

  'loses the code of an error': broken('a SwarmError reaches the caller with its code, message and retryable', (system) => ({
    call: (...parts) =>
      system.call(...parts).catch((error: unknown) => {
        throw new SwarmError('actor.failed', { what: (error as Error).message })
      }),
  })),

  'takes every error for terminal': broken('a SwarmError reaches the caller with its code, message and retryable', (system) => ({
    call: (...parts) =>
      system.call(...parts).catch((error: unknown) => {
        throw new SwarmError((error as SwarmError).code, { what: (error as Error).message })
      }),
  })),

  'lets undeclared handlers through': broken('only declared handlers can be called', (system) => {
    const declared = new Map<string, object>()
    return {
      register(definition) {
        declared.set(definition.type, definition.handlers)
        system.register(definition)
      },
      async call(target, method, ...rest) {
        const handlers = declared.get(target.type) as { [name: string]: unknown } | undefined
        if (handlers && method in handlers && !Object.hasOwn(handlers, method)) return null
        return system.call(target, method, ...rest)
      },
    }
  }),

  'shares arguments': broken('arguments and results are copied, never shared', (system) => ({
    async call(target, method, argument, options) {
      await Promise.resolve() // so late that the caller has changed it
      return system.call(target, method, argument, options)
    },
  })),

  'counts characters instead of bytes': broken('arguments and results of up to MAX_CALL_BYTES pass, larger ones are refused', (system) => ({
    call: (target, method, argument, options) =>
      system.call(target, method, typeof argument === 'string' ? argument.replaceAll('ü', 'u') : argument, options),
  })),

  'ignores deadlines': broken('a call that takes longer than its deadline gets actor.timeout, and its turn goes on', (system) => ({
    call: (target, method, argument) => system.call(target, method, argument, { deadlineMs: 600_000 }),
  })),

  'never says busy': broken('a full mailbox says busy, and loses no call that it took', (system) => ({
    call: (...parts) =>
      system.call(...parts).catch((error: unknown) => ((error as SwarmError).code === 'actor.busy' ? null : Promise.reject(error))),
  })),

  'drops reminders at a restart': broken('a reminder fires after a restart', () => ({ start: async () => {} })),

  'takes reminders for timers': broken('a reminder activates its actor and fires once, with its argument', (system) => ({
    register: (definition) =>
      system.register(mapContext(definition, (context) => ({ setReminder: async (...parts) => context.setTimer(...parts) }))),
  })),

  'forgets a timer that threw': broken('a throwing timer ends neither the process, the actor nor the timer', (system) => ({
    register: (definition) =>
      system.register(
        mapHandlers(definition, (handler) => async (context, memory, argument) => {
          try {
            return await handler(context, memory, argument)
          } catch (error) {
            context.clearTimer('t')
            throw error
          }
        }),
      ),
  })),

  'closes over a turn under way': broken('close waits for the turn under way, deactivates, and refuses what comes later', (system) => ({
    close: async () => void system.close(),
  })),

  'keeps actors of an unregistered type': broken('unregistering deactivates the actors of that type and no others', () => ({
    unregister: async () => {},
  })),
}

function broken(caughtBy: string, flaw: Flaw): BrokenActors {
  return { caughtBy, make: () => localUnderTest(flaw) }
}

/** Ends every turn at once and gives the result of the work behind it later: turns overlap. */
function overlapping(system: ActorSystem): Partial<ActorSystem> {
  let tickets = 0
  const work = new Map<number, Promise<Json | void>>()
  return {
    register: (definition) =>
      system.register(
        mapHandlers(definition, (handler) => (context, memory, argument) => {
          const result = (async () => handler(context, memory, argument))()
          result.catch(() => {})
          work.set(++tickets, result)
          return tickets
        }),
      ),
    async call(...parts) {
      const ticket = (await system.call(...parts)) as number
      return (await work.get(ticket)) ?? null
    },
  }
}

type Handler<Memory> = ActorDefinition<Memory>['handlers'][string]
type Context = Parameters<ActorDefinition['activate']>[0]

function mapHandlers<Memory>(
  definition: ActorDefinition<Memory>,
  change: (handler: Handler<Memory>) => Handler<Memory>,
): ActorDefinition<Memory> {
  return {
    ...definition,
    handlers: Object.fromEntries(Object.entries(definition.handlers).map(([method, handler]) => [method, change(handler)])),
  }
}

function mapContext<Memory>(definition: ActorDefinition<Memory>, change: (context: Context) => Partial<Context>): ActorDefinition<Memory> {
  const changed = new WeakMap<Context, Context>()
  const other = (context: Context) => {
    const known = changed.get(context) ?? { ...context, ...change(context) }
    changed.set(context, known)
    return known
  }
  return {
    ...mapHandlers(definition, (handler) => (context, memory, argument) => handler(other(context), memory, argument)),
    activate: (context) => definition.activate(other(context)),
  }
}

function forgetful(): Context['state'] {
  const values = new Map<string, Json>()
  return {
    get: async <T extends Json>(key: string) => values.get(key) as T | undefined,
    set: async (key, value) => void values.set(key, value),
    delete: async (key) => void values.delete(key),
  }
}
