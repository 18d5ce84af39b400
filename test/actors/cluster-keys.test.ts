import test from 'ava'
import { clusterKeys, controlKeyOf, holderOf, hostToken } from '../../actors/control/cluster-keys.js'
import { type Grant, GRANT_VERSION, signGrant, verifyGrant } from '../../runtime/grant.js'
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
  ]
  for (const token of [...wrong, hostToken(others, 'ann'), others.trainerToken, keys.hostSecret]) {
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

test('keys that cannot be read, or are of another version, are told from none', async (t) => {
  const store = memoryStore()
  await store.put('control/keys', bytesOf('{'))
  await t.throwsAsync(clusterKeys(store), { code: 'store.damaged' })
  await store.put('control/keys', bytesOf('{"v":2}'))
  await t.throwsAsync(clusterKeys(store), { code: 'cluster.version', message: /expected 1, got 2/ })
})
