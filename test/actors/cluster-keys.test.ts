import test from 'ava'
import { cluster } from '../../actors/cluster.js'
import { controlSignatures } from '../../actors/control/control-actors.js'
import { adminToken, clusterKeys, controlKeyOf, holderOf, hostToken, rotateControlKey } from '../../actors/control/cluster-keys.js'
import { LiveKey } from '../../actors/control/live-key.js'
import { train } from '../../actors/train.js'
import { systemClock } from '../../runtime/clock.js'
import { MAX_SUCCESSIONS, signSuccession, TrustedKeys } from '../../runtime/control-keys.js'
import { acceptGrant, type ControlKey, createControlKey, type Grant, GRANT_VERSION, signGrant, verifyGrant } from '../../runtime/grant.js'
import { publicKeyText } from '../../runtime/identity.js'
import { keySigner, Sender, type SignedMessage } from '../../runtime/signed-message.js'
import { fakeClock } from '../support/fake-clock.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { slowBranching, TRAINING } from '../support/small-runs.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'

const bytesOf = (value: string) => new TextEncoder().encode(value)

test('a cluster has one set of keys, whoever asks first', async (t) => {
  const store = memoryStore()
  const all = await Promise.all([clusterKeys(store), clusterKeys(store), clusterKeys(store)])
  for (const keys of all) t.deepEqual(keys, all[0])
  t.deepEqual(await clusterKeys(store), all[0])
  const others = await clusterKeys(memoryStore())
  for (const name of ['controlKey', 'trainerToken', 'joinToken', 'hostSecret'] as const) t.not(others[name], all[0][name])
  t.not(all[0].trainerToken, all[0].joinToken)
})

test('a token says who shows it, and nothing else passes for one', async (t) => {
  const keys = await clusterKeys(memoryStore())
  t.deepEqual(holderOf(keys, keys.trainerToken), { role: 'trainer' })
  t.deepEqual(holderOf(keys, keys.joinToken), { role: 'newcomer' })
  t.deepEqual(holderOf(keys, adminToken(keys)), { role: 'admin' })
  t.deepEqual(holderOf(keys, hostToken(keys, 'ann')), { role: 'host', host: 'ann' })
  const [, , proof] = hostToken(keys, 'ann').split('.')
  const others = await clusterKeys(memoryStore())
  const wrong = [
    undefined,
    '',
    'host',
    'host.',
    'host.ann',
    'host.ann.',
    `host.bob.${proof}`,
    `${keys.trainerToken}x`,
    keys.trainerToken.slice(1),
    'admin',
    'admin.',
    `admin.${proof}`,
  ]
  for (const token of [...wrong, hostToken(others, 'ann'), others.trainerToken, adminToken(others), keys.hostSecret]) {
    t.throws(() => holderOf(keys, token), { code: 'cluster.token' }, token)
  }
  t.throws(() => holderOf(keys, undefined), { message: /asks for a token\. Set SWARMGRAD_TOKEN/ })
  t.throws(() => holderOf(keys, 'guessed'), { message: /not one of this cluster/ })
})

test('the control key of a cluster signs what its hosts accept, from one start to the next', async (t) => {
  const store = memoryStore()
  const grant: Grant = { v: GRANT_VERSION, run: 'r', generation: 1, vnode: 'a', term: 1, pnode: 'ann', inputs: [], outputs: [] }
  const signed = signGrant(grant, controlKeyOf(await clusterKeys(store)))
  t.deepEqual(verifyGrant(signed, controlKeyOf(await clusterKeys(store)).publicKey), grant)
  const others = controlKeyOf(await clusterKeys(memoryStore()))
  t.throws(() => verifyGrant(signed, others.publicKey), { code: 'grant.refused' })
})

test('control gets another key; the one before is accepted until its time is over, and no more than a few at once', async (t) => {
  const store = memoryStore()
  const clock = fakeClock()
  await store.put('control/keys', bytesOf(JSON.stringify({ ...(await clusterKeys(memoryStore())), v: 1, former: undefined })))
  const first = await clusterKeys(store)
  t.deepEqual(first.former, [], 'keys of version 1 have no former ones')
  const live = new LiveKey(store, clock, first)
  const trusted = new TrustedKeys(live.accepted, clock)
  const parts = { clock, controlKey: live, secret: new Uint8Array(32), hostKeys: async () => undefined, onRefused: () => undefined }
  const { sender } = controlSignatures(parts)
  const signed = () => sender.sign({ to: 'a', purpose: 'b', body: null })
  const old = signed()
  const { former, key } = await rotateControlKey(store, clock, 10_000)
  t.is(old.key, former)
  await live.look()
  const next = signed()
  t.is(next.key, key)
  t.is(next.successions?.length, 1)
  t.notThrows(() => trusted.assertSigned(old))
  t.throws(() => trusted.assertSigned({ ...next, successions: [] }), {
    code: 'message.signature',
    message: /not control’s.*joins/,
  } as never)
  trusted.assertSigned(next)
  t.deepEqual(trusted.names, [former, key])
  trusted.assertSigned(old)
  const grant: Grant = { v: GRANT_VERSION, run: 'r', generation: 1, vnode: 'a', term: 1, pnode: 'ann', inputs: [], outputs: [] }
  t.deepEqual(acceptGrant(signGrant(grant, live), trusted), grant)
  t.throws(() => acceptGrant({ ...signGrant(grant, live), key: 'x' }, trusted), { code: 'grant.refused' } as never)
  await clock.advance(10_000)
  t.throws(() => trusted.assertSigned(old), { code: 'message.signature' } as never)
  t.deepEqual(live.accepted, [{ key }])
  t.is(signed().successions?.length, 1, 'who has not heard of it trusts the old one still')
  // Nothing but the rest is as it was.
  const { trainerToken, joinToken, hostSecret, broker } = await clusterKeys(store)
  t.deepEqual(
    { trainerToken, joinToken, hostSecret, broker },
    { trainerToken: first.trainerToken, joinToken: first.joinToken, hostSecret: first.hostSecret, broker: first.broker },
  )
  for (let i = 0; i < MAX_SUCCESSIONS; i++) await rotateControlKey(store, clock, 60_000)
  await live.look()
  t.notThrows(() => trusted.assertSigned(signed()), 'who has slept through some of them has the chain')
  t.is(trusted.names.length, MAX_SUCCESSIONS + 1)
  await t.throwsAsync(rotateControlKey(store, clock, 60_000), {
    code: 'usage',
    message: /4 former keys are still accepted.*Wait until/,
  } as never)
  await clock.advance(60_000)
  await rotateControlKey(store, clock, 0)
  await live.look()
  t.is(live.accepted.length, 1, 'one that may be in other hands is accepted no more')
  t.notThrows(() => trusted.assertSigned(signed()), 'and hosts learn that from the next message')
  t.is(trusted.names.length, 1)
  await clock.advance(8 * 24 * 3_600_000)
  t.is(signed().successions, undefined)
})

test('no key follows on another that has not signed it', async (t) => {
  const clock = fakeClock()
  const [own, next, evil] = [createControlKey(), createControlKey(), createControlKey()]
  const name = ({ publicKey }: ControlKey) => publicKeyText(publicKey)
  const trusted = new TrustedKeys([{ key: name(own) }], clock)
  const untilMs = clock.now() + 1_000
  const good = signSuccession(own, next.publicKey, untilMs, clock)
  const wrong = [
    signSuccession(evil, evil.publicKey, untilMs, clock),
    {
      ...signSuccession(evil, evil.publicKey, untilMs, clock),
      message: { ...signSuccession(evil, evil.publicKey, untilMs, clock).message, incarnation: name(own) },
    },
    { ...good, message: { ...good.message, body: { key: name(evil), untilMs } } },
    { ...good, message: { ...good.message, body: { key: 'no key', untilMs } } },
    { ...good, signature: '' },
    null,
    'x',
    new Sender({ from: 'control', incarnation: name(own), signer: keySigner(own.privateKey), clock }).sign({
      to: 'Run/r',
      purpose: 'wake',
      body: { key: name(evil), untilMs },
    }),
  ]
  trusted.learn(wrong.slice(0, 4) as SignedMessage[])
  trusted.learn(wrong.slice(4) as SignedMessage[])
  t.deepEqual(trusted.names, [name(own)])
  trusted.learn([good])
  t.deepEqual(trusted.names, [name(own), name(next)])
  await clock.advance(1_000)
  t.deepEqual(trusted.names, [name(next)])
  trusted.learn([signSuccession(own, evil.publicKey, clock.now() + 1e9, clock)])
  t.deepEqual(trusted.names, [name(next)], 'whose time is over names nobody')
})

test('a run goes on, bit for bit, while control gets another key', async (t) => {
  const made = await memoryCluster(t)
  const checkpoint = { everySteps: 10 }
  const run = train(slowBranching(15), TRAINING, { on: cluster(made.url, { token: made.keys.trainerToken }), checkpoint }, { id: 'r' })
  for await (const { type } of run.events()) if (type === 'checkpoint') break
  await rotateControlKey(made.store, systemClock, 0)
  await made.controlKey.look()
  // What it had signed before is worth nothing any more; what moves now is granted under the new key.
  made.pnodes[0].killWorker('on purpose')
  t.like(await run.result, { status: 'done', stepsLost: 0 })
  t.deepEqual(made.errors, [])
  const late = await made.addPNode('dan')
  t.true(late.refused.size === 0)
  const refused = made.pnodes.flatMap((pnode) => [...pnode.refused])
  t.deepEqual(refused, [])
  const undisturbed = await train(slowBranching(15), TRAINING, { store: memoryStore(), checkpoint }).result
  t.is((await run.result).hash, undisturbed.hash)
})

test('keys that cannot be read, or are of another version, are told from none', async (t) => {
  const store = memoryStore()
  await store.put('control/keys', bytesOf('{'))
  await t.throwsAsync(clusterKeys(store), { code: 'store.damaged' })
  await store.put('control/keys', bytesOf('{"v":3}'))
  await t.throwsAsync(clusterKeys(store), { code: 'cluster.version', message: /expected 2, got 3/ })
})
