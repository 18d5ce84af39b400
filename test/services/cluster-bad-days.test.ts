/** Bad input and bad days of a cluster: each has its typed error, is counted, and harms no run. */
import { connect as rawConnect, headers, jwtAuthenticator } from '@nats-io/transport-node'
import test, { registerCompletionHandler } from 'ava'
import { startHost, type HostProcessOptions } from '../../actors/pnode/host-process.js'
import { readHead } from '../../runtime/head-store.js'
import { systemClock } from '../../runtime/clock.js'
import { clusterKeys } from '../../actors/control/cluster-keys.js'
import { inlinePool } from '../../runtime/compute/inline-compute.js'
import { isSwarmError, type ErrorCode } from '../../runtime/errors.js'
import { createIdentity } from '../../runtime/identity.js'
import { freePort } from '../../runtime/services/index.js'
import { seededIdentity } from '../support/identities.js'
import { subjectOf } from '../../runtime/signal.js'
import { MAX_MESSAGE_BYTES } from '../../runtime/tensor-bus/tensor-bus.js'
import { encodePlace, HEADER_NAME } from '../../runtime/tensor-bus/nats-header.js'
import { createHostKey, hostUser } from '../../runtime/tensor-bus/nats-authority.js'
import { VERSION } from '../../runtime/version.js'
import { s3Store } from '../../runtime/object-store/s3-store.js'
import { MACHINES } from '../support/chaos-run.js'
import { changedControl } from '../support/changed-control.js'
import { droppedOf } from '../support/cluster-runs.js'
import { refusedBy, Stranger, unharmed } from '../support/cluster-stranger.js'
import { TestCluster } from '../support/cluster.js'
import { forFile, type Teardown } from '../support/servers.js'
import { until } from '../support/until.js'

const file = forFile()
// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())
let cluster: TestCluster

test.before(async () => {
  cluster = await TestCluster.start(file, { hosts: ['a', 'b'] })
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

test.serial('who may not join is told why, and what to do', async (t) => {
  const newcomer: HostProcessOptions = {
    url: cluster.url,
    name: 'newcomer',
    owner: 'tester',
    key: createHostKey(),
    identity: createIdentity(),
    token: cluster.joinToken,
    sidecar: async () => Promise.reject(new Error('it came to a sidecar')),
    pool: inlinePool({ machines: MACHINES, clock: systemClock }),
    memoryBytes: 1e9,
    allowsCode: [],
    cacheFolder: cluster.folder,
    version: VERSION,
    clock: systemClock,
    onError: (error) => t.log(error.message),
  }
  const awayMs = 5 * 60_000
  const nobody = `http://127.0.0.1:${await freePort()}`
  const cases: { readonly [what: string]: [Partial<HostProcessOptions>, ErrorCode, RegExp] } = {
    'with a wrong token': [{ token: 'wrong' }, 'cluster.token', /SWARMGRAD_TOKEN/],
    'without a token': [{ token: '' }, 'cluster.token', /asks for a token/],
    'with a trainer’s token': [{ token: cluster.token }, 'cluster.token', /join token/],
    'with the token of another host': [{ token: cluster.host('a').joined!.token }, 'cluster.token', /not that of newcomer/],
    'where nobody answers': [{ url: nobody }, 'cluster.unreachable', /Check the address/],
    'where somebody else answers': [{ url: cluster.servers.store.endpoint }, 'cluster.unreachable', /no control host/],
    'of another major version': [{ version: '99.0.0' }, 'cluster.version', /expected 99\.0\.0.*Install/],
    'of another minor version': [{ version: '0.99.0' }, 'cluster.version', /Install/],
    'with a clock that is ahead': [
      { clock: { ...systemClock, now: () => systemClock.now() + awayMs } },
      'cluster.clock',
      /300 s ahead.*Set/,
    ],
    'with a clock that is behind': [{ clock: { ...systemClock, now: () => systemClock.now() - awayMs } }, 'cluster.clock', /300 s behind/],
    'with the name of another machine': [{ name: 'a' }, 'host.name-taken', /another machine.*--name/],
    'twice, from the same machine': [
      { name: 'a', key: cluster.hosts.get('a')!.key, identity: seededIdentity(cluster.hosts.get('a')!.key.seed) },
      'host.name-taken',
      /here already.*--name/,
    ],
    'with the broker key of another machine': [
      { name: 'a', key: cluster.hosts.get('a')!.key },
      'host.name-taken',
      /another machine.*--name/,
    ],
    'with the name of control': [{ name: 'control' }, 'usage', /another name/],
    'with a name that is none': [{ name: 'a.b' }, 'usage', /1 to 40/],
  }
  const before = await refusedBy(cluster)
  await unharmed(t, cluster, 'doors', async () => {
    for (const [what, [options, code, message]] of Object.entries(cases)) {
      const error = await t.throwsAsync(startHost({ ...newcomer, ...options }), { message }, what)
      t.true(isSwarmError(error, code), `${what}: ${String(error)}`)
    }
  })
  const refused = await refusedBy(cluster)
  const counted = ['cluster.token', 'host.name-taken', 'usage'].map(
    (code) => (refused[`join: ${code}`] ?? 0) - (before[`join: ${code}`] ?? 0),
  )
  t.deepEqual(counted, [4, 3, 2], JSON.stringify(refused))
  const pnodes = await cluster.client.pnodes()
  t.deepEqual(
    pnodes.map(({ pnode, state }) => [pnode, state]),
    [
      ['a', 'ready'],
      ['b', 'ready'],
    ],
  )
})

test.serial('nonsense on the subjects of a run is dropped and counted', async (t) => {
  const vandal = await Stranger.join(t, cluster, 'vandal')
  const bus = await vandal.bus()
  const text = (words: string) => new TextEncoder().encode(words)
  const nonsense = [
    new Uint8Array(0),
    text('nonsense'),
    text('null'),
    text('{"v":99}'),
    text('{"v":1}'),
    text('{"v":1,"reports":7}'),
    new Uint8Array(100_000).fill(255),
  ]
  const before = await refusedBy(cluster)
  const run = await unharmed(t, cluster, 'nonsense', async (id) => {
    const { head } = await readHead(cluster.store, id)
    const places = Object.entries(head.directory).filter(([vnode]) => vnode !== 'source')
    for (const bytes of nonsense) {
      for (const [vnode, { pnode }] of places)
        for (const kind of ['frame', 'signal'] as const) bus.publish(subjectOf(id, pnode, vnode, kind), bytes)
      for (const name of ['heartbeats', 'metrics']) bus.publish(`sg.channel.${name}`, bytes)
      for (const to of ['a', 'b', 'control']) {
        bus.publish(`sg.ask.${to}.isReachable`, bytes)
        bus.publish(`sg.answer.${to}.1`, bytes)
      }
    }
    await bus.flush()
    // '{"v":1}' and what has no version that we know are told apart.
    const expected = 2 * places.length * nonsense.length
    const dropped = async () => {
      const { 'frame.damaged': damaged = 0, 'frame.version': version = 0 } = await droppedOf(cluster, id)
      return damaged + version
    }
    await until(
      () => `${expected} frames and signals dropped`,
      async () => (await dropped()) >= expected,
    )
    t.is(await dropped(), expected)
    const refused = await refusedBy(cluster)
    for (const name of ['heartbeats', 'metrics']) {
      const count = (code: string) => (refused[`${name}: ${code}`] ?? 0) - (before[`${name}: ${code}`] ?? 0)
      t.is(count('frame.damaged') + count('frame.version'), nonsense.length, JSON.stringify(refused))
    }
    return id
  })
  t.deepEqual(vandal.refused, [])
  t.false('stranger' in (await droppedOf(cluster, run)))
})

test.serial('a message larger than agreed does not leave its sender; one that only claims to be is no message', async (t) => {
  const boaster = await Stranger.join(t, cluster, 'boaster')
  const bus = await boaster.bus()
  const { servers, jwt } = boaster.joined.broker
  const raw = await rawConnect({
    servers: [...servers],
    authenticator: jwtAuthenticator(jwt, new TextEncoder().encode(boaster.key.seed)),
  })
  t.teardown(() => raw.close())
  await unharmed(t, cluster, 'larger', async (id) => {
    const { head } = await readHead(cluster.store, id)
    const subject = subjectOf(id, head.directory['dense-1'].pnode, 'dense-1', 'frame')
    const error = t.throws(() => bus.publish(subject, new Uint8Array(MAX_MESSAGE_BYTES + 1)))
    t.true(isSwarmError(error, 'bus.too-large') && error.message.includes(subject), String(error))
    const { sent, claims } = { sent: new Uint8Array(100), claims: [MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1, 0xffff_ffff, 1] }
    for (const [i, size] of claims.entries()) {
      const place = headers()
      place.set(HEADER_NAME, encodePlace({ kind: 'message', stream: '0123456789abcdef', sequence: i + 1, offset: 0, size }))
      raw.publish(`${subject}.from.boaster`, sent, { headers: place })
    }
    await raw.flush()
  })
  t.deepEqual(boaster.refused, [])
})

/** As long as a PNode needs to be ready, and some more, in s. */
const SHORT_S = 20
/** Before that a run begins: what it does has to be replayed. */
const SHORTLY_MS = 4_000
const untilMs = (atMs: number) => systemClock.sleep(Math.max(0, atMs - systemClock.now()))

/** A control host that gives rights which run out soon. @param renews whether it gives them anew */
async function stingyControl(t: Teardown, { renews }: { readonly renews: boolean }): Promise<string> {
  const store = s3Store({ ...cluster.servers.store, clock: systemClock })
  t.teardown(() => store.close())
  const { broker } = await clusterKeys(store)
  return changedControl(t, cluster.url, async (answer, { name, publicKey, isRenewal }) => {
    if (isRenewal) return renews ? answer : undefined
    const expiresAtS = Math.floor(systemClock.now() / 1000) + SHORT_S
    const jwt = await hostUser(broker, name, { publicKey, expiresAtS })
    return { ...answer, broker: { ...answer.broker, jwt, expiresAtMs: expiresAtS * 1000 } }
  })
}

test.serial('a host renews its rights before they run out: nothing moves', async (t) => {
  const peer = await cluster.join('renewing', { url: await stingyControl(t, { renews: true }) })
  const first = peer.joined!.broker.expiresAtMs
  await cluster.untilWhole()
  await untilMs(first - SHORTLY_MS)
  await unharmed(t, cluster, 'renewed', async () => {
    await untilMs(first + 2_000)
  })
  t.true(peer.isRunning)
  await peer.leave()
  cluster.hosts.delete('renewing')
})

test.serial('a host whose rights have run out ends with bus.denied, and the run goes on elsewhere', async (t) => {
  const peer = await cluster.join('expired', { url: await stingyControl(t, { renews: false }) })
  await cluster.untilWhole()
  await untilMs(peer.joined!.broker.expiresAtMs - SHORTLY_MS)
  await unharmed(
    t,
    cluster,
    'expired',
    async () => {
      await until(
        () => `it has ended: ${JSON.stringify(peer.errors)}`,
        () => !peer.isRunning,
      )
    },
    { expected: {} },
  )
  const last = peer.errors.at(-1)!
  t.is(last.code, 'bus.denied')
  t.regex(last.message, /rights of expired.*Start it again/)
  await peer.kill()
  cluster.hosts.delete('expired')
})
