/** Cases of the actor system: errors, deadlines, aborts. */
import assert from 'node:assert/strict'
import type { ActorRef, ActorSystem } from '../../runtime/actor-system/actor-system.js'
import { SwarmError } from '../../runtime/errors.js'
import type { ActorCases } from './actor-system.js'
import { assertCode, gate } from './within.js'

const one = (type: string): ActorRef => ({ type, id: 'one' })

export const failureCases: ActorCases = {
  'a SwarmError reaches the caller with its code, message and retryable': async ({ rejection, system }) => {
    system.register({
      type: 'Errors',
      activate: () => null,
      handlers: {
        terminal: () => {
          throw new SwarmError('run.diverged', { what: 'the loss is not finite', where: 'step 7' })
        },
        retryable: async () => {
          throw new SwarmError('store.unavailable', { what: 'the store is away', retryable: true })
        },
      },
    })
    await system.start()
    const terminal = await rejection('terminal', system.call(one('Errors'), 'terminal'))
    assertCode(terminal, 'run.diverged', false)
    assert.equal((terminal as Error).message, 'the loss is not finite (step 7)')
    const retryable = await rejection('retryable', system.call(one('Errors'), 'retryable'))
    assertCode(retryable, 'store.unavailable', true)
    assert.equal((retryable as Error).message, 'the store is away')
  },

  'anything else thrown is actor.failed, terminal': async ({ rejection, system }) => {
    system.register({
      type: 'Throws',
      activate: () => null,
      handlers: {
        error: () => {
          throw new TypeError('no such thing')
        },
        nothing: () => Promise.reject(undefined),
        text: () => Promise.reject('just text'),
        cycle: () => {
          const self: { [key: string]: never } = {}
          return Object.assign(self, { self })
        },
      },
    })
    await system.start()
    for (const method of ['error', 'nothing', 'text', 'cycle']) {
      assertCode(await rejection(method, system.call(one('Throws'), method)), 'actor.failed', false)
    }
    const error = await rejection('error', system.call(one('Throws'), 'error'))
    assert.match((error as Error).message, /no such thing/)
  },

  'an actor goes on after an error, with its memory': async ({ rejection, system, within }) => {
    system.register({
      type: 'GoesOn',
      activate: () => ({ calls: 0 }),
      handlers: {
        fail(_context, memory) {
          memory.calls++
          throw new Error('on purpose')
        },
        count: (_context, memory) => ++memory.calls,
      },
    })
    await system.start()
    assertCode(await rejection('fail', system.call(one('GoesOn'), 'fail')), 'actor.failed')
    assert.equal(await within('count', system.call(one('GoesOn'), 'count')), 2)
  },

  'a call that takes longer than its deadline gets actor.timeout, and its turn goes on': async ({
    rejection,
    system,
    within,
    advanceUntil,
  }) => {
    const released = gate()
    let isDone = false
    system.register({
      type: 'Slow',
      activate: () => null,
      handlers: {
        async work() {
          await released.opened
          isDone = true
        },
        isDone: () => isDone,
      },
    })
    await system.start()
    const timeout = settling(system.call(one('Slow'), 'work', null, { deadlineMs: 200 }))
    await advanceUntil(timeout.isSettled, 1_000)
    assert.ok(timeout.isSettled(), 'the deadline of 200 ms passed unnoticed')
    assertCode(await rejection('work', timeout.promise), 'actor.timeout', true)
    const behind = system.call(one('Slow'), 'isDone', null, { deadlineMs: 60_000 })
    released.open()
    assert.equal(await within('the call behind', behind), true, 'the next turn began before the late one had ended')
  },

  'a call without a deadline of its own has the default one': async ({ rejection, system, advanceUntil }) => {
    const released = gate()
    system.register({ type: 'Hangs', activate: () => null, handlers: { work: () => released.opened } })
    await system.start()
    const timeout = settling(system.call(one('Hangs'), 'work'))
    await advanceUntil(timeout.isSettled, 4_000)
    assert.ok(timeout.isSettled(), 'the default deadline of 2 s passed unnoticed')
    assertCode(await rejection('work', timeout.promise), 'actor.timeout', true)
    released.open()
  },

  'a deadline out of range is refused': async ({ rejection, system }) => {
    system.register({ type: 'Range', activate: () => null, handlers: { work: () => null } })
    await system.start()
    for (const deadlineMs of [0, -1, Number.NaN, 600_001, Infinity]) {
      assertCode(await rejection(`deadline ${deadlineMs}`, system.call(one('Range'), 'work', null, { deadlineMs })), 'usage')
    }
  },

  'an aborted call is rejected, and the turn that has begun goes on': async ({ rejection, system, within }) => {
    const begun = gate()
    const released = gate()
    let ends = 0
    system.register({
      type: 'Abort',
      activate: () => null,
      handlers: {
        async work() {
          begun.open()
          await released.opened
          ends++
        },
        ends: () => ends,
      },
    })
    await system.start()
    const abort = new AbortController()
    const call = system.call(one('Abort'), 'work', null, { signal: abort.signal, deadlineMs: 60_000 })
    await within('the turn', begun.opened)
    abort.abort()
    assertCode(await rejection('work', call), 'aborted')
    assertCode(await rejection('work, aborted before', system.call(one('Abort'), 'work', null, { signal: abort.signal })), 'aborted')
    released.open()
    assert.equal(await within('ends', system.call(one('Abort'), 'ends')), 1)
  },

  'an actor may call another, and gets its errors by code': async ({ rejection, system, within }) => {
    system.register({
      type: 'Callee',
      activate: () => null,
      handlers: {
        add: (_context, _memory, argument) => (argument as number) + 1,
        fail: () => {
          throw new SwarmError('run.busy', { what: 'busy on purpose', retryable: true })
        },
      },
    })
    system.register({
      type: 'Caller',
      activate: () => null,
      handlers: {
        add: (context, _memory, argument) => context.call(one('Callee'), 'add', argument as number),
        fail: (context) => context.call(one('Callee'), 'fail'),
      },
    })
    await system.start()
    assert.equal(await within('add', system.call(one('Caller'), 'add', 41)), 42)
    assertCode(await rejection('fail', system.call(one('Caller'), 'fail')), 'run.busy', true)
  },

  'a cycle of calls waits for itself until a deadline breaks it': async ({ rejection, system, within, advanceUntil }) => {
    system.register({
      type: 'Cycle',
      activate: () => null,
      handlers: {
        there: (context) => context.call({ type: 'Cycle', id: `${context.ref.id}-other` }, 'back', context.ref.id, { deadlineMs: 2_000 }),
        back: (context, _memory, argument) => context.call({ type: 'Cycle', id: argument as string }, 'end', null, { deadlineMs: 200 }),
        end: () => 'never while there is under way',
      },
    })
    await system.start()
    const call = settling(system.call(one('Cycle'), 'there', null, { deadlineMs: 10_000 }))
    await advanceUntil(call.isSettled)
    assertCode(await rejection('the cycle', call.promise), 'actor.timeout', true)
    assert.equal(await within('a call afterwards', callEnd(system)), 'never while there is under way')
  },
}

function callEnd(system: ActorSystem): Promise<unknown> {
  return system.call(one('Cycle'), 'end')
}

/** A promise of which one can ask whether it has settled. */
function settling<T>(promise: Promise<T>): { readonly promise: Promise<T>; readonly isSettled: () => boolean } {
  let isSettled = false
  const settle = () => {
    isSettled = true
  }
  promise.then(settle, settle)
  return { promise, isSettled: () => isSettled }
}
