/** A host's own rights, turned against the others: it can neither speak as somebody else nor read or change what is not its own. */
import test, { type ExecutionContext, registerCompletionHandler } from 'ava'
import { readManifest } from '../../actors/run/checkpoints.js'
import { ControlClient } from '../../actors/control/control-client.js'
import { settingsKey } from '../../actors/run/run-settings.js'
import { asker } from '../../runtime/ask.js'
import { systemClock } from '../../runtime/clock.js'
import { isSwarmError, type ErrorCode } from '../../runtime/errors.js'
import { encodeFrame, type Frame } from '../../runtime/frame.js'
import { keys, type Head } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import { httpStore, type HttpStore } from '../../runtime/object-store/http-store.js'
import { SEND_HEADERS } from '../../runtime/object-store/store-protocol.js'
import { encodeSignal, subjectOf } from '../../runtime/signal.js'
import { VERSION } from '../../runtime/version.js'
import { networks } from '../support/chaos-run.js'
import { embedded, outcomeOf, droppedOf } from '../support/cluster-runs.js'
import { refusedBy, Stranger, unharmed } from '../support/cluster-stranger.js'
import { TestCluster } from '../support/cluster.js'
import { publicKeyOf, senderOf } from '../support/identities.js'
import { forFile } from '../support/servers.js'
import { TRAINING } from '../support/small-runs.js'
import { until } from '../support/until.js'

const file = forFile()
// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())
let cluster: TestCluster
const BYTES = new TextEncoder().encode('{"v":1}')
/** A run that is done, on `a` alone; and one on all of them. */
const [THEIRS, OURS] = ['theirs', 'ours']

test.before(async () => {
  cluster = await TestCluster.start(file, { hosts: ['a'] })
  await outcomeOf(cluster, cluster.train(networks.chain, TRAINING, { id: THEIRS }))
  await Promise.all([cluster.join('b'), cluster.join('c')])
  await cluster.untilWhole()
  await outcomeOf(cluster, cluster.train(networks.chain, TRAINING, { id: OURS, everySteps: 20 }))
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

type Directory = Head['directory']

async function directoryOf(run: string): Promise<Directory> {
  return (await readHead(cluster.store, run)).head.directory
}

/** Two hosts that take part in a run: who attacks, and whom. */
async function sidesOf(t: ExecutionContext, run: string, others: readonly string[]): Promise<{ insider: Stranger; victim: string }> {
  const hosts = [...new Set(Object.values(await directoryOf(run)).map(({ pnode }) => pnode))]
  const insider = hosts.find((name) => others.includes(name))
  const victim = hosts.find((name) => name !== insider)
  if (insider === undefined || victim === undefined)
    throw new Error(`two hosts take part, one of ${others.join(', ')}: got ${hosts.join(', ')}`)
  return { insider: Stranger.of(t, cluster, insider), victim }
}

async function denied(t: ExecutionContext, what: string, code: ErrorCode, attempt: () => Promise<unknown>): Promise<void> {
  const error = await attempt().then(
    (result) => new Error(`it went through: ${JSON.stringify(result)}`),
    (failure: unknown) => failure,
  )
  t.true(isSwarmError(error, code), `${what}: ${String(error)}`)
}

test.serial('on the broker it cannot speak as another, nor hear what is for others', async (t) => {
  await unharmed(t, cluster, 'voices', async (run) => {
    const { insider, victim } = await sidesOf(t, run, ['b', 'c'])
    const directory = await directoryOf(run)
    for (const as of [victim, 'control']) {
      const bus = await insider.bus(as)
      const subjects = [
        ...Object.entries(directory).flatMap(([vnode, { pnode }]) =>
          (['frame', 'signal'] as const).map((kind) => subjectOf(run, pnode, vnode, kind)),
        ),
        'sg.channel.heartbeats',
        'sg.channel.metrics',
        'sg.channel.supervision_events',
        'sg.channel.task_inbound',
        `sg.ask.${victim}.call`,
        'sg.ask.control.isReachable',
        `sg.answer.${victim}.1`,
        'sg.answer.control.1',
      ]
      for (const subject of subjects) bus.publish(subject, BYTES)
      await bus.flush()
      await until(
        () => `${subjects.length} refused as ${as}: ${bus.counts.denied}`,
        () => bus.counts.denied === subjects.length,
      )
      const ears = [
        `sg.${run}.to.${victim}.>`,
        `sg.${run}.>`,
        `sg.ask.${victim}.>`,
        `sg.answer.${victim}.>`,
        'sg.ask.control.>',
        'sg.answer.control.>',
        'sg.channel.heartbeats',
        'sg.channel.metrics',
        '$SYS.>',
      ]
      for (const subject of ears) await denied(t, subject, 'bus.denied', () => bus.subscribe(subject, { capacity: 1 }).ready)
      t.true(bus.isUp)
    }
    t.true(insider.refused.every((error) => isSwarmError(error, 'bus.denied')))
  })
})

/** A frame that is whole, and says whatever it is told to say. */
function frameOf(run: string, vnode: string, term: number): Uint8Array {
  const header: Frame['header'] = { kind: 'output', marks: 0, generation: 1, term, step: 30, position: 30, evaluation: 0, run, vnode }
  const tensor = (shape: readonly number[], dtype: 'float32' | 'int32') =>
    ({ dtype, shape, bytes: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)) }) as const
  return encodeFrame({ header, output: tensor([32, 16], 'float32'), labels: tensor([32], 'int32'), batch: '0'.repeat(64) })
}

test.serial('under its own name it cannot say what is others’ to say: it is dropped, and counted by reason', async (t) => {
  const mallory = await Stranger.join(t, cluster, 'mallory')
  const bus = await mallory.bus()
  const asking = asker(bus, 'mallory', systemClock)
  const before = await refusedBy(cluster)
  await unharmed(t, cluster, 'words', async (run) => {
    const directory = await directoryOf(run)
    const [owner, reader] = [directory['dense-1'], directory['dense-2']]
    const victim = owner.pnode
    const toReader = (bytes: Uint8Array) => bus.publish(subjectOf(run, reader.pnode, 'dense-2', 'frame'), bytes)
    const toOwner = (vnode: string, { term }: Directory[string], type: 'credit' | 'hello') => {
      const who = { vnode, generation: 1, term }
      const signal = type === 'hello' ? { type, ...who } : { type, ...who, next: 1_000_000, upTo: 2_000_000, resend: true }
      bus.publish(subjectOf(run, victim, 'dense-1', 'signal'), encodeSignal(signal))
    }
    // As the owner; as one to come; as one long gone; as nobody.
    toReader(frameOf(run, 'dense-1', owner.term))
    toReader(frameOf(run, 'dense-1', owner.term + 1_000))
    toReader(frameOf(run, 'dense-1', 0))
    toReader(frameOf(run, 'dense-9', owner.term))
    for (const type of ['credit', 'hello'] as const) {
      toOwner('dense-2', reader, type)
      toOwner('dense-2', { ...reader, term: reader.term + 1_000 }, type)
    }
    const report = (value: object) => new TextEncoder().encode(JSON.stringify({ v: 1, ...value }))
    bus.publish('sg.channel.heartbeats', report({ pnode: victim, busyShare: 0, vnodes: [] }))
    const span = { run, vnode: 'dense-1', term: owner.term, firstStep: 1, lastStep: 1e9, busyMs: 1, metrics: { loss: 1e9 } }
    const restored = { type: 'restored', run, vnode: 'dense-1', term: owner.term, pnode: victim, step: 1e9 }
    bus.publish('sg.channel.metrics', report({ reports: [{ type: 'span', ...span }, restored] }))
    const drops = Array.from({ length: 10_000 }, (_, i) => ({ type: 'dropped', run, vnode: 'dense-1', reason: `lie ${i}` }))
    bus.publish('sg.channel.metrics', report({ reports: drops }))
    const stop = { target: { type: `VNode.${victim}`, id: `${run}/dense-1` }, method: 'stop', argument: { term: 1e9 }, deadlineMs: 1_000 }
    await denied(t, 'a call of an actor', 'bus.denied', () => asking.ask(victim, 'call', stop))
    await denied(t, 'a question that nobody answers', 'actor.not-found', () => asking.ask('control', 'relocate', null))
    await denied(t, 'a question that nobody answers', 'actor.not-found', () => asking.ask(victim, 'stop', null))

    // A greeting is a producer’s, which dense-2 is not under any term.
    const expected = { stranger: 5, ungranted: 2, term: 1 }
    let dropped: Awaited<ReturnType<typeof droppedOf>> = {}
    await until(
      () => `${JSON.stringify(expected)} dropped: ${JSON.stringify(dropped)}`,
      async () => {
        dropped = await droppedOf(cluster, run)
        const { stranger = 0, ungranted = 0, term = 0 } = dropped
        return stranger >= expected.stranger && ungranted >= expected.ungranted && term >= expected.term
      },
    )
    t.like(dropped, expected)
    t.false(
      Object.keys(dropped).some((reason) => reason.startsWith('lie')),
      'control keeps whatever it is told',
    )
    const refused = await refusedBy(cluster)
    const news = (reason: string) => (refused[reason] ?? 0) - (before[reason] ?? 0)
    t.deepEqual([news('heartbeats: frame.damaged'), news('metrics: stranger')], [1, 2], JSON.stringify(refused))
  })
  asking.close()
})

/** What a host may have no part of, in a run in which it takes part or not. */
async function forbiddenIn(run: string, host: string): Promise<readonly string[]> {
  const { head } = await readHead(cluster.store, run)
  const { vnodes, generation } = await readManifest(cluster.store, head.manifests[0])
  const blobs = vnodes.filter(({ vnode }) => head.directory[vnode].pnode !== host).map(({ hash }) => keys.blob(run, generation, hash))
  const found: string[] = []
  for await (const { key } of cluster.store.list(`runs/${run}/`)) found.push(key)
  const isShared = (key: string) => key === keys.definition(run) || key === settingsKey(run) || key.startsWith(`runs/${run}/blobs/`)
  return [...blobs, ...found.filter((key) => !isShared(key))]
}

/** Hosts of the sources of runs that are under way, or were a moment ago. */
async function sourcesUnderWay(): Promise<ReadonlySet<string>> {
  const { runs } = (await cluster.client.stats()) as { readonly runs: readonly { readonly run: string }[] }
  return new Set(await Promise.all(runs.map(async ({ run }) => (await directoryOf(run)).source.pnode)))
}

/** Everything that is there, whoever it belongs to. */
async function everything(store: HttpStore, prefix: string): Promise<string[]> {
  const found: string[] = []
  for await (const { key } of store.list(prefix)) found.push(key)
  return found
}

test.serial('in the store it reads its own states and writes new ones, and nothing else', async (t) => {
  const { insider } = await sidesOf(t, OURS, ['b', 'c'])
  const { store, name } = insider
  const before = new Map<string, string>()
  for (const run of [OURS, THEIRS]) {
    for (const key of await forbiddenIn(run, name)) before.set(key, Buffer.from((await cluster.store.get(key)).bytes).toString('hex'))
  }
  t.true(before.size > 10)
  await unharmed(t, cluster, 'hands', async (run) => {
    const control = ['control/keys', `control/hosts/a`, `control/running/${run}`]
    const live = [keys.head(run), keys.manifest(run, 1, 20), `runs/${run}/requests/pause`]
    const shared = [keys.definition(run), settingsKey(run), keys.definition(OURS), settingsKey(OURS), 'data/x', 'bundles/x.mjs']
    const theirs = [keys.definition(THEIRS), settingsKey(THEIRS), keys.blob(THEIRS, 1, 'f'.repeat(64))]
    // Data are shared by runs: whoever has the source of one that is under way may read them.
    const isReader = (await sourcesUnderWay()).has(name)
    const shards = isReader ? [] : (await everything(httpStore({ url: cluster.url, token: cluster.token }), 'data/')).slice(0, 2)
    for (const key of [...before.keys(), ...control, ...live, ...theirs, ...shards]) {
      await denied(t, `get ${key}`, 'store.denied', () => store.get(key))
    }
    for (const key of [...before.keys(), ...control, ...live, ...theirs, ...shards, ...shared]) {
      await denied(t, `put ${key}`, 'store.denied', () => store.put(key, BYTES))
      // To make a state that is not there yet is a host's right: of its own run, under whatever name; not over one that is there.
      const code = key.startsWith(`runs/${OURS}/blobs/`) ? 'store.conflict' : 'store.denied'
      await denied(t, `create ${key}`, code, () => store.put(key, BYTES, { ifNoneMatch: '*' }))
      await denied(t, `delete ${key}`, 'store.denied', () => store.delete(key))
    }
    for (const prefix of ['', 'r', 'runs/', `runs/${run}/`, 'control/', 'data/'])
      await denied(t, `list ${prefix}`, 'store.denied', () => everything(store, prefix))
    const { etag } = await cluster.store.get(keys.head(run))
    await denied(t, 'swap the head', 'store.denied', () => store.put(keys.head(run), BYTES, { ifMatch: etag }))
    for (const key of ['runs/../control/keys', `runs/${OURS}/blobs/../head`, 'control//keys'])
      await denied(t, key, 'store.invalid-key', () => store.get(key))
    for (const path of ['control%2fkeys', 'runs%2F..%2Fcontrol%2Fkeys', `runs/${OURS}/blobs%2f..%2fhead`]) {
      const { status } = await fetch(`${cluster.url}/v1/store/${path}`, { headers: { authorization: `Bearer ${insider.joined.token}` } })
      t.true(status === 400 || status === 403 || status === 404, `${path}: ${status}`)
    }
  })
  for (const [key, bytes] of before) t.is(Buffer.from((await cluster.store.get(key)).bytes).toString('hex'), bytes, key)
})

test.serial('a signed URL is good for one object, one method and one condition', async (t) => {
  const { insider } = await sidesOf(t, OURS, ['b', 'c'])
  const { head } = await readHead(cluster.store, OURS)
  const { vnodes } = await readManifest(cluster.store, head.manifests[0])
  const other = vnodes.find(({ vnode }) => head.directory[vnode].pnode !== insider.name)!
  const key = keys.blob(OURS, head.manifests[0].generation, other.hash)
  const before = await cluster.store.get(key)
  const headers = { authorization: `Bearer ${insider.joined.token}`, 'if-none-match': '*' }
  const asked = await fetch(`${cluster.url}/v1/store/${key}`, { method: 'PUT', headers, redirect: 'manual' })
  t.is(asked.status, 307)
  const url = asked.headers.get('location')!
  const signed = JSON.parse(asked.headers.get(SEND_HEADERS)!) as { [name: string]: string }
  const send = async (target: string, init: RequestInit) => (await fetch(target, init)).status
  const refused = async (what: string, target: string, init: RequestInit) => {
    const status = await send(target, init)
    t.true(status === 400 || status === 403, `${what}: ${status}`)
  }
  const without = Object.fromEntries(Object.entries(signed).filter(([name]) => name.toLowerCase() !== 'if-none-match'))
  t.is(Object.keys(without).length, Object.keys(signed).length - 1)
  t.is(await send(url, { method: 'PUT', headers: signed, body: BYTES }), 412, 'as it was signed')
  await refused('without its condition', url, { method: 'PUT', headers: without, body: BYTES })
  await refused('for another object', url.replace(other.hash, 'f'.repeat(64)), { method: 'PUT', headers: signed, body: BYTES })
  await refused('to read', url, { method: 'GET' })
  await refused('to delete', url, { method: 'DELETE', headers: signed })
  t.deepEqual(await cluster.store.get(key), before)
})

test.serial('at the door each token opens what it is for', async (t) => {
  const { insider, victim } = await sidesOf(t, OURS, ['b', 'c'])
  const own = insider.joined.token
  const forged = own.replace(`host.${insider.name}.`, `host.${victim}.`)
  const strangers = { 'a host’s': own, 'a join': cluster.joinToken, 'a forged': forged, 'a wrong': 'wrong', no: undefined }
  await unharmed(t, cluster, 'door', async (run) => {
    for (const [whose, token] of Object.entries(strangers)) {
      const client = new ControlClient({ url: cluster.url, token, clock: systemClock })
      const tries: { readonly [what: string]: () => Promise<unknown> } = {
        start: () => client.start(run),
        pause: () => client.pause(run),
        stats: () => client.stats(),
        pnodes: () => client.pnodes(),
        events: () => client.events(run).next(),
        release: () => client.release(victim),
      }
      for (const [what, attempt] of Object.entries(tries)) await denied(t, `${what} with ${whose} token`, 'cluster.token', attempt)
      for (const path of ['metrics', 'queue_stats', 'checkpoint_state']) {
        const answer = await fetch(`${cluster.url}/${path}`, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } })
        t.is(answer.status, 401, `${path} with ${whose} token`)
      }
      if (token === own) continue
      const store = httpStore({ url: cluster.url, token: token ?? '' })
      for (const key of [keys.head(run), 'control/keys']) {
        await denied(t, `get ${key} with ${whose} token`, 'cluster.token', () => store.get(key))
        await denied(t, `put ${key} with ${whose} token`, 'cluster.token', () => store.put(key, BYTES))
        await denied(t, `delete ${key} with ${whose} token`, 'cluster.token', () => store.delete(key))
      }
      await denied(t, `list with ${whose} token`, 'cluster.token', () => everything(store, ''))
    }

    // A trainer's opens runs, and neither the place of a host nor the secrets of the cluster.
    const trainer = httpStore({ url: cluster.url, token: cluster.token })
    await denied(t, 'a host’s name with a trainer’s token', 'cluster.token', () => cluster.client.release(victim))
    for (const key of ['control/keys', `control/hosts/${victim}`, `control/running/${run}`]) {
      await denied(t, `get ${key}`, 'store.denied', () => trainer.get(key))
      await denied(t, `put ${key}`, 'store.denied', () => trainer.put(key, BYTES))
      await denied(t, `delete ${key}`, 'store.denied', () => trainer.delete(key))
    }
    for (const prefix of ['', 'c', 'control', 'control/', 'control/hosts/'])
      await denied(t, `list ${prefix}`, 'store.denied', () => everything(trainer, prefix))

    // To be another is what a machine asks for when it joins.
    const request = { owner: 'mallory', publicKey: insider.key.publicKey, identity: publicKeyOf(insider.key.seed), version: VERSION }
    const sender = senderOf(victim, { text: insider.key.seed })
    const asControl = senderOf('control', { text: insider.key.seed })
    const as = (token: string) => new ControlClient({ url: cluster.url, token, clock: systemClock })
    for (const isRenewal of [false, true]) {
      const asVictim = { ...request, name: victim, isRenewal }
      await denied(t, 'another’s name', 'cluster.token', () => as(own).join(asVictim, sender))
      await denied(t, 'another’s name', 'host.name-taken', () => as(cluster.joinToken).join(asVictim, sender))
      await denied(t, 'another’s name', 'cluster.token', () => as(cluster.token).join(asVictim, sender))
      await denied(t, 'the name of control', 'usage', () => as(cluster.joinToken).join({ ...asVictim, name: 'control' }, asControl))
    }
  })
})

test.serial('after all of it a run has the hash of the embedded one', async (t) => {
  await cluster.untilWhole()
  const expected = await embedded(networks.chain, TRAINING)
  const { result: _result, ...outcome } = await outcomeOf(cluster, cluster.train(networks.chain, TRAINING, { id: 'last' }))
  t.deepEqual(outcome, expected)
})
