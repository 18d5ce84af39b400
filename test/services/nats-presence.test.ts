import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import {
  controlUser,
  createAuthority,
  createHostKey,
  hostUser,
  serverConfig,
  swarmAccount,
  systemUser,
} from '../../runtime/tensor-bus/nats-authority.js'
import { natsBus } from '../../runtime/tensor-bus/nats-bus.js'
import { type Presence, watchPresence } from '../../runtime/tensor-bus/nats-presence.js'
import { rejectionOf, within } from '../conformance/within.js'
import { natsFor } from '../support/servers.js'

const DEADLINE_MS = 20_000

/** Events as sentences, to be awaited by how they begin. */
function story() {
  const told: string[] = []
  let wake = () => {}
  return {
    told,
    tell(sentence: string) {
      told.push(sentence)
      wake()
    },
    async until(sentence: string) {
      const wait = async () => {
        while (!told.some((one) => one.startsWith(sentence))) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
      }
      await within(DEADLINE_MS, `"${sentence}" (so far: ${told.join('; ')})`, wait())
    },
  }
}

test('the broker tells which host came, which part of it left, and why; a killed process at once', async (t) => {
  const authority = createAuthority()
  const server = await natsFor(t, { config: await serverConfig(authority) })
  const events = story()
  const keys = new Set<string>()
  let goneAt = 0
  const watch = await watchPresence({
    servers: server.url,
    systemCredentials: await systemUser(authority),
    account: swarmAccount(authority),
    onConnect: (presence: Presence) => {
      keys.add(presence.publicKey)
      events.tell(`${presence.host}/${presence.part} came`)
    },
    onDisconnect: ({ host, part }, reason) => {
      goneAt = performance.now()
      events.tell(`${host}/${part} left: ${reason}`)
    },
    onBlind: () => events.tell('blind'),
    onSight: () => events.tell('sighted'),
  })
  t.teardown(() => watch.close())

  const { publicKey, seed } = createHostKey()
  const credentials = { jwt: await hostUser(authority, 'ann', { publicKey }), seed }
  const ann = await natsBus({ servers: server.url, name: 'ann', part: 'control', credentials })
  t.teardown(() => ann.close())
  await events.until('ann/control came')
  t.deepEqual([...keys], [publicKey])

  const peer = fileURLToPath(new URL('nats-peer-process.js', import.meta.url))
  const child = spawn(process.execPath, [peer], {
    env: { ...process.env, NATS_URL: server.url, NATS_CREDENTIALS: JSON.stringify(credentials) },
  })
  t.teardown(() => child.kill('SIGKILL'))
  await events.until('ann/data came')
  const killedAt = performance.now()
  child.kill('SIGKILL')
  await once(child, 'exit')
  await events.until('ann/data left: ')
  t.log(`a killed process was known to be gone after ${(goneAt - killedAt).toFixed(1)} ms`)

  ann.close()
  await events.until('ann/control left: Client Closed')
  t.false(events.told.includes('blind'))
  t.true(watch.isSighted)

  await server.kill()
  await events.until('blind')
  t.false(watch.isSighted)
  await server.restart()
  await events.until('sighted')
  const control = await natsBus({ servers: server.url, name: 'control', credentials: await controlUser(authority) })
  t.teardown(() => control.close())
  await events.until('control/data came')
  t.is(watch.damaged, 0)
})

test('a host cannot watch', async (t) => {
  const authority = createAuthority()
  const server = await natsFor(t, { config: await serverConfig(authority) })
  const { publicKey, seed } = createHostKey()
  const systemCredentials = { jwt: await hostUser(authority, 'ann', { publicKey }), seed }
  const options = { servers: server.url, systemCredentials, account: swarmAccount(authority), onConnect: () => {}, onDisconnect: () => {} }
  t.true(isSwarmError(await rejectionOf(DEADLINE_MS, 'a host', watchPresence(options)), 'bus.denied'))
  t.true(isSwarmError(await rejectionOf(DEADLINE_MS, 'a wrong account', watchPresence({ ...options, account: '>' })), 'usage'))
})
