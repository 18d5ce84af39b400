/** What can be said of a cluster from here. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { clusterStore } from '../../actors/cluster.js'
import type { ServersAnswer } from '../../actors/control/control-api.js'
import { checkClock, checkVersion, ControlClient, type Health } from '../../actors/control/control-client.js'
import { type Clock, systemClock } from '../../runtime/clock.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { VERSION } from '../../runtime/version.js'
import { count } from '../view/format.js'
import { type Check, fail, failure, ok, warn } from './check.js'

/** More than this is no harm yet, but nobody looks after the clock. In ms. */
const CLOCK_WARN_MS = 5_000
/** A server on another continent answers within this, in ms. */
const CONNECT_MS = 3_000

/** Everything, from the address on; what depends on something that fails is left out. */
export async function* checkCluster(url: string, token: string | undefined, clock: Clock = systemClock): AsyncGenerator<Check> {
  const client = new ControlClient({ url, token, clock })
  let health: Health
  try {
    health = await client.health()
  } catch (error) {
    return yield failure('control', error)
  }
  yield ok('control', `${url} answers in ${count(Math.ceil(health.roundTripMs))} ms`)
  yield check('version', () => checkVersion(health, VERSION), `${health.version}, here ${VERSION}`)
  yield judgeClock(health)
  let servers: ServersAnswer
  try {
    servers = await client.servers()
  } catch (error) {
    return yield failure('token', error)
  }
  yield ok('token', ROLES[servers.role])
  yield* await Promise.all(addressesOf(servers).map((address) => checkServer(address, servers.role)))
  if (servers.role !== 'trainer') return
  yield await checkStore(clusterStore({ url, token }))
  yield await checkMembers(client)
}

const ROLES = { trainer: 'a trainer’s', newcomer: 'one to join with', host: 'a host’s', admin: 'an admin’s' } as const

function check(name: string, look: () => void, found: string): Check {
  try {
    look()
    return ok(name, found)
  } catch (error) {
    return failure(name, error)
  }
}

function judgeClock(health: Health): Check {
  const found = `${Math.abs(health.differenceMs / 1000).toFixed(1)} s apart`
  if (Math.abs(health.differenceMs) > CLOCK_WARN_MS && check('clock', () => checkClock(health), found).state === 'ok')
    return warn('clock', found, 'Set the clock of this machine by a time service')
  return check('clock', () => checkClock(health), found)
}

interface Address {
  readonly name: string
  readonly host: string
  readonly port: number
}

function addressesOf({ broker, placement, scheduler }: ServersAnswer): Address[] {
  const all = [
    ...broker.map((at) => ['broker', at]),
    ['placement', placement],
    ...(scheduler === undefined ? [] : [['scheduler', scheduler]]),
  ]
  return all.map(([name, at]) => {
    const { hostname, port } = new URL(at.includes('://') ? at : `tcp://${at}`)
    return { name, host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) }
  })
}

/** A machine that joins connects to them; a trainer need not. */
async function checkServer({ name, host, port }: Address, role: ServersAnswer['role']): Promise<Check> {
  const socket = connect({ host, port })
  const where = `${host}:${port}`
  try {
    const signal = AbortSignal.timeout(CONNECT_MS)
    await once(socket, 'connect', { signal })
    // A broker speaks first.
    if (name === 'broker' && !String(await once(socket, 'data', { signal })).startsWith('INFO ')) throw new Error('no NATS server')
    return ok(name, `${where} answers`)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const found = `${where} cannot be reached from here: ${code === 'ABORT_ERR' ? 'no answer' : (code ?? message)}`
    const fix = 'Let this machine connect there, or give control an address that it can reach: --host-ip'
    return role === 'trainer' ? warn(name, `${found}; only machines that join the cluster need it`, fix) : fail(name, found, fix)
  } finally {
    socket.destroy()
  }
}

/** Written, read, not written twice, deleted. */
async function checkStore(store: ObjectStore): Promise<Check> {
  const key = `doctor/${randomUUID()}`
  const bytes = new TextEncoder().encode(key)
  try {
    await store.put(key, bytes, { ifNoneMatch: '*' })
    const isSame = Buffer.compare((await store.get(key)).bytes, bytes) === 0
    const isConditional = await store.put(key, bytes, { ifNoneMatch: '*' }).then(
      () => false,
      (error: unknown) => {
        if (isSwarmError(error, 'store.conflict')) return true
        throw error
      },
    )
    await store.delete(key)
    if (!isSame) return fail('store', 'gives other bytes than it was given', 'Look at the log of the object store')
    if (!isConditional) return fail('store', 'does not refuse a second conditional write', 'Use a store that can: MinIO, S3')
    return ok('store', 'objects are written, read, and not overwritten')
  } catch (error) {
    return failure('store', error)
  } finally {
    await store.close()
  }
}

async function checkMembers(client: ControlClient): Promise<Check> {
  try {
    const members = await client.pnodes()
    const ready = members.filter(({ state }) => state === 'ready').length
    const found = `${ready} ready of ${members.length}`
    return ready > 0 ? ok('pnodes', found) : warn('pnodes', found, `Lend a machine with: swarmgrad host ${client.url}`)
  } catch (error) {
    return failure('pnodes', error)
  }
}
