import test from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import {
  controlPermissions,
  controlUser,
  createAuthority,
  createHostKey,
  hostPermissions,
  hostUser,
  serverConfig,
  swarmAccount,
  systemUser,
} from '../../runtime/tensor-bus/nats-authority.js'
import { presenceOf } from '../../runtime/tensor-bus/nats-presence.js'

/** The claims of a JWT, unverified. */
function claimsOf(jwt: string) {
  return JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url').toString())
}

test('the golden permissions of a host: publish as itself, read what is addressed to it', (t) => {
  t.deepEqual(hostPermissions('laptop-7'), {
    publish: [
      'sg.*.to.*.*.*.from.laptop-7',
      'sg.channel.heartbeats.from.laptop-7',
      'sg.channel.metrics.from.laptop-7',
      'sg.channel.task_results.from.laptop-7',
      'sg.channel.alerts.from.laptop-7',
      'sg.ask.*.*.from.laptop-7',
      'sg.answer.*.*.from.laptop-7',
    ],
    subscribe: [
      'sg.*.to.laptop-7.>',
      'sg.ask.laptop-7.>',
      'sg.answer.laptop-7.>',
      'sg.channel.task_inbound.>',
      'sg.channel.supervision_events.>',
    ],
  })
})

test('a host’s JWT names the host, its key, its permissions and its end, and holds no seed', async (t) => {
  const authority = createAuthority()
  const { publicKey, seed } = createHostKey()
  const jwt = await hostUser(authority, 'ann', { publicKey, expiresAtS: 2_000_000_000 })
  const claims = claimsOf(jwt)
  t.is(claims.name, 'ann')
  t.is(claims.sub, publicKey)
  t.is(claims.iss, swarmAccount(authority))
  t.is(claims.exp, 2_000_000_000)
  t.deepEqual(claims.nats.pub, { allow: hostPermissions('ann').publish, deny: [] })
  t.deepEqual(claims.nats.sub, { allow: hostPermissions('ann').subscribe, deny: [] })
  t.is(claims.nats.bearer_token ?? false, false)
  t.is(claims.nats.resp, undefined)
  t.false(jwt.includes(seed))
})

test('control and the watch have keys of their own; the watch may say nothing', async (t) => {
  const authority = createAuthority()
  const [control, system] = [await controlUser(authority), await systemUser(authority)]
  t.deepEqual(claimsOf(control.jwt).nats.pub.allow, controlPermissions().publish)
  t.true(controlPermissions().publish.every((subject) => subject.endsWith('.from.control')))
  t.deepEqual(claimsOf(system.jwt).nats.pub, { allow: [], deny: ['>'] })
  t.is(claimsOf(control.jwt).nats.type, 'user')
  t.not(claimsOf(control.jwt).iss, claimsOf(system.jwt).iss)
  for (const { seed } of [control, system]) t.regex(seed, /^SU[A-Z2-7]{56}$/)
})

test('the server’s configuration holds public keys and JWTs, and no secret', async (t) => {
  const authority = createAuthority()
  const config = await serverConfig(authority, { host: '127.0.0.1', port: 4222 })
  for (const secret of [authority.operator, authority.system, authority.swarm]) t.false(config.includes(secret))
  t.notRegex(config, /\bS[OAU][A-Z2-7]{50,}/)
  const shape = config.replaceAll(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, '<jwt>').replaceAll(/\bA[A-Z2-7]{55}\b/g, '<account>')
  t.is(
    shape,
    `# Written by swarmgrad. Public: the secret keys stay with control.
host: "127.0.0.1"
port: 4222
max_payload: 8388608
max_pending: 536870912
# A host that falls silent without a word is gone after 15 s.
ping_interval: "5s"
ping_max: 2
operator: <jwt>
system_account: <account>
resolver: MEMORY
resolver_preload: {
  <account>: <jwt>
  <account>: <jwt>
}
`,
  )
  t.false((await serverConfig(authority)).includes('port:'))
})

test('names and keys that make no sense are refused', async (t) => {
  const authority = createAuthority()
  const { publicKey, seed } = createHostKey()
  for (const name of ['', 'a.b', 'a b', '*', '>', 'control', 'ü', 'x'.repeat(65)]) {
    t.true(isSwarmError(await t.throwsAsync(hostUser(authority, name, { publicKey })), 'usage'), name)
  }
  for (const key of ['', 'U', seed, swarmAccount(authority), `${publicKey.slice(0, -1)}!`]) {
    const error = await t.throwsAsync(hostUser(authority, 'ann', { publicKey: key }))
    t.true(isSwarmError(error, 'usage'), key)
    t.false(key === seed && error.message.includes(seed), 'the message repeats a seed')
  }
})

test('who came is read from the JWT that the broker has verified', async (t) => {
  const { publicKey } = createHostKey()
  const jwt = await hostUser(createAuthority(), 'ann', { publicKey })
  const client = { id: 7, user: publicKey, name: 'bob/control', jwt }
  t.deepEqual(presenceOf({ client }), { host: 'ann', part: 'control', publicKey, connection: 7 })
  t.is(presenceOf({ client: { ...client, name: undefined } })?.part, 'data')
  for (const wrong of [undefined, '', 'a.b.c', 'a']) t.is(presenceOf({ client: { ...client, jwt: wrong } }), undefined)
})
