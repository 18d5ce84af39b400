/** Whom control vouches for, as each control host sees it. */
import test, { type ExecutionContext } from 'ava'
import { clusterKeys, rotateControlKey } from '../../actors/control/cluster-keys.js'
import { claimName, releaseName } from '../../actors/control/host-registry.js'
import { LiveKey } from '../../actors/control/live-key.js'
import { TrustBook } from '../../actors/control/trust-book.js'
import { signTrust, encodeTrust, type TrustDescriptor } from '../../actors/trust/descriptor.js'
import { SwarmError } from '../../runtime/errors.js'
import { publicKeyText } from '../../runtime/identity.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { type FakeClock, fakeClock } from '../support/fake-clock.js'
import { publicKeyOf, seededIdentity } from '../support/identities.js'

/** As long as anything here takes: each look of a control host is one of this clock. */
const LONG_MS = 20_000
const KEY = 'control/trust/ann'

interface Control {
  readonly book: TrustBook
  readonly controlKey: LiveKey
  readonly refused: string[]
  readonly changes: () => number
}

async function controlHost(t: ExecutionContext, store: ObjectStore, clock: FakeClock): Promise<Control> {
  const controlKey = new LiveKey(store, clock, await clusterKeys(store))
  const refused: string[] = []
  let changes = 0
  const book = new TrustBook({ store, clock, controlKey, onRefused: (code) => refused.push(code), onChange: () => changes++ })
  const ending = new AbortController()
  t.teardown(() => ending.abort())
  await book.look()
  void book.watch(ending.signal, (error) => t.fail(String(error)))
  return { book, controlKey, refused, changes: () => changes }
}

async function cluster(t: ExecutionContext, store: ObjectStore = memoryStore()) {
  const clock = fakeClock()
  for (const name of ['ann', 'bob']) await claimName(store, { name, publicKey: '', identity: publicKeyOf(name), owner: '' })
  const [here, there] = [await controlHost(t, store, clock), await controlHost(t, store, clock)]
  return { store, clock, here, there }
}

test('who is vouched for is trusted at once here, within a second elsewhere, and no longer than was said', async (t) => {
  const { clock, here, there } = await cluster(t)
  t.false(here.book.isTrusted('ann'))
  const entry = await here.book.grant('ann', LONG_MS)
  t.like(entry, {
    host: 'ann',
    state: 'trusted',
    descriptor: { number: 1, host: 'ann', identity: publicKeyOf('ann'), untilMs: clock.now() + LONG_MS },
  })
  t.true(here.book.isTrusted('ann'))
  t.false(here.book.isTrusted('bob'))
  await clock.advance(1_000)
  t.true(there.book.isTrusted('ann'))
  t.deepEqual([here.changes(), there.changes()], [1, 1])
  await clock.advance(LONG_MS - 1_001)
  t.true(there.book.isTrusted('ann'))
  await clock.advance(1)
  for (const { book } of [here, there]) {
    t.false(book.isTrusted('ann'), 'to the millisecond')
    t.is(book.entries[0].state, 'expired')
  }
  await clock.advance(1_000)
  t.deepEqual([here.changes(), there.changes()], [2, 2])
  t.deepEqual([...here.refused, ...there.refused], [], 'an end that was wanted is no refusal')
})

test('a revocation counts at once where it was said, within a second everywhere, after a restart, and an older descriptor does not undo it', async (t) => {
  const { store, clock, here, there } = await cluster(t)
  await here.book.grant('ann', LONG_MS)
  const before = (await store.get(KEY)).bytes
  await clock.advance(1_000)
  t.like(await here.book.revoke('ann'), { state: 'revoked', descriptor: { number: 2 } })
  t.false(here.book.isTrusted('ann'))
  await clock.advance(1_000)
  t.false(there.book.isTrusted('ann'))
  t.deepEqual([here.changes(), there.changes()], [2, 2])
  t.false((await controlHost(t, store, clock)).book.isTrusted('ann'))
  await store.put(KEY, before)
  await clock.advance(1_000)
  t.deepEqual(
    [here, there].map(({ book, refused }) => [book.isTrusted('ann'), ...refused]),
    [
      [false, 'trust.replaced'],
      [false, 'trust.replaced'],
    ],
  )
  t.like(await there.book.grant('ann', LONG_MS), { state: 'trusted', descriptor: { number: 3 } })
  await clock.advance(1_000)
  t.true(here.book.isTrusted('ann'))
})

test('what was read before a revocation is not believed after it', async (t) => {
  const { store, clock, here } = await cluster(t)
  await here.book.grant('ann', LONG_MS)
  // A look has just read what is about to be taken back.
  const looking = here.book.look()
  const revoking = here.book.revoke('ann')
  await Promise.all([looking, revoking])
  t.false(here.book.isTrusted('ann'))
  await clock.advance(1_000)
  t.false(here.book.isTrusted('ann'))
  t.true((await store.get(KEY)).bytes.length > 0)
})

test('where the store is away nobody is trusted after a second: a revocation may be in it', async (t) => {
  const inner = memoryStore()
  let isAway = false
  const store: ObjectStore = {
    put: (key, bytes, options) => inner.put(key, bytes, options),
    delete: (key) => inner.delete(key),
    close: () => inner.close(),
    get: (key, options) => (isAway ? Promise.reject(away()) : inner.get(key, options)),
    async *list(prefix, options) {
      if (isAway) throw away()
      yield* inner.list(prefix, options)
    },
  }
  const { clock, here } = await cluster(t, store)
  await here.book.grant('ann', LONG_MS)
  await clock.advance(LONG_MS / 2)
  t.true(here.book.isTrusted('ann'))
  isAway = true
  await clock.advance(500)
  t.true(here.book.isTrusted('ann'), 'what was seen a moment ago counts')
  await clock.advance(500)
  t.false(here.book.isTrusted('ann'))
  await t.throwsAsync(here.book.refresh(), { code: 'store.unavailable' })
  isAway = false
  await here.book.refresh()
  t.true(here.book.isTrusted('ann'))
})

test('forged, damaged, newer, borrowed and moved descriptors are refused by code and counted once', async (t) => {
  const { store, clock, here, there } = await cluster(t)
  const control = here.controlKey
  const good: TrustDescriptor = {
    v: 1,
    number: 1,
    host: 'ann',
    identity: publicKeyOf('ann'),
    fromMs: clock.now(),
    untilMs: clock.now() + LONG_MS,
  }
  const bytesOf = (text: string) => new TextEncoder().encode(text)
  const cases: [code: string, bytes: Uint8Array][] = [
    ['trust.signature', encodeTrust(signTrust(good, seededIdentity('evil')))],
    ['trust.signature', encodeTrust({ ...signTrust(good, control), descriptor: { ...good, untilMs: good.untilMs + LONG_MS } })],
    ['trust.damaged', bytesOf('{')],
    ['trust.damaged', bytesOf(JSON.stringify({ descriptor: good }))],
    ['trust.version', bytesOf(JSON.stringify({ descriptor: { ...good, v: 2 }, signature: '', key: '' }))],
    ['trust.host', encodeTrust(signTrust({ ...good, host: 'bob', identity: publicKeyOf('bob') }, control))],
    ['trust.host', encodeTrust(signTrust({ ...good, identity: publicKeyOf('evil') }, control))],
  ]
  for (const [code, bytes] of cases) {
    await store.put(KEY, bytes)
    await clock.advance(1_000)
    t.false(here.book.isTrusted('ann'), code)
    t.like(here.book.entries[0], { host: 'ann', state: 'refused', why: { code } })
  }
  t.deepEqual(
    here.refused,
    cases.map(([code]) => code),
  )
  t.deepEqual(there.refused, here.refused)
  await store.put(KEY, cases[4][1])
  await t.throwsAsync(here.book.revoke('ann'), { code: 'trust.version' }, 'nobody writes over what a newer version says')
  await store.put(KEY, cases[2][1])
  t.is((await here.book.revoke('ann')).state, 'revoked')
})

test('trust is of a machine: another one that joins under its name has none', async (t) => {
  const { store, clock, here } = await cluster(t)
  await here.book.grant('ann', LONG_MS)
  await releaseName(store, 'ann')
  await clock.advance(250)
  t.false(here.book.isTrusted('ann'))
  await claimName(store, { name: 'ann', publicKey: '', identity: publicKeyOf('mallory'), owner: '' })
  await clock.advance(250)
  t.false(here.book.isTrusted('ann'))
  t.true(here.refused.includes('trust.host'))
  await t.throwsAsync(here.book.grant('nobody', LONG_MS), { code: 'host.unknown' })
  await t.throwsAsync(here.book.revoke('bob'), { code: 'host.unknown', message: /trust list/ })
})

test('trust outlives a change of the control key, but for one that may be in other hands', async (t) => {
  const { store, clock, here, there } = await cluster(t)
  await here.book.grant('ann', LONG_MS)
  await here.book.grant('bob', LONG_MS)
  await here.book.revoke('bob')
  const { key } = await rotateControlKey(store, clock, LONG_MS / 5)
  await here.controlKey.look()
  await clock.advance(1_000)
  t.true(new TextDecoder().decode((await store.get(KEY)).bytes).includes(key), 'signed anew')
  await clock.advance(LONG_MS / 4)
  await there.controlKey.look()
  t.true(here.book.isTrusted('ann'))
  t.true(there.book.isTrusted('ann'))
  t.is(publicKeyText(here.controlKey.publicKey), key)
  await rotateControlKey(store, clock, 0)
  await here.controlKey.look()
  await clock.advance(1_000)
  t.false(here.book.isTrusted('ann'))
  t.deepEqual(here.refused, ['trust.signature', 'trust.signature'])
})

const away = () => new SwarmError('store.unavailable', { what: 'away', retryable: true })
