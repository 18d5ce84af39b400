/** Cases of the actor system: activation, deactivation, registering, closing. */
import assert from 'node:assert/strict'
import type { ActorDefinition, ActorRef } from '../../runtime/actor-system/actor-system.js'
import { SwarmError } from '../../runtime/errors.js'
import type { ActorCases } from './actor-system.js'
import { assertCode, gate, yieldTurn } from './within.js'

const one: ActorRef = { type: 'Life', id: 'one' }

/** An actor that writes down what happens to it. */
function diary(overrides: Partial<ActorDefinition> = {}): { log: string[]; definition: ActorDefinition } {
  const log: string[] = []
  const definition: ActorDefinition = {
    type: 'Life',
    async activate() {
      log.push('activate')
      for (let pause = 0; pause < 3; pause++) await yieldTurn()
      log.push('active')
    },
    deactivate: () => void log.push('deactivate'),
    handlers: {
      note: (_context, _memory, argument) => void log.push(String(argument)),
      leave(context) {
        context.deactivate()
        log.push('leave')
      },
    },
    ...overrides,
  }
  return { log, definition }
}

export const lifeCases: ActorCases = {
  'an actor is activated once, and that has ended before its first call': async ({ system, within }) => {
    const { log, definition } = diary()
    system.register(definition)
    await system.start()
    await within('10 first calls', Promise.all(Array.from({ length: 10 }, (_, index) => system.call(one, 'note', index))))
    assert.deepEqual(log, ['activate', 'active', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
  },

  'the handlers get what activate gave, each id its own': async ({ system, within }) => {
    system.register({
      type: 'Counter',
      activate: () => ({ count: 0 }),
      handlers: { add: (_context, memory) => ++memory.count },
    })
    await system.start()
    const add = (id: string) => system.call({ type: 'Counter', id }, 'add')
    assert.deepEqual(await within('adds', Promise.all([add('a'), add('b'), add('a')])), [1, 1, 2])
  },

  'a throwing activation fails that call by code and leaves the actor inactive': async ({ rejection, system, within }) => {
    let attempts = 0
    const { log, definition } = diary({
      activate() {
        attempts++
        if (attempts === 1) throw new SwarmError('store.unavailable', { what: 'away', retryable: true })
        if (attempts === 2) throw new Error('on purpose')
      },
    })
    system.register(definition)
    await system.start()
    assertCode(await rejection('first', system.call(one, 'note', 1)), 'store.unavailable', true)
    assertCode(await rejection('second', system.call(one, 'note', 2)), 'actor.failed', false)
    await within('third', system.call(one, 'note', 3))
    assert.deepEqual([attempts, log], [3, ['3']])
  },

  'deactivation comes after what is queued, and the next call activates anew': async ({ system, within }) => {
    const { log, definition } = diary()
    system.register(definition)
    await system.start()
    const calls = [1, 2].map((value) => system.call(one, 'note', value))
    const gone = Promise.all(calls).then(() => system.deactivate(one))
    await within('deactivation', gone)
    assert.deepEqual(log, ['activate', 'active', '1', '2', 'deactivate'])
    await within('deactivation of an inactive actor', system.deactivate(one))
    await within('deactivation of one that never was', system.deactivate({ type: 'Life', id: 'never' }))
    await within('a call', system.call(one, 'note', 3))
    assert.deepEqual(log.slice(5), ['activate', 'active', '3'])
  },

  'an actor may ask for its own deactivation': async ({ system, within, advanceUntil }) => {
    const { log, definition } = diary()
    system.register(definition)
    await system.start()
    await within('leave', system.call(one, 'leave'))
    assert.ok(await advanceUntil(() => log.includes('deactivate')), `not deactivated: ${log.join(', ')}`)
    await within('a call', system.call(one, 'note', 1))
    assert.deepEqual(log, ['activate', 'active', 'leave', 'deactivate', 'activate', 'active', '1'])
  },

  'deactivation aborts the context’s signal, and deactivate may still write state': async ({ system, within }) => {
    let isAborted: boolean | undefined
    const { definition } = diary({
      async deactivate({ signal, state }) {
        isAborted = signal.aborted
        await state.set('last', 'word')
      },
      handlers: { isAborted: ({ signal }) => signal.aborted, last: async ({ state }) => (await state.get('last')) ?? null },
    })
    system.register(definition)
    await system.start()
    assert.equal(await within('isAborted', system.call(one, 'isAborted')), false)
    await within('deactivation', system.deactivate(one))
    assert.equal(isAborted, true)
    assert.equal(await within('last', system.call(one, 'last')), 'word')
  },

  'a throwing deactivate ends neither the process nor the actor': async ({ system, within }) => {
    const { log, definition } = diary({
      deactivate() {
        throw new Error('on purpose')
      },
    })
    system.register(definition)
    await system.start()
    await within('first', system.call(one, 'note', 1))
    await within('deactivation', system.deactivate(one))
    await within('second', system.call(one, 'note', 2))
    assert.deepEqual(log, ['activate', 'active', '1', 'activate', 'active', '2'])
  },

  'a type is registered once': async ({ system }) => {
    system.register(diary().definition)
    assert.throws(
      () => system.register(diary().definition),
      (error) => {
        assertCode(error, 'usage')
        return true
      },
    )
    await system.start()
  },

  'unregistering deactivates the actors of that type and no others': async ({ rejection, system, within }) => {
    const [left, stays] = [diary(), diary({ type: 'Life2' })]
    system.register(left.definition)
    system.register(stays.definition)
    await system.start()
    await within('calls', Promise.all([system.call(one, 'note', 1), system.call({ type: 'Life2', id: 'one' }, 'note', 1)]))
    await within('unregister', system.unregister('Life'))
    assert.deepEqual(left.log, ['activate', 'active', '1', 'deactivate'])
    assertCode(await rejection('a call afterwards', system.call(one, 'note', 2)), 'actor.not-found', false)
    await within('the other type', system.call({ type: 'Life2', id: 'one' }, 'note', 2))
    assert.deepEqual(stays.log, ['activate', 'active', '1', '2'])
    await within('unregister an unknown type', system.unregister('Nobody'))
  },

  'close waits for the turn under way, deactivates, and refuses what comes later': async ({ rejection, system, within }) => {
    const begun = gate()
    const released = gate()
    const { log, definition } = diary({
      handlers: {
        async work({ state }) {
          begun.open()
          await released.opened
          await state.set('done', true)
          log.push('done')
        },
      },
    })
    system.register(definition)
    await system.start()
    const call = system.call(one, 'work', null, { deadlineMs: 60_000 })
    await within('the turn', begun.opened)
    const closed = system.close().then(() => void log.push('closed'))
    const late = rejection('a call after close', system.call(one, 'work'))
    for (let pause = 0; pause < 3; pause++) await yieldTurn()
    released.open()
    await within('the call under way', call)
    await within('close', closed)
    assert.deepEqual(log, ['activate', 'active', 'done', 'deactivate', 'closed'])
    assertCode(await late, 'actor.closed')
    assertCode(await rejection('start after close', system.start()), 'actor.closed')
    await within('a second close', system.close())
  },

  'close tells a turn under way by its signal': async ({ system, within }) => {
    const begun = gate()
    const { definition } = diary({
      handlers: {
        untilAborted({ signal }) {
          begun.open()
          return new Promise((resolve) => signal.addEventListener('abort', () => resolve('aborted'), { once: true }))
        },
      },
    })
    system.register(definition)
    await system.start()
    const call = system.call(one, 'untilAborted', null, { deadlineMs: 60_000 })
    await within('the turn', begun.opened)
    const closed = system.close()
    assert.equal(await within('the call', call), 'aborted')
    await within('close', closed)
  },
}
