/** Cases of the actor system: durable state. */
import assert from 'node:assert/strict'
import type { ActorDefinition, Json } from '../../runtime/actor-system/actor-system.js'
import type { ActorCases } from './actor-system.js'

/** Keys that a careless encoding confuses. */
const KEYS = ['plain', 'a/b', 'a_2Fb', 'a%2Fb', '.', '..', 'ü', '😀', 'a b', '__proto__', 'constructor', 'plain.json']
const ref = { type: 'Keeper', id: 'a/b ü' }

/** An actor that is a map. */
const keeper: ActorDefinition = {
  type: 'Keeper',
  activate: () => null,
  handlers: {
    get: async ({ state }, _memory, key) => (await state.get(key as string)) ?? 'absent',
    set: ({ state }, _memory, { key, value }: { key: string; value: Json }) => state.set(key, value),
    delete: ({ state }, _memory, key) => state.delete(key as string),
    async race({ state }) {
      const writes = [state.set('x', 1), state.set('x', 2), state.delete('y'), state.set('y', 3), state.set('x', 4)]
      const read = state.get('x')
      writes.push(state.set('x', 5))
      await Promise.all(writes)
      return (await read) ?? null
    },
    async mutate({ state }) {
      const value = { list: [1] }
      const write = state.set('copied', value)
      value.list.push(2)
      await write
      const got = (await state.get<{ list: number[] }>('copied'))!
      got.list.push(3)
      return (await state.get('copied')) ?? null
    },
  },
}

export const stateCases: ActorCases = {
  'state is read back as written, under any key, and absent keys are undefined': async ({ system, within }) => {
    system.register(keeper)
    await system.start()
    for (const key of KEYS) {
      assert.equal(await within(`get ${key}`, system.call(ref, 'get', key)), 'absent', key)
      await within(`set ${key}`, system.call(ref, 'set', { key, value: { key, list: [null, 1.5, ''] } }))
    }
    for (const key of KEYS) assert.deepEqual(await within(`get ${key}`, system.call(ref, 'get', key)), { key, list: [null, 1.5, ''] })
    await within('delete', system.call(ref, 'delete', 'plain'))
    await within('delete again', system.call(ref, 'delete', 'plain'))
    assert.equal(await within('get', system.call(ref, 'get', 'plain')), 'absent')
  },

  'state survives deactivation': async ({ system, within }) => {
    system.register(keeper)
    await system.start()
    for (const key of KEYS) await within('set', system.call(ref, 'set', { key, value: `value of ${key}` }))
    await within('delete', system.call(ref, 'delete', 'ü'))
    await within('deactivation', system.deactivate(ref))
    for (const key of KEYS) {
      assert.equal(await within('get', system.call(ref, 'get', key)), key === 'ü' ? 'absent' : `value of ${key}`, key)
    }
  },

  'state survives a restart of the system': async ({ system, restart, within }) => {
    system.register(keeper)
    await system.start()
    await within('set', system.call(ref, 'set', { key: 'step', value: 17 }))
    await within('set', system.call({ ...ref, id: 'other' }, 'set', { key: 'step', value: 18 }))
    await within('set', system.call(ref, 'set', { key: 'gone', value: 1 }))
    await within('delete', system.call(ref, 'delete', 'gone'))
    const again = await within('restart', restart())
    again.register(keeper)
    await again.start()
    assert.equal(await within('get', again.call(ref, 'get', 'step')), 17)
    assert.equal(await within('get', again.call({ ...ref, id: 'other' }, 'get', 'step')), 18)
    assert.equal(await within('get', again.call(ref, 'get', 'gone')), 'absent')
  },

  'operations on state take effect in the order called': async ({ system, restart, within }) => {
    system.register(keeper)
    await system.start()
    assert.equal(await within('race', system.call(ref, 'race')), 4)
    assert.equal(await within('get', system.call(ref, 'get', 'x')), 5)
    const again = await within('restart', restart())
    again.register(keeper)
    await again.start()
    assert.equal(await within('get', again.call(ref, 'get', 'x')), 5)
    assert.equal(await within('get', again.call(ref, 'get', 'y')), 3)
  },

  'state is copied, never shared': async ({ system, within }) => {
    system.register(keeper)
    await system.start()
    assert.deepEqual(await within('mutate', system.call(ref, 'mutate')), { list: [1] })
  },
}
