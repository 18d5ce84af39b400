import { connect as rawConnect, jwtAuthenticator } from '@nats-io/transport-node'
import test, { type ExecutionContext } from 'ava'
import { isSwarmError, type SwarmError } from '../../runtime/errors.js'
import {
  controlUser,
  createAuthority,
  createHostKey,
  hostUser,
  type NatsAuthority,
  serverConfig,
  systemUser,
} from '../../runtime/tensor-bus/nats-authority.js'
import { type NatsBus, natsBus, type NatsCredentials } from '../../runtime/tensor-bus/nats-bus.js'
import { numbered, numberIn, readerOf } from '../conformance/bus-reader.js'
import { rejectionOf, within, yieldTurn } from '../conformance/within.js'
import { forFile, natsFor } from '../support/servers.js'

const DEADLINE_MS = 20_000
const servers = forFile()
const authority = createAuthority()
let url: string

test.before(async () => {
  ;({ url } = await natsFor(servers, { config: await serverConfig(authority) }))
})
test.after.always(() => servers.end())

/** A host's credentials, of this swarm or of another. */
async function credentialsOf(host: string, by: NatsAuthority = authority, expiresAtS?: number): Promise<NatsCredentials> {
  const { publicKey, seed } = createHostKey()
  return { jwt: await hostUser(by, host, { publicKey, expiresAtS }), seed }
}

/** A peer of the guarded server, with what it was refused. */
async function join(t: ExecutionContext, name: string, credentials?: NatsCredentials): Promise<NatsBus & { refused: SwarmError[] }> {
  const refused: SwarmError[] = []
  const own = credentials ?? (name === 'control' ? await controlUser(authority) : await credentialsOf(name))
  const bus = await natsBus({ servers: url, name, credentials: own, onError: (error) => refused.push(error) })
  t.teardown(() => bus.close())
  return Object.assign(bus, { refused })
}

async function until(isSo: () => boolean): Promise<void> {
  const endAt = performance.now() + DEADLINE_MS
  while (!isSo() && performance.now() < endAt) await yieldTurn()
}

test('hosts speak with each other and with control, each as itself', async (t) => {
  const [ann, bob, control] = await Promise.all(['ann', 'bob', 'control'].map((name) => join(t, name)))
  const atBob = await readerOf(bob, 'sg.run.to.bob.v1.frame', DEADLINE_MS)
  const atAnn = await readerOf(ann, 'sg.ask.ann.>', DEADLINE_MS)
  const events = await readerOf(ann, 'sg.channel.supervision_events', DEADLINE_MS)
  const atControl = await readerOf(control, 'sg.channel.metrics', DEADLINE_MS)
  const answers = await readerOf(control, 'sg.answer.control.>', DEADLINE_MS)
  ann.publish('sg.run.to.bob.v1.frame', numbered(1, 300_000))
  control.publish('sg.run.to.bob.v1.frame', numbered(2))
  control.publish('sg.ask.ann.7', numbered(3))
  control.publish('sg.channel.supervision_events', numbered(4))
  ann.publish('sg.channel.metrics', numbered(5))
  ann.publish('sg.answer.control.7', numbered(6))
  const heard = [...(await atBob.messages(2)), ...(await atAnn.messages(1)), ...(await events.messages(1))]
  t.deepEqual(heard.map(({ from, bytes }) => `${from} ${numberIn(bytes)}`).sort(), ['ann 1', 'control 2', 'control 3', 'control 4'])
  t.is((await atControl.messages(1))[0].from, 'ann')
  t.is((await answers.messages(1))[0].from, 'ann')
  for (const peer of [ann, bob, control]) t.deepEqual(peer.refused, [])
})

test('a host cannot publish as another, whatever it calls itself', async (t) => {
  const [mallory, victim, control] = await Promise.all([
    join(t, 'victim', await credentialsOf('mallory')),
    join(t, 'victim'),
    join(t, 'control'),
  ])
  const reader = await readerOf(control, 'sg.channel.>', DEADLINE_MS)
  mallory.publish('sg.channel.heartbeats', numbered(666))
  mallory.publish('sg.run.to.ann.v.frame', numbered(666))
  await mallory.flush()
  victim.publish('sg.channel.heartbeats', numbered(1))
  t.is(numberIn((await reader.messages(1))[0].bytes), 1)
  await until(() => mallory.counts.denied === 2)
  t.true(mallory.refused.every((error) => isSwarmError(error, 'bus.denied')))
  t.true(mallory.isUp && victim.isUp)
})

test('a host publishes where hosts publish, and nowhere else', async (t) => {
  const host = await join(t, 'narrow')
  const refused = [
    'a',
    'sg.channel.supervision_events',
    'sg.channel.task_inbound',
    'sg.run.to.bob.v',
    'sg.run.to.bob.v.frame.more',
    '$SYS.REQ.SERVER.PING',
  ]
  for (const subject of refused) host.publish(subject, numbered(1))
  await host.flush()
  await until(() => host.counts.denied === refused.length)
  t.pass()
})

test('a host hears nothing that is not addressed to it', async (t) => {
  const host = await join(t, 'curious')
  const others = [
    'sg.run.to.bob.v.frame',
    'sg.run.to.bob.>',
    'sg.run.>',
    'sg.>',
    'sg.channel.>',
    'sg.channel.heartbeats',
    'sg.ask.bob.>',
    '$SYS.>',
    'a',
    '_INBOX.>',
  ]
  for (const subject of others) {
    const subscription = host.subscribe(subject, { capacity: 1 })
    const error = await rejectionOf(DEADLINE_MS, subject, subscription.ready)
    t.true(isSwarmError(error, 'bus.denied'), `${subject}: ${String(error)}`)
    t.true((await within(DEADLINE_MS, 'its end', subscription[Symbol.asyncIterator]().next())).done, subject)
  }
  await until(() => host.counts.denied === others.length)
  const fine = await readerOf(host, 'sg.run.to.curious.v.frame', DEADLINE_MS)
  const control = await join(t, 'control')
  control.publish('sg.run.to.curious.v.frame', numbered(1))
  await fine.messages(1)
})

test('a host that knows the protocol hears no more: every subject at once, other hosts, the system', async (t) => {
  const { jwt, seed } = await credentialsOf('expert')
  const raw = await rawConnect({ servers: url, authenticator: jwtAuthenticator(jwt, new TextEncoder().encode(seed)) })
  t.teardown(() => raw.close())
  for (const wire of [
    '>',
    'sg.>',
    'sg.*.to.*.>',
    'sg.*.to.bob.>',
    'sg.*.*.*.>',
    '*.*.to.expert.>',
    '$SYS.>',
    '$SYS.ACCOUNT.>',
    '_INBOX.>',
  ]) {
    const subscription = raw.subscribe(wire)
    await raw.flush()
    t.true(subscription.isClosed(), wire)
    t.regex(String(await subscription.closed), /Permissions Violation/, wire)
  }
})

test('credentials that are not good are refused by code', async (t) => {
  const key = createHostKey()
  const good = { jwt: await hostUser(authority, 'good', { publicKey: key.publicKey }), seed: key.seed }
  const [head, body, signature] = good.jwt.split('.')
  const claims = Buffer.from(body, 'base64url').toString().replaceAll('.from.good', '.from.evil')
  const bad: { [what: string]: NatsCredentials } = {
    'with another seed': { jwt: good.jwt, seed: createHostKey().seed },
    'of another authority': await credentialsOf('good', createAuthority()),
    expired: await credentialsOf('good', authority, 1),
    'with changed claims': { jwt: [head, Buffer.from(claims).toString('base64url'), signature].join('.'), seed: key.seed },
    'that are none': { jwt: 'a.b.c', seed: key.seed },
    'whose seed is none': { jwt: good.jwt, seed: 'SUNONE' },
  }
  for (const [what, credentials] of Object.entries(bad)) {
    const error = await rejectionOf(DEADLINE_MS, what, natsBus({ servers: url, name: 'good', credentials }))
    t.true(isSwarmError(error, 'bus.denied') && !error.retryable, `${what}: ${String(error)}`)
  }
  t.true(isSwarmError(await rejectionOf(DEADLINE_MS, 'none', natsBus({ servers: url, name: 'good' })), 'bus.denied'))
  await join(t, 'good', good)
})

test('credentials that run out end the connection, by code, and can be renewed while it lasts', async (t) => {
  const nowS = Math.floor(Date.now() / 1000)
  const { publicKey, seed } = createHostKey()
  const short = { jwt: await hostUser(authority, 'short', { publicKey, expiresAtS: nowS + 2 }), seed }
  const long = { jwt: await hostUser(authority, 'short', { publicKey }), seed }
  let asked = 0
  const [ended, renewed] = await Promise.all([
    natsBus({ servers: url, name: 'short', credentials: short }),
    natsBus({ servers: url, name: 'short', credentials: () => (asked++ === 0 ? short : long) }),
  ])
  t.teardown(() => renewed.close())
  const end = await within(DEADLINE_MS, 'the end', ended.closed)
  t.true(isSwarmError(end, 'bus.denied'), String(end))
  await within(DEADLINE_MS, 'the renewed one goes on', renewed.flush())
  t.true(renewed.isUp)
})

test('who watches the system hears nothing else and says nothing', async (t) => {
  const { jwt, seed } = await systemUser(authority)
  const raw = await rawConnect({ servers: url, authenticator: jwtAuthenticator(jwt, new TextEncoder().encode(seed)) })
  t.teardown(() => raw.close())
  const violations: string[] = []
  const watching = (async () => {
    for await (const event of raw.status()) if (event.type === 'error') violations.push(event.error.message)
  })()
  raw.publish('$SYS.REQ.SERVER.PING')
  const subscription = raw.subscribe('$SYS.>')
  await raw.flush()
  t.true(subscription.isClosed())
  await raw.close()
  await watching
  t.is(violations.length, 2, violations.join('\n'))
})
