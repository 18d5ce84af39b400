import test, { type ExecutionContext } from 'ava'
import { cluster, type ClusterRun, clusterStore } from '../../actors/cluster.js'
import { channel } from '../../actors/control/channels.js'
import { hostToken } from '../../actors/control/cluster-keys.js'
import { ControlClient } from '../../actors/control/control-client.js'
import { hostAccess } from '../../actors/control/host-registry.js'
import { settingsKey } from '../../actors/run/run-settings.js'
import { train } from '../../actors/train.js'
import { SOURCE } from '../../components/definition.js'
import { systemClock } from '../../runtime/clock.js'
import type { ErrorCode } from '../../runtime/errors.js'
import { keys } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import { createHostKey } from '../../runtime/tensor-bus/nats-authority.js'
import { VERSION } from '../../runtime/version.js'
import { assertCode, rejectionOf, within } from '../conformance/within.js'
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
  const request = { name: 'dan', owner: 'Dan', publicKey, version: VERSION }
  const joined = await clientOf(made, made.keys.joinToken).join(request)
  t.like(joined, { v: 1, name: 'dan', version: VERSION, placement: '127.0.0.1:1', token: hostToken(made.keys, 'dan') })
  t.regex(joined.controlKey, /^-----BEGIN PUBLIC KEY-----/)
  t.true(joined.broker.expiresAtMs > joined.nowMs)
  t.is((await clientOf(made, joined.token).join(request)).token, joined.token)
  t.deepEqual(await clientOf(made, joined.token).servers(), { role: 'host', broker: ['nats://127.0.0.1:1'], placement: '127.0.0.1:1' })
  await made.store.put('probes/dan', new Uint8Array(1))
  await clientOf(made, joined.token).release('dan')
  await t.throwsAsync(made.store.get('probes/dan'), undefined, 'what it measured its line with goes with its name')
  const other = { ...request, publicKey: createHostKey().publicKey }
  t.is((await clientOf(made, made.keys.joinToken).join(other)).name, 'dan', 'a name that was given back is free')
})

test('who may not join is told why', async (t) => {
  const made = await memoryCluster(t, { pnodes: ['ann'] })
  const newcomer = clientOf(made, made.keys.joinToken)
  const request = { name: 'eve', owner: 'Eve', publicKey: createHostKey().publicKey, version: VERSION }
  await newcomer.join(request)
  const stolen = { ...request, publicKey: createHostKey().publicKey }
  await refuses(t, 'host.name-taken', /another machine is called eve.*owner Eve/, newcomer.join(stolen))
  await refuses(t, 'host.name-taken', /ann is here already/, newcomer.join({ ...request, name: 'ann' }))
  await refuses(t, 'cluster.token', /trainer’s token\. Join with the join token/, clientOf(made, made.keys.trainerToken).join(request))
  await refuses(t, 'cluster.token', /not one of this cluster/, clientOf(made, 'guessed').join(request))
  await refuses(t, 'cluster.token', /asks for a token/, clientOf(made, undefined).join(request))
  await refuses(t, 'cluster.token', /not that of fay/, clientOf(made, hostToken(made.keys, 'eve')).join({ ...request, name: 'fay' }))
  await refuses(t, 'cluster.version', /Install swarmgrad/, newcomer.join({ ...request, version: '9.0.0' }))
  for (const name of ['control', 'Eve', 'a.b', '', '-x', 'x'.repeat(41)])
    await refuses(t, 'usage', /./, newcomer.join({ ...request, name }))
  await refuses(t, 'usage', /wants a user key/, newcomer.join({ ...request, publicKey: 'UABC' }))
  const { refused } = (await clientOf(made, made.keys.trainerToken).stats()) as { refused: { [reason: string]: number } }
  t.deepEqual(refused, { 'join: host.name-taken': 2, 'join: cluster.token': 4, 'join: usage': 7 })
  await refuses(t, 'cluster.token', /only eve itself/, newcomer.release('eve'))
  await refuses(t, 'cluster.token', /only eve itself/, clientOf(made, hostToken(made.keys, 'fay')).release('eve'))
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
    { on: cluster(url, { token: made.keys.trainerToken }), checkpoint: { everySteps: 10 } },
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
