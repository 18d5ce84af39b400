/** A ledger goes on when control has another key: each signs that the next one follows. */
import test from 'ava'
import { rotateControlKey, clusterKeys } from '../../actors/control/cluster-keys.js'
import { LiveKey } from '../../actors/control/live-key.js'
import type { LedgerKey } from '../../actors/trust/ledger-key.js'
import { readLedger, type ReadLedgerOptions } from '../../actors/trust/ledger-reader.js'
import { isSwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { fakeClock } from '../support/fake-clock.js'
import { followed, ledgerKey, openLedger, work } from '../support/ledgers.js'

const [first, stranger] = [ledgerKey(1), ledgerKey(99)]
const second = followed(first, ledgerKey(2))
const third = followed(second, ledgerKey(3))
const NEWER = { code: 'ledger.key', message: /signed by a newer key/ }
const OTHER = { code: 'ledger.key', message: /signed by another key/ }

const booked = (store: ObjectStore, key: LedgerKey, cut: number) => openLedger({ store, key }).append([work({ cut })])
const read = (options: ReadLedgerOptions) =>
  Promise.all((['chain', 'signatures'] as const).map((checks) => readLedger({ ...options, checks }))).then(([report]) => report)

test('entries of both keys are one ledger, which either key verifies and no other', async (t) => {
  const store = memoryStore()
  await booked(store, first, 1)
  await booked(store, second, 2)
  await booked(store, second, 3)
  const { count, unsealed, books, keys } = await read({ store })
  t.deepEqual([count, unsealed, books.balances()[0].steps], [4, 0, 30], 'an entry for the change')
  t.deepEqual(
    keys.map((key) => [first, second].findIndex(({ publicKey }) => publicKey.equals(key))),
    [0, 1],
  )
  for (const { publicKey } of [first, second]) t.is((await read({ store, publicKey })).count, 4)
  for (const { publicKey } of [third, stranger]) await t.throwsAsync(read({ store, publicKey }), OTHER)
})

test('changes between which nothing was booked are one', async (t) => {
  const store = memoryStore()
  await booked(store, first, 1)
  await booked(store, third, 2)
  const { count, keys } = await read({ store })
  t.is(count, 3)
  t.deepEqual(
    keys.map((key) => [first, second, third].findIndex(({ publicKey }) => publicKey.equals(key))),
    [0, 2],
  )
})

test('a ledger that nothing was booked in yet, and one that begins with the second key', async (t) => {
  const store = memoryStore()
  await openLedger({ store, key: first }).append([])
  await booked(store, second, 1)
  t.is((await read({ store })).count, 2)
  const other = memoryStore()
  await booked(other, second, 1)
  t.is((await read({ store: other, publicKey: second.publicKey })).count, 1)
  await t.throwsAsync(read({ store: other, publicKey: first.publicKey }), OTHER)
})

test('whoever still has the key before writes nothing more, until it has the new one', async (t) => {
  const store = memoryStore()
  const key = { ...first } as { -readonly [part in keyof LedgerKey]: LedgerKey[part] }
  const late = openLedger({ store, key })
  await late.append([work()])
  await booked(store, second, 2)
  const error = await t.throwsAsync(late.append([work({ cut: 3 })]), NEWER)
  t.true(isSwarmError(error) && error.retryable)
  t.is((await read({ store })).count, 3)
  Object.assign(key, second)
  await late.append([work({ cut: 3 })])
  const { count, books } = await read({ store })
  t.deepEqual([count, books.balances()[0].steps], [4, 30])
})

test('who has no word of the key before adds nothing', async (t) => {
  const store = memoryStore()
  await booked(store, first, 1)
  const words = [undefined, followed(stranger, ledgerKey(2)).history, [...followed(first, stranger).history!], [{ message: 1 }] as never]
  for (const history of words) {
    const error = await t.throwsAsync(booked(store, { ...ledgerKey(2), history }, 2), OTHER)
    t.true(isSwarmError(error) && !error.retryable)
  }
  t.is((await read({ store, publicKey: first.publicKey })).count, 1)
})

test('the key is changed while something is being booked: before, between and behind all writes', async (t) => {
  for (let change = 0; change <= 6; change++) {
    const inner = memoryStore()
    const key = { ...first } as { -readonly [part in keyof LedgerKey]: LedgerKey[part] }
    let calls = 0
    const look = () => {
      if (calls++ === change) Object.assign(key, second)
    }
    const store: ObjectStore = {
      ...inner,
      list: (...args) => inner.list(...args),
      get: (...args) => inner.get(...args).finally(look),
      put: (...args) => inner.put(...args).finally(look),
    }
    const ledger = openLedger({ store, key })
    for (const cut of [1, 2, 3]) await ledger.append([work({ cut })])
    const { books, keys, unsealed } = await read({ store: inner })
    t.deepEqual([books.balances()[0].steps, unsealed], [30, 0], `behind call ${change}`)
    t.true(keys.at(-1)!.equals(second.publicKey))
  }
})

test('as a cluster changes it: any number of times, long before the next booking', async (t) => {
  const [store, clock] = [memoryStore(), fakeClock()]
  const live = new LiveKey(store, clock, await clusterKeys(store))
  const { publicKey } = live
  const ledger = openLedger({ store, key: live })
  await ledger.append([work()])
  for (let times = 0; times < 6; times++) {
    await rotateControlKey(store, clock, 0)
    await clock.advance(30 * 24 * 3_600_000)
  }
  await live.look()
  await ledger.append([work({ cut: 2 })])
  const { count, keys } = await read({ store, publicKey })
  t.is(count, 3)
  t.true(keys.at(-1)!.equals(live.publicKey))
})
