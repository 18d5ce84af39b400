import test, { type ExecutionContext } from 'ava'
import { cluster, type ClusterRun, clusterStore } from '../../actors/cluster.js'
import { channel } from '../../actors/control/channels.js'
import { controlKeyOf, hostToken } from '../../actors/control/cluster-keys.js'
import { ControlClient } from '../../actors/control/control-client.js'
import { hostAccess, hostRecord } from '../../actors/control/host-registry.js'
import { settingsKey } from '../../actors/run/run-settings.js'
import { train } from '../../actors/train.js'
import { SOURCE } from '../../components/definition.js'
import { systemClock } from '../../runtime/clock.js'
import type { ErrorCode } from '../../runtime/errors.js'
import { publicKeyText } from '../../runtime/identity.js'
import { keys } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import { createHostKey } from '../../runtime/tensor-bus/nats-authority.js'
import { VERSION } from '../../runtime/version.js'
import { assertCode, rejectionOf, within } from '../conformance/within.js'
import { fakeClock } from '../support/fake-clock.js'
import { publicKeyOf, senderOf } from '../support/identities.js'
import { type MemoryCluster, memoryCluster } from '../support/memory-cluster.js'
import { chain, TRAINING } from '../support/small-runs.js'

const DEADLINE_MS = 20_000

const clientOf = ({ url }: MemoryCluster, token: string | undefined) => new ControlClient({ url, token, clock: systemClock })

async function refuses(t: ExecutionContext, code: ErrorCode, says: RegExp, work: Promise<unknown>): Promise<void> {
  const error = await rejectionOf(DEADLINE_MS, code, work)
  assertCode(error, code)
  t.regex((error as Error).message, says)
}

test('a machine is told all that it needs to be a PNode, again and again under its own key', async (t) => {
  const made = await memoryCluster(t, { pnodes: [] })
  const { publicKey } = createHostKey()
  const request = { name: 'dan', owner: 'Dan', publicKey, identity: publicKeyOf('dan'), version: VERSION }
  const dan = senderOf('dan')
  const joined = await clientOf(made, made.keys.joinToken).join(request, dan)
  t.like(joined, { v: 1, name: 'dan', version: VERSION, placement: '127.0.0.1:1', token: hostToken(made.keys, 'dan') })
  t.deepEqual(joined.controlKeys, [{ key: publicKeyText(controlKeyOf(made.keys).publicKey) }])
  t.deepEqual(joined.successions, [])
  t.true(joined.broker.expiresAtMs > joined.nowMs)
  t.is((await clientOf(made, joined.token).join(request, dan)).token, joined.token)
  t.deepEqual(await clientOf(made, joined.token).servers(), { role: 'host', broker: ['nats://127.0.0.1:1'], placement: '127.0.0.1:1' })
  await made.store.put('probes/dan', new Uint8Array(1))
  await clientOf(made, joined.token).release('dan')
  await t.throwsAsync(made.store.get('probes/dan'), undefined, 'what it measured its line with goes with its name')
  const other = { ...request, publicKey: createHostKey().publicKey, identity: publicKeyOf('other') }
  t.is(
    (await clientOf(made, made.keys.joinToken).join(other, senderOf('dan', { text: 'other' }))).name,
    'dan',
    'a name that was given back is free',
  )
})

test('who may not join is told why', async (t) => {
  const made = await memoryCluster(t, { pnodes: ['ann'] })
  const newcomer = clientOf(made, made.keys.joinToken)
  const request = { name: 'eve', owner: 'Eve', publicKey: createHostKey().publicKey, identity: publicKeyOf('eve'), version: VERSION }
  const eve = senderOf('eve')
  const asEve = (name: string) => senderOf(name, { text: 'eve' })
  await newcomer.join(request, eve)
  const stolen = { ...request, identity: publicKeyOf('mallory') }
  await refuses(
    t,
    'host.name-taken',
    /another machine is called eve.*owner Eve, key SHA256:.*from the folder/,
    newcomer.join(stolen, senderOf('eve', { text: 'mallory' })),
  )
  await refuses(
    t,
    'host.name-taken',
    /ann is here already/,
    newcomer.join({ ...request, name: 'ann', identity: publicKeyOf('ann') }, senderOf('ann')),
  )
  await refuses(t, 'host.name-taken', /another machine is called ann/, newcomer.join({ ...request, name: 'ann' }, asEve('ann')))
  await refuses(t, 'cluster.token', /trainer’s token\. Join with the join token/, clientOf(made, made.keys.trainerToken).join(request, eve))
  await refuses(t, 'cluster.token', /not one of this cluster/, clientOf(made, 'guessed').join(request, eve))
  await refuses(t, 'cluster.token', /asks for a token/, clientOf(made, undefined).join(request, eve))
  await refuses(
    t,
    'cluster.token',
    /not that of fay/,
    clientOf(made, hostToken(made.keys, 'eve')).join({ ...request, name: 'fay' }, asEve('fay')),
  )
  await refuses(t, 'cluster.version', /Install swarmgrad/, newcomer.join({ ...request, version: '9.0.0' }, eve))
  for (const name of ['control', 'Eve', 'a.b', '', '-x', 'x'.repeat(41)])
    await refuses(t, 'usage', /./, newcomer.join({ ...request, name }, asEve(name)))
  await refuses(t, 'usage', /wants a user key/, newcomer.join({ ...request, publicKey: 'UABC' }, eve))
  const { refused } = (await clientOf(made, made.keys.trainerToken).stats()) as { refused: { [reason: string]: number } }
  t.deepEqual(refused, { 'join: host.name-taken': 3, 'join: cluster.token': 4, 'join: usage': 7 })
  await refuses(t, 'cluster.token', /only eve itself/, newcomer.release('eve'))
  await refuses(t, 'cluster.token', /only eve itself/, clientOf(made, hostToken(made.keys, 'fay')).release('eve'))
})

const post = (made: MemoryCluster, body: string | object) =>
  fetch(`${made.url}/v1/hosts`, {
    method: 'POST',
    headers: { authorization: `Bearer ${made.keys.joinToken}`, 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  }).then(async (response) => ({ status: response.status, ...((await response.json()) as { code?: ErrorCode; message?: string }) }))

test('who joins shows that his identity is his own: unsigned, borrowed, altered, old and repeated requests are refused and counted', async (t) => {
  const made = await memoryCluster(t, { pnodes: [] })
  const request = { v: 2, name: 'eve', owner: 'Eve', publicKey: createHostKey().publicKey, identity: publicKeyOf('eve'), version: VERSION }
  const eve = senderOf('eve')
  const join = (body: object, sender = eve) => sender.sign({ to: 'control', purpose: 'join', body })
  const old = senderOf('eve', { incarnation: 'old', clock: fakeClock() })
  const expected: [what: string, body: string | object, status: number, code: ErrorCode, says: RegExp][] = [
    ['of version 1', { ...request, v: 1 }, 500, 'cluster.version', /hosts sign theirs.*Install swarmgrad/],
    ['unsigned', { message: join(request).message }, 401, 'message.unsigned', /without a signature/],
    ['nothing', {}, 401, 'message.unsigned', /without a signature/],
    ['no JSON', '{"message":', 400, 'message.damaged', /no JSON/],
    ['too long', { ...join(request), more: 'x'.repeat(70_000) }, 413, 'message.too-large', /too large.*at most 65536 bytes/],
    [
      'another version of messages',
      { ...join(request), message: { ...join(request).message, v: 9 } },
      400,
      'message.version',
      /expected 1, got 9/,
    ],
    ['altered', { ...join(request), message: { ...join(request).message, seq: 99 } }, 401, 'message.signature', /not signed by eve/],
    ['by somebody else', join(request, senderOf('eve', { text: 'mallory' })), 401, 'message.signature', /not signed by eve/],
    ['in another name', join(request, senderOf('bob', { text: 'eve' })), 403, 'message.denied', /expected of eve, got join of bob/],
    ['for something else', eve.sign({ to: 'Placement/cluster', purpose: 'join', body: request }), 403, 'message.denied', /to Placement/],
    ['old', join(request, old), 503, 'message.expired', /time service/],
    ['with no key', join({ ...request, identity: 'x' }), 400, 'usage', /wants a public key/],
  ]
  for (const [what, body, status, code, says] of expected) {
    const answer = await post(made, body)
    t.like(answer, { status, code }, what)
    t.regex(String(answer.message), says, what)
  }
  const once = join(request)
  t.is((await post(made, once)).status, 200)
  t.like(await post(made, once), { status: 503, code: 'message.replayed' })
  t.is((await post(made, join(request))).status, 200)
  t.like(made.host.stats.refused, {
    'join: message.unsigned': 2,
    'join: message.signature': 2,
    'join: message.denied': 2,
    'join: message.replayed': 1,
    'request: message.too-large': 1,
    'request: message.damaged': 1,
  })
})

test('a record of before there were identities gets one at the next join, from the same machine alone', async (t) => {
  const made = await memoryCluster(t, { pnodes: [] })
  const { publicKey } = createHostKey()
  const record = async () => JSON.parse(new TextDecoder().decode((await made.store.get('control/hosts/eve')).bytes)) as object
  await made.store.put('control/hosts/eve', new TextEncoder().encode(JSON.stringify({ v: 1, name: 'eve', publicKey, owner: 'Eve' })))
  const [eve, mallory] = [senderOf('eve'), senderOf('eve', { text: 'mallory' })]
  const newcomer = clientOf(made, made.keys.joinToken)
  const request = { name: 'eve', owner: 'Eve', publicKey, identity: publicKeyOf('eve'), version: VERSION }
  const other = { ...request, publicKey: createHostKey().publicKey, identity: publicKeyOf('mallory') }
  await refuses(t, 'host.name-taken', /another key on the broker/, newcomer.join(other, mallory))
  t.is(await hostRecord(made.store, 'eve'), undefined)
  await newcomer.join(request, eve)
  t.deepEqual(await record(), { v: 2, name: 'eve', publicKey, identity: publicKeyOf('eve'), owner: 'Eve' })
  // From now on it is the identity that counts.
  const stolen = { ...request, identity: publicKeyOf('mallory') }
  await refuses(t, 'host.name-taken', /another machine/, newcomer.join(stolen, mallory))
  const renewed = { ...request, publicKey: other.publicKey }
  await newcomer.join(renewed, eve)
  t.like(await hostRecord(made.store, 'eve'), { v: 2, publicKey: other.publicKey, identity: publicKeyOf('eve') })
  await made.store.put('control/hosts/eve', new TextEncoder().encode('{"v":3}'))
  await refuses(t, 'cluster.version', /expected 2, got 3/, newcomer.join(request, eve))
  await made.store.put('control/hosts/eve', new TextEncoder().encode('{'))
  await refuses(t, 'store.damaged', /unreadable record of host eve/, newcomer.join(request, eve))
})

test('what is for trainers is for trainers', async (t) => {
  const made = await memoryCluster(t, { pnodes: ['ann'] })
  const trainer = clientOf(made, made.keys.trainerToken)
  t.deepEqual(
    (await trainer.pnodes()).map(({ pnode, state }) => [pnode, state]),
    [['ann', 'ready']],
  )
  await refuses(t, 'run.not-found', /no run 'nope'/, trainer.start('nope'))
  await refuses(t, 'run.not-found', /not under way/, trainer.events('nope').next())
  for (const token of [made.keys.joinToken, hostToken(made.keys, 'ann')]) {
    const client = clientOf(made, token)
    for (const work of [client.pnodes(), client.stats(), client.start('r'), client.pause('r'), client.events('r').next()])
      await refuses(t, 'cluster.token', /this is for trainers/, work)
  }
  const store = clusterStore({ url: made.url, token: made.keys.trainerToken })
  await store.put('runs/x/definition', new Uint8Array([1]))
  for (const work of [store.get('control/keys'), store.put('control/keys', new Uint8Array()), store.delete('control/keys')])
    await refuses(t, 'store.denied', /control\/keys/, work)
  const list = async (prefix: string) => {
    for await (const { key } of store.list(prefix)) t.fail(key)
  }
  for (const prefix of ['control/', '']) await refuses(t, 'store.denied', /./, list(prefix))
  const newcomers = clusterStore({ url: made.url, token: made.keys.joinToken })
  await refuses(t, 'cluster.token', /this is for trainers/, newcomers.get('runs/x/definition'))
})

test('a host reads what its own VNodes need, writes states, and nothing else', async (t) => {
  const made = await memoryCluster(t)
  const { store, url } = made
  const run = train(
    chain,
    TRAINING,
    { on: cluster(url, { token: made.keys.trainerToken }), audits: 0, checkpoint: { everySteps: 10 } },
    { id: 'r' },
  ) as ClusterRun
  await run.started
  await within(
    DEADLINE_MS,
    'a checkpoint',
    (async () => {
      for await (const event of run.events()) if (event.type === 'checkpoint') return
    })(),
  )
  await run.pause()
  // As while it is under way.
  await store.put('control/running/r', new Uint8Array())
  const { head } = await readHead(store, 'r')
  const manifest = JSON.parse(new TextDecoder().decode((await store.get(head.manifests[0].key)).bytes)) as {
    readonly vnodes: readonly { readonly vnode: string; readonly hash: string }[]
  }
  const hostOf = (vnode: string) => head.directory[vnode].pnode
  const may = async (host: string, operation: 'get' | 'put' | 'delete' | 'list', key: string, isCreate = true) =>
    hostAccess(store, host, { isCreate }).allows(operation, key)
  const [{ vnode, hash }] = manifest.vnodes
  const owner = hostOf(vnode)
  const [{ generation }] = head.manifests
  const blob = keys.blob('r', generation, hash)
  t.true(await may(owner, 'get', blob))
  for (const key of [keys.definition('r'), settingsKey('r')]) {
    t.true(await may(owner, 'get', key), key)
    t.false(await may(owner, 'put', key), key)
    t.false(await may('stranger', 'get', key), key)
  }
  t.true(await may(owner, 'put', keys.blob('r', 1, 'f'.repeat(64))))
  t.false(await may(owner, 'put', blob, false), 'a state that is as it is called is not written again')
  for (const key of [keys.head('r'), head.manifests[0].key, 'control/keys', 'control/hosts/ann', 'runs/other/definition', 'runs', '']) {
    for (const operation of ['get', 'put', 'delete', 'list'] as const) t.false(await may(owner, operation, key), `${operation} ${key}`)
  }
  for (const { vnode: other, hash: state } of manifest.vnodes) {
    for (const host of ['ann', 'bob', 'cyd'])
      t.is(await may(host, 'get', keys.blob('r', generation, state)), hostOf(other) === host, `${host} ${other}`)
  }
  t.false(await may('stranger', 'put', keys.blob('r', 1, 'f'.repeat(64))))
  // What hosts measure their lines with is nobody else's, and nobody's to list or delete.
  for (const operation of ['get', 'put'] as const) {
    t.true(await may('stranger', operation, 'probes/stranger', false), operation)
    for (const key of ['probes/ann', 'probes/stranger/more', 'probes/', 'probes'])
      t.false(await may('stranger', operation, key), `${operation} ${key}`)
  }
  for (const operation of ['delete', 'list'] as const) t.false(await may('stranger', operation, 'probes/stranger'), operation)
  const shards: string[] = []
  for await (const { key } of store.list('data/')) shards.push(key)
  for (const host of ['ann', 'bob', 'cyd']) t.is(await may(host, 'get', shards[0]), hostOf(SOURCE) === host, `${host} and the data`)
})

test('garbage on the channels is counted and harms nobody', async (t) => {
  const made = await memoryCluster(t)
  const { host } = made
  const run = train(
    chain,
    { ...TRAINING, epochs: 20 },
    { on: cluster(made.url, { token: made.keys.trainerToken }) },
    { id: 'r' },
  ) as ClusterRun
  await run.started
  const eve = await made.connect('eve')
  const send = (name: 'heartbeats' | 'metrics', value: unknown) =>
    eve.publish(channel(name), new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value)))
  send('heartbeats', 'x')
  send('heartbeats', { v: 1, pnode: 'ann', busyShare: 0, vnodes: [] })
  send('metrics', '{')
  send('metrics', { v: 7, reports: [] })
  const span = { type: 'span', run: 'r', vnode: 'dense-1', term: 1, firstStep: 1, busyMs: 0, metrics: {} }
  send('metrics', { v: 1, reports: [null, { ...span, metrics: null, lastStep: 1 }, { ...span, lastStep: Number.MAX_SAFE_INTEGER }] })
  t.is((await run.result).status, 'done')
  t.like(Object.fromEntries(host.refused), {
    'heartbeats: frame.damaged': 2,
    'metrics: frame.damaged': 1,
    'metrics: frame.version': 1,
    'metrics: stranger': 1,
  })
  t.deepEqual(made.errors, [])
})
