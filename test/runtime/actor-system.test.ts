import test from 'ava'
import type { ActorContext, ActorRef, ActorSystem } from '../../runtime/actor-system/actor-system.js'
import { localActors } from '../../runtime/actor-system/local-actors.js'
import type { LocalActorsOptions } from '../../runtime/actor-system/local-actors.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { actorSystemSuite } from '../conformance/actor-system.js'
import { gate } from '../conformance/within.js'
import { brokenActors, localUnderTest } from '../support/broken-actors.js'
import { fakeClock } from '../support/fake-clock.js'
import type { FakeClock } from '../support/fake-clock.js'

for (const check of actorSystemSuite(() => localUnderTest())) {
  test.serial(`local actors: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

for (const [flaw, { caughtBy, make }] of Object.entries(brokenActors)) {
  test.serial(`the suite catches a system that ${flaw}`, async (t) => {
    const found = actorSystemSuite(make, { deadlineMs: 1_000 }).find(({ title }) => title === caughtBy)
    t.truthy(found, `no case "${caughtBy}"`)
    await t.throwsAsync(found!.run())
  })
}

interface Bench {
  readonly clock: FakeClock
  readonly store: ObjectStore
  readonly system: ActorSystem
  /** What `onError` was told. */
  readonly errors: [SwarmError, ActorRef][]
}

function bench(options: Partial<LocalActorsOptions> = {}): Bench {
  const clock = fakeClock(1_000_000)
  const store = options.store ?? memoryStore()
  const errors: [SwarmError, ActorRef][] = []
  const system = localActors({ clock, onError: (error, ref) => void errors.push([error, ref]), ...options, store })
  return { clock, store, system, errors }
}

const ref = { type: 'VNode.p-1', id: 'a/b ü' }

test('state and reminders have these keys and bytes', async (t) => {
  const { store, system } = bench({ prefix: 'runs/r1/' })
  system.register({
    type: ref.type,
    activate: () => null,
    handlers: {
      async go(context) {
        await context.state.set('step/last', { step: 7 })
        await context.setReminder('..', 'go', { afterMs: 5_000, everyMs: 60_000 }, ['x'])
      },
    },
  })
  await system.call(ref, 'go')
  await system.close()
  const objects: { [key: string]: string } = {}
  for await (const { key } of store.list('')) objects[key] = new TextDecoder().decode((await store.get(key)).bytes)
  t.deepEqual(objects, {
    'runs/r1/actors/VNode.p-1/a_2Fb_20_C3_BC/step_2Flast': '{"version":1,"value":{"step":7}}',
    'runs/r1/reminders/VNode.p-1/a_2Fb_20_C3_BC/_2E_2E':
      '{"version":1,"type":"VNode.p-1","id":"a/b ü","name":"..","method":"go","dueAtMs":1005000,"everyMs":60000,"argument":["x"]}',
  })
})

test('an actor that is not called for idleMs is deactivated, whatever its timers do', async (t) => {
  const { clock, system } = bench({ idleMs: 1_000 })
  let deactivations = 0
  let ticks = 0
  system.register({
    type: 'Idle',
    activate: (context) => context.setTimer('t', 'tick', { afterMs: 100, everyMs: 100 }),
    deactivate: () => void deactivations++,
    handlers: { tick: () => void ticks++, use: () => null },
  })
  await system.call({ type: 'Idle', id: 'one' }, 'use')
  await clock.advance(900)
  await system.call({ type: 'Idle', id: 'one' }, 'use')
  await clock.advance(950)
  t.is(deactivations, 0)
  await clock.advance(100)
  t.is(deactivations, 1)
  const before = ticks
  await clock.advance(5_000)
  t.deepEqual([ticks, clock.pending], [before, 0])
  await system.close()
})

test('onError hears of throwing timers, reminders and deactivations, and of turns whose caller had given up', async (t) => {
  const { clock, system, errors } = bench()
  const released = gate()
  const fail = () => {
    throw new Error('on purpose')
  }
  system.register({
    type: 'Loud',
    activate: () => null,
    deactivate: fail,
    handlers: {
      async set(context) {
        context.setTimer('t', 'fail', { afterMs: 10 })
        await context.setReminder('r', 'fail', { afterMs: 20 })
      },
      fail,
      async late() {
        await released.opened
        throw new SwarmError('run.diverged', 'too late')
      },
    },
  })
  const loud = { type: 'Loud', id: 'one' }
  await system.call(loud, 'set')
  await clock.advance(50)
  const call = system.call(loud, 'late', null, { deadlineMs: 5 })
  const timeout = t.throwsAsync(call)
  await clock.advance(10)
  t.true(isSwarmError(await timeout, 'actor.timeout'))
  released.open()
  await system.deactivate(loud)
  t.deepEqual(
    errors.map(([{ code }]) => code),
    ['actor.failed', 'actor.failed', 'run.diverged', 'actor.failed'],
  )
  t.true(errors.every(([, { type, id }]) => type === 'Loud' && id === 'one'))
  await system.close()
})

test('a throwing onError ends nothing', async (t) => {
  const { clock, system } = bench({
    onError() {
      throw new Error('the reporter throws')
    },
  })
  const warned = gate<Error>()
  const onWarning = (warning: Error) => warning.message.includes('reporter') && warned.open(warning)
  process.on('warning', onWarning)
  system.register({
    type: 'Loud',
    activate: (context) => context.setTimer('t', 'fail', { afterMs: 10 }),
    handlers: {
      use: () => 'used',
      fail: () => {
        throw new Error('on purpose')
      },
    },
  })
  await system.call({ type: 'Loud', id: 'one' }, 'use')
  await clock.advance(20)
  t.is((await warned.opened).name, 'SwarmActorWarning')
  process.off('warning', onWarning)
  t.is(await system.call({ type: 'Loud', id: 'one' }, 'use'), 'used')
  await system.close()
})

test('a call that timed out before its turn began never runs', async (t) => {
  const { clock, system } = bench()
  const released = gate()
  let runs = 0
  system.register({ type: 'Queue', activate: () => null, handlers: { block: () => released.opened, run: () => void runs++ } })
  const queue = { type: 'Queue', id: 'one' }
  const blocking = system.call(queue, 'block', null, { deadlineMs: 1_000 })
  const waiting = t.throwsAsync(system.call(queue, 'run', null, { deadlineMs: 100 }))
  await clock.advance(200)
  t.true(isSwarmError(await waiting, 'actor.timeout'))
  released.open()
  await blocking
  await system.call(queue, 'block')
  t.is(runs, 0)
  t.is(clock.pending, 1, 'only the idle timer may be left')
  await system.close()
  t.is(clock.pending, 0)
})

test('a context that outlives its activation is refused', async (t) => {
  const { system } = bench()
  let write: () => Promise<void> = async () => {}
  system.register({
    type: 'Stale',
    activate: () => null,
    handlers: {
      keep({ state }) {
        write = () => state.set('x', 'from the grave')
      },
      get: async ({ state }) => (await state.get('x')) ?? 'absent',
    },
  })
  const stale = { type: 'Stale', id: 'one' }
  await system.call(stale, 'keep')
  await system.deactivate(stale)
  t.true(isSwarmError(await t.throwsAsync(write()), 'actor.closed'))
  t.is(await system.call(stale, 'get'), 'absent')
  await system.close()
})

test('a store that fails once costs neither state nor reminders', async (t) => {
  let failures = 0
  const good = memoryStore()
  const store: ObjectStore = {
    get: (...parts) => good.get(...parts),
    put: (...parts) =>
      failures-- > 0 ? Promise.reject(new SwarmError('store.unavailable', { what: 'away', retryable: true })) : good.put(...parts),
    delete: (...parts) =>
      failures-- > 0 ? Promise.reject(new SwarmError('store.unavailable', { what: 'away', retryable: true })) : good.delete(...parts),
    list: (...parts) => good.list(...parts),
    close: () => good.close(),
  }
  const { clock, system, errors } = bench({ store })
  const fired: string[] = []
  system.register({
    type: 'Flaky',
    activate: () => null,
    handlers: {
      set: ({ state }, _memory, value) => state.set('x', value as string),
      get: async ({ state }) => (await state.get('x')) ?? 'absent',
      remind: (context, _memory, argument) => context.setReminder('r', 'fire', { afterMs: 100 }, argument as string),
      async fire({ state }, _memory, argument) {
        fired.push(argument as string)
        await state.set('fired', argument as string)
      },
    },
  })
  const flaky = { type: 'Flaky', id: 'one' }
  await system.call(flaky, 'set', 'old')
  failures = 1
  t.true(isSwarmError(await t.throwsAsync(system.call(flaky, 'set', 'new')), 'store.unavailable'))
  t.is(await system.call(flaky, 'get'), 'old')

  await system.call(flaky, 'remind', 'first')
  failures = 1
  t.true(isSwarmError(await t.throwsAsync(system.call(flaky, 'remind', 'second')), 'store.unavailable'))
  failures = 1
  await clock.advance(100)
  t.deepEqual(fired, ['first'], 'the reminder that the failed one would have replaced')
  await clock.advance(1_000)
  t.deepEqual(fired, ['first', 'first'], 'a retryable error brings a reminder back')
  t.deepEqual(
    errors.map(([{ code }]) => code),
    ['store.unavailable'],
  )
  await clock.advance(10_000)
  t.is(fired.length, 2)
  await system.close()
})

test('a damaged reminder is reported and stops no other; damaged state fails its read', async (t) => {
  const first = bench()
  const definition = {
    type: 'Hurt',
    activate: () => null,
    handlers: {
      remind: (context: ActorContext, _memory: unknown, name: string) =>
        Promise.all([context.setReminder(name, 'fire', { afterMs: 100 }, name), context.state.set('x', 1)]).then(() => {}),
      fire: (_context: unknown, _memory: unknown, name: string) => void fired.push(name),
      get: async ({ state }: ActorContext) => (await state.get('x')) ?? null,
    },
  }
  const fired: string[] = []
  first.system.register(definition)
  await first.system.call({ type: 'Hurt', id: 'one' }, 'remind', 'a')
  await first.system.call({ type: 'Hurt', id: 'one' }, 'remind', 'b')
  await first.system.close()
  await first.store.put('reminders/Hurt/one/a', new TextEncoder().encode('{"version":1,"ty'))
  await first.store.put('actors/Hurt/one/x', new TextEncoder().encode('{"version":2}'))
  const { clock, system, errors } = bench({ store: first.store })
  system.register(definition)
  await system.start()
  await clock.advance(200)
  t.deepEqual(fired, ['b'])
  t.deepEqual(
    errors.map(([{ code }, at]) => [code, at.type]),
    [['store.damaged', 'Hurt']],
  )
  t.true(isSwarmError(await t.throwsAsync(system.call({ type: 'Hurt', id: 'one' }, 'get')), 'store.damaged'))
  await system.close()
})

test('names that the storage cannot hold are refused', async (t) => {
  const { system } = bench()
  system.register({ type: 'T', activate: () => null, handlers: { set: ({ state }) => state.set('x', 1) } })
  for (const id of ['\ud800', 'x'.repeat(600)]) t.true(isSwarmError(await t.throwsAsync(system.call({ type: 'T', id }, 'set')), 'usage'))
  await system.close()
})

test('a type registered again after unregister starts behind the old activation', async (t) => {
  const { system } = bench()
  const log: string[] = []
  const released = gate()
  const version = (name: string) => ({
    type: 'Swap',
    activate: () => void log.push(`${name} activates`),
    deactivate: () => void log.push(`${name} leaves`),
    handlers: { wait: () => released.opened, use: () => name },
  })
  system.register(version('old'))
  const swap = { type: 'Swap', id: 'one' }
  const waiting = system.call(swap, 'wait')
  const gone = system.unregister('Swap')
  system.register(version('new'))
  const used = system.call(swap, 'use')
  released.open()
  await Promise.all([waiting, gone])
  t.is(await used, 'new')
  t.deepEqual(log, ['old activates', 'old leaves', 'new activates'])
  await system.close()
})

test('the fake clock runs what is due in order, each at its time', async (t) => {
  const clock = fakeClock(0)
  const log: string[] = []
  clock.after(20, () => log.push(`b at ${clock.now()}`))
  clock.after(10, () => {
    log.push(`a at ${clock.now()}`)
    clock.after(5, () => log.push(`a2 at ${clock.now()}`))
  })
  clock.after(20, () => log.push(`c at ${clock.now()}`))
  clock.after(15, () => log.push('never'))()
  const slept = clock.sleep(12).then(() => log.push(`slept at ${clock.now()}`))
  await clock.advance(30)
  await slept
  t.deepEqual(log, ['a at 10', 'slept at 12', 'a2 at 15', 'b at 20', 'c at 20'])
  t.deepEqual([clock.now(), clock.pending], [30, 0])
})
