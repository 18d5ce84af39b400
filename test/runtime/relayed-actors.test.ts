import test from 'ava'
import type { ExecutionContext } from 'ava'
import { MAX_CALL_BYTES } from '../../runtime/actor-system/actor-system.js'
import type { ActorDefinition, ActorSystem, Json } from '../../runtime/actor-system/actor-system.js'
import { localActors } from '../../runtime/actor-system/local-actors.js'
import { answerRelayedCalls, relayedActors } from '../../runtime/actor-system/relayed-actors.js'
import { asker } from '../../runtime/ask.js'
import { SwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import { actorSystemSuite } from '../conformance/actor-system.js'
import { assertCode, gate, rejectionOf, yieldTurn } from '../conformance/within.js'
import { localUnderTest } from '../support/broken-actors.js'
import { fakeClock } from '../support/fake-clock.js'

const rejection = (work: Promise<unknown>) => rejectionOf(10_000, 'the call', work)

/** Control, which cannot reach p1 but over the broker, and p1. */
async function bench(t: ExecutionContext) {
  const broker = memoryBroker()
  const [controlBus, hostBus, otherBus] = await Promise.all(['control', 'p1', 'p2'].map((name) => broker.connect(name)))
  const clock = fakeClock()
  const local = () => localActors({ store: memoryStore(), clock, onError: () => {} })
  const asking = asker(controlBus, 'control', clock)
  const system = relayedActors(local(), { asker: asking, clock, isRelayed: ({ type }) => (type.endsWith('.p1') ? 'p1' : undefined) })
  const remote = local()
  const answering = answerRelayedCalls(hostBus, 'p1', remote, { onError: (error) => t.fail(error.message) })
  await Promise.all([answering.ready, asking.ready])
  t.teardown(async () => {
    await Promise.all([system.close(), remote.close()])
    for (const bus of [controlBus, hostBus, otherBus]) bus.close()
  })
  return { system, remote, clock, otherBus, hostBus }
}

const vnode = { type: 'VNode.p1', id: 'run/layer ü' }

function echo(type: string): ActorDefinition {
  return {
    type,
    activate: () => null,
    handlers: {
      echo: (_context, _memory, argument) => argument as Json,
      fail: () => Promise.reject(new SwarmError('run.diverged', { what: 'the loss is not finite', where: 'step 7' })),
    },
  }
}

for (const check of actorSystemSuite(async () => {
  const under = await localUnderTest()
  const wrap = (system: ActorSystem) =>
    relayedActors(system, {
      asker: { ask: () => Promise.reject(new Error('nothing is relayed')) },
      clock: fakeClock(),
      isRelayed: () => undefined,
    })
  let current = wrap(under.system)
  return {
    system: current,
    async restart() {
      await current.close()
      current = wrap(await under.restart())
      return current
    },
    advance: (ms) => under.advance(ms),
    close: () => current.close(),
  }
})) {
  test.serial(`relayed actors: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

test('a call to an actor behind a router runs on its own host, with its result and its errors', async (t) => {
  const { system, remote } = await bench(t)
  remote.register(echo('VNode.p1'))
  t.deepEqual(await system.call(vnode, 'echo', { x: ['ü', null] }), { x: ['ü', null] })
  const fits = 'x'.repeat(MAX_CALL_BYTES - 2)
  t.is(await system.call(vnode, 'echo', fits), fits)
  assertCode(await rejection(system.call(vnode, 'echo', `${fits}x`)), 'actor.too-large', false)
  const error = await rejection(system.call(vnode, 'fail'))
  assertCode(error, 'run.diverged', false)
  t.is((error as Error).message, 'the loss is not finite (step 7)')
  assertCode(await rejection(system.call(vnode, 'toString')), 'actor.not-found', false)
  assertCode(await rejection(system.call({ type: 'PNode.p1', id: 'p1' }, 'echo')), 'actor.not-found', false)
})

test('relayed calls to one actor run in the order made', async (t) => {
  const { system, remote } = await bench(t)
  const seen: number[] = []
  remote.register({
    type: 'VNode.p1',
    activate: () => yieldTurn(),
    handlers: {
      async add(_context, _memory, argument) {
        if ((argument as number) % 7 === 0) await yieldTurn()
        seen.push(argument as number)
      },
    },
  })
  const order = Array.from({ length: 50 }, (_, index) => index)
  await Promise.all(order.map((index) => system.call(vnode, 'add', index)))
  t.deepEqual(seen, order)
})

test('actors of control are relayed too when they call', async (t) => {
  const { system, remote } = await bench(t)
  remote.register(echo('VNode.p1'))
  system.register({ type: 'Run', activate: () => null, handlers: { ask: (context) => context.call(vnode, 'echo', 42) } })
  t.is(await system.call({ type: 'Run', id: 'r1' }, 'ask'), 42)
})

test('a host that is away costs the deadline, and a closed system no call', async (t) => {
  const { system, remote, clock, hostBus } = await bench(t)
  const released = gate()
  remote.register({ ...echo('VNode.p1'), handlers: { wait: () => released.opened } })
  hostBus.close()
  const lost = rejection(system.call(vnode, 'wait'))
  await clock.advance(2_000)
  assertCode(await lost, 'actor.timeout', true)
  const waiting = [system.call(vnode, 'wait'), system.call(vnode, 'wait')].map(rejection)
  await yieldTurn()
  await system.close()
  for (const refused of await Promise.all(waiting)) assertCode(refused, 'actor.closed')
  assertCode(await rejection(system.call(vnode, 'wait')), 'actor.closed')
  t.pass()
  released.open()
})

test('a PNode runs calls of control alone, and only to its own actors', async (t) => {
  const { system, remote, otherBus, clock } = await bench(t)
  const calls: unknown[] = []
  for (const type of ['VNode.p1', 'VNode.p2', 'Run']) {
    remote.register({ type, activate: () => null, handlers: { run: (_context, _memory, argument) => void calls.push(argument) } })
  }
  const other = asker(otherBus, 'p2', clock)
  const relayed = (type: string): Json => ({ target: { type, id: 'x' }, method: 'run', argument: type, deadlineMs: 2_000 })
  assertCode(await rejection(other.ask('p1', 'call', relayed('VNode.p1'))), 'bus.denied', false)
  assertCode(await rejection(system.call({ type: 'Other.p1', id: 'x' }, 'run')), 'actor.not-found')
  t.deepEqual(calls, [])
})

test('a relayed call with missing fields, or for an actor of another host, is refused', async (t) => {
  const broker = memoryBroker()
  const [controlBus, hostBus] = await Promise.all([broker.connect('control'), broker.connect('p1')])
  const clock = fakeClock()
  const never = { call: () => Promise.reject(new Error('must not be called')) }
  const answering = answerRelayedCalls(hostBus, 'p1', never, { onError: (error) => t.fail(error.message) })
  const control = asker(controlBus, 'control', clock)
  await answering.ready
  const good = { target: { type: 'VNode.p1', id: 'x' }, method: 'run', argument: null, deadlineMs: 2_000 }
  for (const bad of [null, 7, {}, { ...good, target: null }, { ...good, method: 1 }, { ...good, deadlineMs: 'x' }]) {
    assertCode(await rejection(control.ask('p1', 'call', bad)), 'usage')
  }
  for (const type of ['VNode.p2', 'Run', 'VNode.x.p1', 'p1', '.p1x']) {
    assertCode(await rejection(control.ask('p1', 'call', { ...good, target: { type, id: 'x' } })), 'actor.not-found')
  }
  t.pass()
  controlBus.close()
  hostBus.close()
})
