/** Cases of the actor system: calls, their order, one turn at a time. */
import assert from 'node:assert/strict'
import { MAX_CALL_BYTES, MAX_MAILBOX } from '../../runtime/actor-system/actor-system.js'
import type { ActorDefinition, Json } from '../../runtime/actor-system/actor-system.js'
import type { ActorCases } from './actor-system.js'
import { assertCode, gate, yieldTurn } from './within.js'

/** Values that a careless encoding changes. */
const VALUES: Json[] = [null, true, 0, -0.5, 1e300, '', 'ü\u0000"\\\n😀', [], {}, [1, [2, { a: null }]], { 'a b': { c: [false] }, ü: 'x' }]

/** The same answer as the argument. */
const echo: ActorDefinition = { type: 'Echo', activate: () => null, handlers: { echo: (_context, _memory, argument) => argument as Json } }

export const callCases: ActorCases = {
  'an argument reaches the handler and its result the caller': async ({ system, within }) => {
    system.register(echo)
    await system.start()
    for (const value of VALUES) {
      const answer = await within('echo', system.call({ type: 'Echo', id: 'one' }, 'echo', value))
      assert.deepEqual(answer, value)
    }
  },

  'an omitted argument arrives as null, and no result as null': async ({ system, within }) => {
    let got: unknown = 'nothing yet'
    system.register({
      type: 'Void',
      activate: () => null,
      handlers: {
        take(_context, _memory, argument) {
          got = argument
        },
      },
    })
    await system.start()
    assert.equal(await within('take', system.call({ type: 'Void', id: 'one' }, 'take')), null)
    assert.equal(got, null)
  },

  'arguments and results are copied, never shared': async ({ system, within }) => {
    const kept: { list: number[] } = { list: [] }
    let received: { list: number[] } = { list: [] }
    system.register({
      type: 'Copy',
      activate: () => kept,
      handlers: {
        take(_context, memory, argument) {
          received = argument as { list: number[] }
          received.list.push(99)
          return memory
        },
      },
    })
    await system.start()
    const argument = { list: [1] }
    const call = system.call({ type: 'Copy', id: 'one' }, 'take', argument)
    argument.list.push(2) // after the call was made: must not arrive
    const result = (await within('take', call)) as unknown as { list: number[] }
    assert.deepEqual(received.list, [1, 99])
    assert.deepEqual(argument.list, [1, 2], 'the handler changed the caller’s argument')
    result.list.push(3)
    assert.deepEqual(kept.list, [], 'the caller changed the actor’s memory')
  },

  'one turn at a time for each id': async ({ system, within }) => {
    let running = 0
    let most = 0
    system.register({
      type: 'Turns',
      activate: () => null,
      handlers: {
        async work() {
          most = Math.max(most, ++running)
          for (let pause = 0; pause < 3; pause++) await yieldTurn()
          running--
        },
      },
    })
    await system.start()
    await within('30 calls', Promise.all(Array.from({ length: 30 }, () => system.call({ type: 'Turns', id: 'one' }, 'work'))))
    assert.equal(most, 1, 'turns under way at once')
  },

  'different ids work at the same time': async ({ system, within }) => {
    const met = gate()
    system.register({
      type: 'Meet',
      activate: () => null,
      handlers: { wait: () => met.opened, open: () => met.open() },
    })
    await system.start()
    const waiting = system.call({ type: 'Meet', id: 'a' }, 'wait', null, { deadlineMs: 60_000 })
    await within('the other id', system.call({ type: 'Meet', id: 'b' }, 'open'))
    await within('the waiting call', waiting)
  },

  'calls of one caller run in the order made': async ({ system, within }) => {
    const seen: number[] = []
    system.register({
      type: 'Order',
      activate: () => yieldTurn(),
      handlers: {
        async add(_context, _memory, argument) {
          if ((argument as number) % 7 === 0) await yieldTurn()
          seen.push(argument as number)
        },
      },
    })
    await system.start()
    const order = Array.from({ length: 200 }, (_, index) => index)
    await within('200 calls', Promise.all(order.map((index) => system.call({ type: 'Order', id: 'one' }, 'add', index))))
    assert.deepEqual(seen, order)
  },

  'any characters make an id, and different ids are different actors': async ({ system, within }) => {
    const ids = ['a', 'A', 'a/b', 'a_2Fb', 'a%2Fb', '.', '..', 'a b', 'ü', '😀', 'a\\b', 'a:b', '*', '_', 'constructor', '__proto__']
    system.register({
      type: 'Named.one-1',
      activate: ({ ref }) => ref.id,
      handlers: {
        async name({ ref, state }, memory) {
          assert.equal(await state.get('id'), undefined, `state of ${ref.id}`)
          await state.set('id', ref.id)
          return memory
        },
      },
    })
    await system.start()
    for (const id of ids) assert.equal(await within(`actor ${id}`, system.call({ type: 'Named.one-1', id }, 'name')), id)
  },

  'only declared handlers can be called': async ({ rejection, system, within }) => {
    let activations = 0
    system.register({
      type: 'Closed',
      activate: () => activations++,
      handlers: { open: () => 'yes' },
    })
    await system.start()
    for (const method of ['constructor', 'toString', 'valueOf', 'hasOwnProperty', '__proto__', 'activate', 'Open', 'nothing', '']) {
      const call = system.call({ type: 'Closed', id: 'one' }, method)
      assertCode(await rejection(`call of ${method}`, call), 'actor.not-found', false)
    }
    assert.equal(await within('open', system.call({ type: 'Closed', id: 'one' }, 'open')), 'yes')
    assert.equal(activations, 1)
  },

  'an unknown type is refused by code': async ({ rejection, system }) => {
    system.register(echo)
    await system.start()
    for (const type of ['Nobody', 'echo', 'constructor', '__proto__']) {
      assertCode(await rejection(`call of ${type}`, system.call({ type, id: 'one' }, 'echo')), 'actor.not-found', false)
    }
  },

  'arguments and results of up to MAX_CALL_BYTES pass, larger ones are refused': async ({ rejection, system, within }) => {
    system.register({
      type: 'Large',
      activate: () => null,
      handlers: {
        echo: (_context, _memory, argument) => argument as Json,
        make: (_context, _memory, length) => 'x'.repeat(length as number),
      },
    })
    await system.start()
    const ref = { type: 'Large', id: 'one' }
    const fits = 'x'.repeat(MAX_CALL_BYTES - 2) // two quotes
    assert.equal(await within('the largest argument and result', system.call(ref, 'echo', fits)), fits)
    assertCode(await rejection('argument', system.call(ref, 'echo', `${fits}x`)), 'actor.too-large', false)
    const wide = 'ü'.repeat(MAX_CALL_BYTES / 2) // few characters, many bytes
    assertCode(await rejection('argument in UTF-8', system.call(ref, 'echo', wide)), 'actor.too-large', false)
    assertCode(await rejection('result', system.call(ref, 'make', MAX_CALL_BYTES)), 'actor.too-large', false)
    assert.equal(await within('a call afterwards', system.call(ref, 'make', 3)), 'xxx')
  },

  'a full mailbox says busy, and loses no call that it took': async ({ system, within }) => {
    const begun = gate()
    const released = gate()
    let runs = 0
    system.register({
      type: 'Busy',
      activate: () => null,
      handlers: {
        async block() {
          begun.open()
          await released.opened
        },
        run: () => void runs++,
      },
    })
    await system.start()
    const ref = { type: 'Busy', id: 'one' }
    const options = { deadlineMs: 60_000 }
    const blocking = system.call(ref, 'block', null, options)
    await within('the blocking turn', begun.opened)
    const extra = 50
    const calls = Array.from({ length: MAX_MAILBOX + extra }, () => system.call(ref, 'run', null, options))
    const all = Promise.allSettled(calls)
    await within(
      'the first refusal',
      Promise.any(
        calls.map((call) =>
          call.then(
            () => Promise.reject(new Error('ran')),
            () => null,
          ),
        ),
      ),
    )
    released.open()
    const outcomes = await within('all calls', all)
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected')
    for (const { reason } of refused) assertCode(reason, 'actor.busy', true)
    assert.equal(refused.length, extra, 'refused calls')
    assert.equal(runs, MAX_MAILBOX, 'turns run')
    await within('the blocking call', blocking)
  },
}
