/** Who writes a ledger: once, whatever is repeated, ended in the middle, or done by two at a time. */
import test from 'ava'
import * as fc from 'fast-check'
import { MAX_BOOKINGS } from '../../actors/trust/ledger.js'
import type { Booking } from '../../actors/trust/ledger-books.js'
import { readLedger } from '../../actors/trust/ledger-reader.js'
import { SwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { forfeit, openLedger, work } from '../support/ledgers.js'

const verified = (store: ObjectStore) => readLedger({ store, checks: 'signatures' })

test('work adds up by host and owner, and a cut costs two writes whatever it has of VNodes', async (t) => {
  const inner = memoryStore()
  const puts: string[] = []
  const store: ObjectStore = {
    ...bound(inner),
    put: (key, bytes, options) => {
      puts.push(key)
      return inner.put(key, bytes, options)
    },
  }
  const ledger = openLedger({ store })
  await ledger.append([work()])
  t.deepEqual(puts.splice(0), ['ledger/head', 'ledger/pages/00000001', 'ledger/head'], 'the first time there is no head yet')
  const cut = Array.from({ length: 200 }, (_, index) => work({ vnode: `v${index}`, host: index % 2 ? 'bob' : 'cyd', owner: 'Bob', cut: 2 }))
  const { entries, repeated } = await ledger.append(cut)
  t.deepEqual([entries.length, repeated, entries[199].number], [200, 0, 201])
  t.deepEqual(puts.splice(0), ['ledger/pages/00000001', 'ledger/head'])
  t.deepEqual(await ledger.balances(), [
    { host: 'ann', owner: 'Ann', steps: 10, earned: 2_500_000, forfeited: 0 },
    { host: 'bob', owner: 'Bob', steps: 1000, earned: 250_000_000, forfeited: 0 },
    { host: 'cyd', owner: 'Bob', steps: 1000, earned: 250_000_000, forfeited: 0 },
  ])
  t.is(await ledger.bookedThrough('r1', 1, 'v7'), 20)
  t.is(await ledger.bookedThrough('r1', 2, 'v7'), 0)
  t.deepEqual(ledger.counters, { entries: 201, repeated: 0, failed: 0, conflicts: 0 })
})

test('calls that come meanwhile are written together, and one that is wrong harms none of them', async (t) => {
  const inner = memoryStore()
  let puts = 0
  const ledger = openLedger({ store: { ...bound(inner), put: (...words) => (puts++, inner.put(...words)) } })
  await ledger.append([])
  puts = 0
  const wrong: readonly (readonly [Booking, RegExp])[] = [
    [work({ firstStep: 5, lastStep: 12 }), /steps of dense-1 that are booked already \(r1\): expected steps after 10, got 5/],
    [work({ vnode: 'w', lastStep: 0 }), /1 ≤ first ≤ last/],
    [work({ vnode: 'w', multiplyAdds: Number.NaN }), /points of an entry|multiply-adds/],
    [work({ vnode: 'w', multiplyAdds: 2 ** 60 }), /multiply-adds of an entry: expected an integer/],
    [work({ vnode: 'w', host: '' }), /host of an entry/],
    [work({ vnode: 'w', owner: 'x'.repeat(101) }), /owner of an entry: expected a text of up to 100/],
    [forfeit({ micropoints: -1 }), /points of an entry: expected an integer ≥ 0/],
    [{ ...work({ vnode: 'w' }), kind: 'gift' } as never, /unknown kind/],
  ]
  const good = ledger.append([work()])
  const bad = wrong.map(([booking]) => ledger.append([work({ vnode: 'beside' }), booking]))
  const after = ledger.append([work({ vnode: 'other' })])
  await Promise.allSettled(bad)
  for (const [index, [, message]] of wrong.entries()) await t.throwsAsync(bad[index], { code: 'ledger.invalid', message })
  t.is((await good).entries.length + (await after).entries.length, 2)
  t.is(puts, 2)
  t.is(ledger.counters.failed, 2 * wrong.length)
  t.is((await verified(inner)).count, 2)
  t.is(await ledger.bookedThrough('r1', 1, 'beside'), 0, 'all of a call or nothing')
  const many = Array.from({ length: MAX_BOOKINGS + 1 }, (_, index) => work({ vnode: `v${index}` }))
  await t.throwsAsync(ledger.append(many), { code: 'ledger.invalid', message: /at most 10000, got 10001/ })
})

test('what is repeated is booked once, whoever repeats it and whatever else it says', async (t) => {
  const store = memoryStore()
  const ledger = openLedger({ store })
  await ledger.append([work({ cut: 2 })])
  t.like(await ledger.append([work({ cut: 2 }), work({ cut: 1 }), work({ cut: 2, host: 'bob' })]), { entries: [], repeated: 3 })
  const next = openLedger({ store })
  t.is((await next.append([work({ cut: 2 }), work({ cut: 3 }), work({ cut: 3 })])).repeated, 2)
  t.is(
    (await next.append([work({ cut: 2, generation: 2 }), work({ cut: 2, run: 'r2' }), work({ cut: 2, vnode: 'dense-1~1' })])).entries
      .length,
    3,
  )
  t.is((await verified(store)).count, 5)
})

test('a host forfeits what it has and never more, once for each piece of evidence; others lose nothing', async (t) => {
  const store = memoryStore()
  const ledger = openLedger({ store })
  await ledger.append([work(), work({ vnode: 'dense-2', host: 'bob', owner: 'Bob' })])
  const evidence = (index: number) => `runs/r1/audits/${index}`
  const taken = await ledger.append([
    forfeit({ micropoints: 1_000_000 }),
    forfeit({ micropoints: 'all', evidence: evidence(2) }),
    forfeit({ micropoints: 5, evidence: evidence(3) }),
    forfeit({ micropoints: 'all', evidence: evidence(2) }),
    forfeit({ host: 'eve', owner: 'Eve' }),
  ])
  t.deepEqual(
    taken.entries.map(({ micropoints }) => micropoints),
    [1_000_000, 1_500_000, 0, 0],
  )
  t.is(taken.repeated, 1)
  // In the generation after, the same steps are computed again, and booked again.
  await ledger.append([work({ generation: 2 }), forfeit({ micropoints: 'all', evidence: evidence(2) })])
  t.deepEqual(
    (await ledger.balances()).map(({ host, earned, forfeited }) => [host, earned, forfeited]),
    [
      ['ann', 5_000_000, 2_500_000],
      ['bob', 2_500_000, 0],
      ['eve', 0, 0],
    ],
  )
  const sums = (await verified(store)).books.balances()
  t.deepEqual(sums, await ledger.balances())
})

test('writers that append at the same time never fork the ledger, and each entry is there once', async (t) => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const inner = memoryStore()
    const random = fc.sample(fc.nat(6), { seed, numRuns: 4000 })
    // Each call takes some turns of the event loop, so that they cross.
    const wait = async () => {
      for (let turns = random.pop() ?? 0; turns > 0; turns--) await Promise.resolve()
    }
    const slow: ObjectStore = {
      ...bound(inner),
      get: async (...words) => (await wait(), inner.get(...words)),
      put: async (...words) => (await wait(), inner.put(...words)),
    }
    const writers = [0, 1, 2, 3].map(() => openLedger({ store: slow, pageBytes: 2000 }))
    const bookings = Array.from({ length: 12 }, (_, cut) => [0, 1, 2].map((vnode) => work({ vnode: `v${vnode}`, cut: cut + 1 })))
    // Two of the writers do the same: an owner that was taken over and does not know it yet.
    const same = bookings.map((cut) => cut.map((booking) => ({ ...booking, run: 'both' })))
    await Promise.all(
      writers.map(async (writer, index) => {
        for (const cut of index < 2 ? same : bookings.map((own) => own.map((booking) => ({ ...booking, run: `r${index}` }))))
          await writer.append(cut)
      }),
    )
    const { count, unsealed } = await verified(inner)
    t.deepEqual([count, unsealed], [3 * 36, 0], `seed ${seed}`)
    t.true(writers.some(({ counters }) => counters.conflicts > 0))
    t.is(
      writers.reduce((sum, { counters }) => sum + counters.entries, 0),
      3 * 36,
    )
  }
})

test('a writer that comes late with its head does not move it back', async (t) => {
  const inner = memoryStore()
  const other = openLedger({ store: inner })
  await other.append([work()])
  let isLate = true
  const store: ObjectStore = {
    ...bound(inner),
    async put(key, ...words) {
      if (key === 'ledger/head' && isLate) {
        isLate = false
        await other.append([work({ cut: 3 })])
      }
      return inner.put(key, ...words)
    },
  }
  const late = openLedger({ store })
  await late.append([work({ cut: 2 })])
  t.false(isLate)
  t.deepEqual([late.counters.conflicts, (await verified(inner)).unsealed], [1, 0])
  await late.append([work({ cut: 4 })])
  t.is((await verified(inner)).count, 4)
})

test('ended at any write, before or behind it: the next one goes on, nothing is lost, nothing is there twice', async (t) => {
  const cuts = [1, 2, 3, 4].map((cut) => [
    work({ cut }),
    work({ cut, vnode: 'dense-2', host: 'bob', owner: 'Bob' }),
    forfeit({ micropoints: 7, evidence: `e${cut}` }),
  ])
  let unsealed = 0
  for (const isDone of [false, true]) {
    for (let last = 1; last <= 9; last++) {
      const inner = memoryStore()
      let puts = 0
      const dead = () => new SwarmError('store.unavailable', { what: 'the process has ended', retryable: true })
      const store: ObjectStore = {
        ...bound(inner),
        async put(...words) {
          if (++puts > last) throw dead()
          if (puts < last) return inner.put(...words)
          if (isDone) await inner.put(...words)
          throw dead()
        },
      }
      const mortal = openLedger({ store, pageBytes: 1500 })
      for (const cut of cuts) await mortal.append(cut).catch((error: unknown) => t.is((error as SwarmError).code, 'store.unavailable'))
      const left = await verified(inner)
      unsealed += left.unsealed
      const heir = openLedger({ store: inner, pageBytes: 1500 })
      for (const cut of cuts) await heir.append(cut)
      const { count, unsealed: open } = await verified(inner)
      t.deepEqual([count, open], [12, 0], `ended at write ${last}, ${isDone ? 'behind' : 'before'} it`)
      t.deepEqual(
        (await heir.balances()).map(({ earned }) => earned),
        [10_000_000, 10_000_000],
      )
    }
  }
  t.true(unsealed > 0, 'some were ended between page and head')
})

test('a store that fails for a while costs calls, not entries: the same ledger goes on', async (t) => {
  const inner = memoryStore()
  let calls = 0
  // Every third call fails, half of the puts after they were done.
  const shake = async <T>(work: () => Promise<T>): Promise<T> => {
    const turn = ++calls % 6
    if (turn === 5) await work()
    if (turn === 2 || turn === 5) throw new SwarmError('store.unavailable', { what: 'not now', retryable: true })
    return work()
  }
  const store: ObjectStore = {
    ...bound(inner),
    get: (...words) => shake(() => inner.get(...words)),
    put: (...words) => shake(() => inner.put(...words)),
  }
  const ledger = openLedger({ store, pageBytes: 1000 })
  for (let cut = 1; cut <= 20; cut++) {
    for (let attempt = 1; ; attempt++) {
      const isBooked = await ledger.append([work({ cut })]).then(
        () => true,
        (error: SwarmError) => {
          if (error.code !== 'store.unavailable') throw error
          return false
        },
      )
      if (isBooked) break
      t.true(attempt < 9)
    }
  }
  t.true(ledger.counters.failed > 0)
  t.is((await verified(inner)).count, 20)
})

test('to what is damaged nothing is added, and once it is restored the same ledger goes on', async (t) => {
  const store = memoryStore()
  const ledger = openLedger({ store })
  for (let cut = 1; cut <= 3; cut++) await ledger.append([work({ cut })])
  const key = 'ledger/pages/00000001'
  const whole = await store.get(key)
  await store.delete(key)
  for (const writer of [ledger, openLedger({ store })]) {
    await t.throwsAsync(writer.append([work({ cut: 4 })]), { code: 'ledger.cut', message: /Restore ledger\/ from a backup/ })
    t.is(writer.counters.failed, 1)
    await t.throwsAsync(writer.balances(), { code: 'ledger.cut' })
  }
  await store.put(key, whole.bytes)
  t.is((await ledger.append([work({ cut: 4 })])).entries.length, 1)
  t.is((await verified(store)).count, 4)
})

test('a writer sees what has changed of what it knew', async (t) => {
  const store = memoryStore()
  const ledger = openLedger({ store })
  await ledger.append([work()])
  const [page, head] = [await store.get('ledger/pages/00000001'), await store.get('ledger/head')]
  await store.put('ledger/pages/00000001', Buffer.from(Buffer.from(page.bytes).toString().replace('Ann', 'Eve')))
  await t.throwsAsync(ledger.append([work({ cut: 2 })]), { code: 'ledger.edited', message: /a page has changed that can only grow/ })
  await store.put('ledger/pages/00000001', page.bytes)
  await ledger.append([work({ cut: 2 })])
  await store.put('ledger/head', head.bytes)
  await t.throwsAsync(ledger.balances(), { code: 'ledger.cut', message: /the head of the ledger went back/ })
})

/** A store's calls, to be changed one by one. */
function bound(store: ObjectStore): ObjectStore {
  return {
    get: (...words) => store.get(...words),
    put: (...words) => store.put(...words),
    delete: (...words) => store.delete(...words),
    list: (...words) => store.list(...words),
    close: () => store.close(),
  }
}
