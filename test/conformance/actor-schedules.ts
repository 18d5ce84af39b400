/** Cases of the actor system: timers and reminders. */
import assert from 'node:assert/strict'
import type { ActorDefinition, ActorRef, Json } from '../../runtime/actor-system/actor-system.js'
import type { ActorCases } from './actor-system.js'
import { assertCode, gate } from './within.js'

const one: ActorRef = { type: 'Clockwork', id: 'one' }
/** A pause after which a periodic timer of 200 ms must have fired again. */
const PAUSE_MS = 1_000

interface Schedule {
  name?: string
  method?: string
  afterMs: number
  everyMs?: number
  argument?: Json
}

/** An actor that sets what it is told and notes what fires. */
function clockwork(): { fired: Json[]; activations: () => number; definition: ActorDefinition } {
  const fired: Json[] = []
  let activations = 0
  const definition: ActorDefinition = {
    type: 'Clockwork',
    activate: () => void activations++,
    handlers: {
      timer: (context, _memory, { name = 't', method = 'fire', argument, ...when }: Schedule) =>
        context.setTimer(name, method, when, argument),
      reminder: (context, _memory, { name = 'r', method = 'fire', argument, ...when }: Schedule) =>
        context.setReminder(name, method, when, argument),
      clearTimer: (context, _memory, name) => context.clearTimer(name as string),
      clearReminder: (context, _memory, name) => context.clearReminder(name as string),
      fire: (_context, _memory, argument) => void fired.push(argument as Json),
      throwing: (_context, _memory, argument) => {
        fired.push(argument as Json)
        throw new Error('thrown on purpose')
      },
    },
  }
  return { fired, activations: () => activations, definition }
}

export const scheduleCases: ActorCases = {
  'a timer fires once, with its argument': async ({ system, within, advance, advanceUntil }) => {
    const { fired, definition } = clockwork()
    system.register(definition)
    await system.start()
    await within('set', system.call(one, 'timer', { afterMs: 200, argument: { tick: 1 } }))
    assert.deepEqual(fired, [])
    assert.ok(await advanceUntil(() => fired.length > 0), 'the timer did not fire')
    await advance(PAUSE_MS)
    assert.deepEqual(fired, [{ tick: 1 }])
  },

  'a periodic timer fires again and again until it is cleared': async ({ system, within, advance, advanceUntil }) => {
    const { fired, definition } = clockwork()
    system.register(definition)
    await system.start()
    await within('set', system.call(one, 'timer', { afterMs: 100, everyMs: 200 }))
    assert.ok(await advanceUntil(() => fired.length >= 3), `the timer fired ${fired.length} times`)
    await within('clear', system.call(one, 'clearTimer', 't'))
    const count = fired.length
    await advance(PAUSE_MS)
    assert.equal(fired.length, count, 'a cleared timer fired')
  },

  'setting a timer again replaces it': async ({ system, within, advance, advanceUntil }) => {
    const { fired, definition } = clockwork()
    system.register(definition)
    await system.start()
    await within('set', system.call(one, 'timer', { afterMs: 100, everyMs: 100, argument: 'old' }))
    await within('set another', system.call(one, 'timer', { name: 'u', afterMs: 100, argument: 'other' }))
    await within('set again', system.call(one, 'timer', { afterMs: 300, argument: 'new' }))
    const before = fired.filter((argument) => argument === 'old').length
    assert.ok(await advanceUntil(() => fired.includes('new')), 'the new timer did not fire')
    await advance(PAUSE_MS)
    assert.equal(fired.filter((argument) => argument === 'old').length, before, 'the replaced timer fired')
    assert.equal(fired.filter((argument) => argument === 'other').length, 1)
  },

  'a timer is lost on deactivation': async ({ system, within, advance }) => {
    const { fired, activations, definition } = clockwork()
    system.register(definition)
    await system.start()
    await within('set', system.call(one, 'timer', { afterMs: 500, everyMs: 200 }))
    await within('deactivation', system.deactivate(one))
    await advance(PAUSE_MS)
    assert.deepEqual([fired, activations()], [[], 1])
  },

  'timers and reminders wait for the turn under way': async ({ system, within, advance, advanceUntil }) => {
    const begun = gate()
    const released = gate()
    const { fired, definition } = clockwork()
    const block = async () => {
      begun.open()
      await released.opened
      fired.push('end of the turn')
    }
    system.register({ ...definition, handlers: { ...definition.handlers, block } })
    await system.start()
    await within('set', system.call(one, 'timer', { afterMs: 300, argument: 'timer' }))
    await within('set', system.call(one, 'reminder', { afterMs: 300, argument: 'reminder' }))
    const call = system.call(one, 'block', null, { deadlineMs: 60_000 })
    await within('the turn', begun.opened)
    await advance(PAUSE_MS)
    assert.deepEqual(fired, [], 'fired into a turn under way')
    released.open()
    await within('the call', call)
    assert.ok(await advanceUntil(() => fired.length === 3), `fired: ${fired.join(', ')}`)
    assert.equal(fired[0], 'end of the turn')
  },

  'a throwing timer ends neither the process, the actor nor the timer': async ({ system, within, advanceUntil }) => {
    const { fired, activations, definition } = clockwork()
    system.register(definition)
    await system.start()
    await within('set', system.call(one, 'timer', { method: 'throwing', afterMs: 100, everyMs: 100, argument: 'tick' }))
    assert.ok(await advanceUntil(() => fired.length >= 3), `the throwing timer fired ${fired.length} times`)
    await within('a call afterwards', system.call(one, 'fire', 'call'))
    assert.ok(fired.includes('call'))
    assert.equal(activations(), 1)
  },

  'a throwing reminder ends neither the process nor the actor': async ({ system, within, advanceUntil }) => {
    const { fired, definition } = clockwork()
    system.register(definition)
    await system.start()
    await within('set', system.call(one, 'reminder', { method: 'throwing', afterMs: 100, argument: 'tick' }))
    assert.ok(await advanceUntil(() => fired.length >= 1), 'the throwing reminder did not fire')
    await within('a call afterwards', system.call(one, 'fire', 'call'))
    assert.ok(fired.includes('call'))
  },

  'a timer or reminder for an undeclared handler or an impossible time is refused': async ({ rejection, system }) => {
    system.register(clockwork().definition)
    await system.start()
    for (const kind of ['timer', 'reminder']) {
      const refused = async (schedule: Schedule, code: 'usage' | 'actor.not-found') =>
        assertCode(await rejection(`${kind} ${JSON.stringify(schedule)}`, system.call(one, kind, { ...schedule })), code)
      await refused({ method: 'toString', afterMs: 1 }, 'actor.not-found')
      await refused({ afterMs: -1 }, 'usage')
      await refused({ afterMs: 1, everyMs: 0 }, 'usage')
      await refused({ afterMs: 2 ** 31 }, 'usage')
    }
  },

  'a reminder activates its actor and fires once, with its argument': async ({ system, within, advance, advanceUntil }) => {
    const { fired, activations, definition } = clockwork()
    system.register(definition)
    await system.start()
    await within('set', system.call(one, 'reminder', { afterMs: 300, argument: ['due'] }))
    await within('deactivation', system.deactivate(one))
    assert.ok(await advanceUntil(() => fired.length > 0), 'the reminder did not fire')
    await advance(PAUSE_MS)
    assert.deepEqual(fired, [['due']])
    assert.equal(activations(), 2)
  },

  'a periodic reminder fires until it is cleared': async ({ system, within, advance, advanceUntil }) => {
    const { fired, definition } = clockwork()
    system.register(definition)
    await system.start()
    await within('set', system.call(one, 'reminder', { name: 'a/b', afterMs: 200, everyMs: 200 }))
    assert.ok(await advanceUntil(() => fired.length >= 3), `the reminder fired ${fired.length} times`)
    await within('clear', system.call(one, 'clearReminder', 'a/b'))
    const count = fired.length
    await advance(PAUSE_MS)
    assert.equal(fired.length, count, 'a cleared reminder fired')
  },

  'setting a reminder again replaces it': async ({ system, within, advance, advanceUntil }) => {
    const { fired, definition } = clockwork()
    system.register(definition)
    await system.start()
    await within('set', system.call(one, 'reminder', { afterMs: 500, argument: 'old' }))
    await within('set again', system.call(one, 'reminder', { afterMs: 700, argument: 'new' }))
    assert.ok(await advanceUntil(() => fired.includes('new')), 'the new reminder did not fire')
    await advance(PAUSE_MS)
    assert.deepEqual(fired, ['new'])
  },

  'a reminder fires after a restart': async ({ system, restart, within, advance, advanceUntil }) => {
    const before = clockwork()
    system.register(before.definition)
    await system.start()
    await within('set', system.call(one, 'reminder', { afterMs: 2_000, argument: 'kept' }))
    await within('set', system.call({ ...one, id: 'ü/2' }, 'reminder', { name: 'a/b', afterMs: 2_000, argument: 'kept too' }))
    await within('set', system.call(one, 'reminder', { name: 'cleared', afterMs: 2_000, argument: 'cleared' }))
    await within('clear', system.call(one, 'clearReminder', 'cleared'))
    const again = await within('restart', restart())
    const after = clockwork()
    again.register(after.definition)
    await again.start()
    assert.ok(await advanceUntil(() => after.fired.length >= 2), `after the restart fired: ${JSON.stringify(after.fired)}`)
    await advance(PAUSE_MS)
    assert.deepEqual([before.fired, new Set(after.fired), after.fired.length], [[], new Set(['kept', 'kept too']), 2])
  },

  'a reminder that came due while the system was down fires after the restart': async ({
    system,
    restart,
    within,
    advance,
    advanceUntil,
  }) => {
    const before = clockwork()
    system.register(before.definition)
    await system.start()
    await within('set', system.call(one, 'reminder', { afterMs: 500, argument: 'late' }))
    await within('set', system.call(one, 'reminder', { name: 'often', afterMs: 500, everyMs: 400, argument: 'often' }))
    const again = await within('restart', restart())
    await advance(PAUSE_MS)
    const after = clockwork()
    again.register(after.definition)
    await again.start()
    assert.ok(await advanceUntil(() => after.fired.includes('late')), 'the late reminder did not fire')
    const often = () => after.fired.filter((argument) => argument === 'often').length
    assert.ok(await advanceUntil(() => often() >= 3), `the periodic reminder fired ${often()} times`)
    assert.equal(after.fired.filter((argument) => argument === 'late').length, 1)
  },

  'a reminder that has fired does not fire again after a restart': async ({ system, restart, within, advance, advanceUntil }) => {
    const before = clockwork()
    system.register(before.definition)
    await system.start()
    await within('set', system.call(one, 'reminder', { afterMs: 100, argument: 'once' }))
    assert.ok(await advanceUntil(() => before.fired.length === 1), 'the reminder did not fire')
    await advance(PAUSE_MS)
    const again = await within('restart', restart())
    const after = clockwork()
    again.register(after.definition)
    await again.start()
    await advance(PAUSE_MS)
    assert.deepEqual([before.fired, after.fired], [['once'], []])
  },
}
