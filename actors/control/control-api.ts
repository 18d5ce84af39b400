/**
 * The HTTP API of a control host: the one address that a trainer needs, and where a machine asks to join. JSON; an error is
 * `{code, message, retryable}`, as in store-protocol.ts. Everything but `/health` wants `Authorization: Bearer <token>`.
 *
 * | | who | |
 * |---|---|---|
 * | GET /health | anybody | `{v, version, nowMs}` |
 * | POST /v1/hosts | join token | a machine joins: `JoinRequest`, signed with the key in it → `JoinAnswer` |
 * | DELETE /v1/hosts/:name | that host | gives its name back |
 * | GET /v1/servers | anybody with a token | what the token is good for, and the addresses of a host's other servers: `ServersAnswer` |
 * | GET /metrics, /queue_stats, /checkpoint_state | trainer | node-endpoints.ts |
 * | GET /v1/pnodes | trainer | who is there |
 * | POST /v1/pnodes/:name/drain, /undrain | trainer | it gets no VNodes, and hands over those that it has: `DrainAnswer`; that is taken back |
 * | POST /v1/pnodes/:name/endQuarantine | trainer | it may have VNodes again, on probation: `EndAnswer` |
 * | GET /v1/trust | admin | for whom control vouches: `TrustAnswer` |
 * | POST /v1/trust/:name/grant, /revoke | admin | it vouches for a host, for so long: `{forMs}`; it does not any more → `TrustEntry` |
 * | POST /v1/runs/:run/start, /pause | trainer | |
 * | GET /v1/runs/:run/events | trainer | one event a line, from a snapshot on; what was before is in the log by then; 404 where the run is not under way |
 * | /v1/store/… | trainer, host | objects (store-routes.ts): all of them (the ledger and records of hosts to read only), or a host's own by pre-signed URL |
 */
import { once } from 'node:events'
import { z } from 'zod'
import type { Clock } from '../../runtime/clock.js'
import type { AcceptedKey } from '../../runtime/control-keys.js'
import { SwarmError, toSwarmError } from '../../runtime/errors.js'
import { httpApp, httpJson, type Express, type Request, type Response } from '../../runtime/http-server.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { S3Store } from '../../runtime/object-store/s3-store.js'
import { type Access, type StoreOperation, storeRoutes } from '../../runtime/object-store/store-routes.js'
import { statusOf } from '../../runtime/object-store/store-protocol.js'
import { publicKeyFrom } from '../../runtime/identity.js'
import { ReplayGuard } from '../../runtime/replay-guard.js'
import { assertSignature, keyVerifier, readMessage, type SignedMessage } from '../../runtime/signed-message.js'
import { hostUser } from '../../runtime/tensor-bus/nats-authority.js'
import { type ClusterKeys, holderOf, hostToken } from './cluster-keys.js'
import type { LiveKey } from './live-key.js'
import type { ControlHost } from './control-host.js'
import { claimName, HOST_NAME, hostAccess, releaseName } from './host-registry.js'
import { CONTROL } from './channels.js'
import { TRUST_PREFIX } from '../trust/host-records.js'
import { LEDGER_PREFIX } from '../trust/ledger-entry.js'
import { addNodeEndpoints, controlReport } from './node-endpoints.js'
import type { TrustEntry } from './trust-book.js'

export const API_VERSION = 1
/** 2: with an identity, and signed. */
export const JOIN_VERSION = 2
/** What a request to join is for. */
export const JOIN = 'join'
/** A host's right to the broker runs out after so long, in seconds; it fetches a new one long before. */
const HOST_USER_S = 24 * 3600
const MAX_BODY_BYTES = 64 * 1024

const joinRequest = z.object({
  v: z.literal(JOIN_VERSION),
  name: z.string().regex(HOST_NAME, 'wants 1 to 40 of a-z, 0-9 and -, not beginning with -'),
  owner: z.string().max(100),
  /** Its user key on the broker. */
  publicKey: z.string().regex(/^U[A-Z2-7]{55}$/, 'wants a user key, U…'),
  /** Its public identity key (identity.ts). The request is signed with it. */
  identity: z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'wants a public key, 32 bytes in base64url'),
  /** Of swarmgrad. */
  version: z.string().max(40),
  /** It is here, and only wants its right to the broker anew. */
  isRenewal: z.boolean().optional(),
})
export type JoinRequest = z.infer<typeof joinRequest>

/** All that a machine needs to know to be a PNode. */
export interface JoinAnswer {
  readonly v: typeof API_VERSION
  readonly name: string
  readonly version: string
  /** For this API. */
  readonly token: string
  /** What control signs with, and has signed with. */
  readonly controlKeys: readonly AcceptedKey[]
  /** How these keys followed each other: a host that is here already learns new ones by that. */
  readonly successions: readonly SignedMessage[]
  readonly broker: { readonly servers: readonly string[]; readonly jwt: string; readonly expiresAtMs: number }
  /** `host:port`. */
  readonly placement: string
  readonly scheduler?: string
  readonly heartbeatMs: number
  readonly nowMs: number
}

/** For those who want to know whether a machine could join: addresses as hosts reach them. */
export interface ServersAnswer {
  /** Of the token that was shown: `newcomer` is one to join with. */
  readonly role: 'trainer' | 'newcomer' | 'host' | 'admin'
  readonly broker: readonly string[]
  /** `host:port`. */
  readonly placement: string
  readonly scheduler?: string
}

/** What a drained host still has: `<run>/<vnode>`; `<run>/?` where the run could not be asked. */
export interface DrainAnswer {
  readonly left: readonly string[]
}

/** Whether a host was in quarantine until now. */
export interface EndAnswer {
  readonly wasQuarantined: boolean
}

/** For whom control vouches, and for whom it has. */
export interface TrustAnswer {
  readonly trust: readonly TrustEntry[]
}

export interface ControlApiOptions {
  readonly host: ControlHost
  /** For hosts it has to sign URLs. */
  readonly store: ObjectStore & Partial<Pick<S3Store, 'presign'>>
  readonly keys: ClusterKeys
  readonly controlKey: Pick<LiveKey, 'accepted' | 'successions'>
  readonly clock: Clock
  /** Of swarmgrad. */
  readonly version: string
  /** Addresses as hosts reach them. */
  readonly servers: { readonly broker: readonly string[]; readonly placement: string; readonly scheduler?: string }
  readonly heartbeatMs: number
}

export function controlApi(options: ControlApiOptions): Express {
  const { host, store, keys, clock, version } = options
  const app = httpApp()
  const guard = new ReplayGuard(clock)
  const holder = (request: Request) => holderOf(keys, /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1])
  const onlyTrainers = (request: Request) => {
    if (holder(request).role !== 'trainer')
      throw new SwarmError('cluster.token', { what: 'this is for trainers', fix: 'Use the trainer token' })
  }
  app.get('/health', (_request, response) => void response.json({ v: API_VERSION, version, nowMs: clock.now() }))
  app.get('/stats', (request, response) => {
    onlyTrainers(request)
    response.json(host.stats)
  })
  addNodeEndpoints(app, controlReport(host), onlyTrainers)
  app.get('/v1/servers', (request, response) => {
    const { role } = holder(request)
    response.json({ role, ...options.servers } satisfies ServersAnswer)
  })
  app.get('/v1/pnodes', (request, response) => {
    onlyTrainers(request)
    response.json({ pnodes: host.members })
  })
  app.post('/v1/hosts', httpJson(MAX_BODY_BYTES), (request, response) =>
    answer(response, async () => {
      try {
        return await join(options, guard, holder(request), request.body)
      } catch (error) {
        host.refuse(`join: ${toSwarmError(error, 'internal').code}`)
        throw error
      }
    }),
  )
  app.delete('/v1/hosts/:name', (request, response) =>
    answer(response, async () => {
      const who = holder(request)
      const { name } = request.params
      if (who.role !== 'host' || who.host !== name)
        throw new SwarmError('cluster.token', { what: `only ${name} itself gives its name back` })
      await releaseName(store, name)
      await host.forget(name)
      return {}
    }),
  )
  app.post('/v1/pnodes/:name/:what', (request, response) =>
    answer(response, async () => {
      onlyTrainers(request)
      const { name, what } = request.params
      if (what === 'drain') return { left: await host.drain(name) } satisfies DrainAnswer
      if (what === 'endQuarantine') return { wasQuarantined: await host.endQuarantine(name) } satisfies EndAnswer
      if (what !== 'undrain')
        throw new SwarmError('usage', {
          what: 'nothing that can be done to a PNode',
          expected: 'drain, undrain or endQuarantine',
          got: what,
        })
      await host.undrain(name)
      return {}
    }),
  )
  addTrustEndpoints(app, host, (request) => holder(request).role === 'admin')
  app.post('/v1/runs/:run/:what', (request, response) =>
    answer(response, async () => {
      onlyTrainers(request)
      const { run, what } = request.params
      if (what === 'start') await host.startRun(run)
      else if (what === 'pause') await host.pauseRun(run)
      else throw new SwarmError('usage', { what: 'nothing that can be done to a run', expected: 'start or pause', got: what })
      return {}
    }),
  )
  app.get('/v1/runs/:run/events', (request, response) => streamEvents(host, request, response, () => onlyTrainers(request)))
  const access = async (request: Request): Promise<Access> => {
    const who = holder(request)
    if (who.role === 'host') {
      // Whose put was refused because something is there asks whether that is his own, of which he did not hear.
      const isCreate = request.headers['if-none-match'] === '*' || request.method === 'HEAD'
      return hostAccess(store, who.host, { isCreate })
    }
    onlyTrainers(request)
    return { via: 'stream', allows: (operation, key) => mayTrainer(operation, key) }
  }
  app.use(storeRoutes({ store, authorize: access, presign: store.presign?.bind(store) }))
  app.use((error: unknown, _request: Request, response: Response, _next: () => void) => {
    const refused = bodyError(error)
    if (refused) host.refuse(`request: ${refused.code}`)
    sendError(response, refused ?? error)
  })
  return app
}

/** At most so long control vouches for a host without being asked again, in ms: a year. */
export const MAX_TRUST_MS = 366 * 24 * 3_600_000

/** A trainer's word says who computes what; whose word counts, those say who run the cluster. */
function addTrustEndpoints(app: Express, { trust }: ControlHost, isAdmin: (request: Request) => boolean): void {
  const bookFor = (request: Request) => {
    if (!isAdmin(request))
      throw new SwarmError('cluster.token', { what: 'this is for those who run the cluster', fix: 'Use the admin token' })
    if (trust) return trust
    throw new SwarmError('usage', { what: 'nobody is vouched for here' })
  }
  app.get('/v1/trust', (request, response) =>
    answer(response, async () => {
      const book = bookFor(request)
      await book.look()
      return { trust: book.entries } satisfies TrustAnswer
    }),
  )
  app.post('/v1/trust/:name/:what', httpJson(MAX_BODY_BYTES), (request, response) =>
    answer(response, async () => {
      const book = bookFor(request)
      const { name, what } = request.params as { readonly name: string; readonly what: string }
      if (what === 'revoke') return book.revoke(name)
      if (what !== 'grant')
        throw new SwarmError('usage', { what: 'nothing that can be done to trust', expected: 'grant or revoke', got: what })
      const { forMs } = (request.body ?? {}) as { readonly forMs?: unknown }
      if (typeof forMs === 'number' && forMs >= 1 && forMs <= MAX_TRUST_MS) return book.grant(name, forMs)
      throw new SwarmError('usage', { what: 'forMs', expected: `a number from 1 to ${MAX_TRUST_MS}`, got: String(forMs) })
    }),
  )
}

/** Of what is control's own a trainer may read the ledger and the records of hosts: everybody may verify them, nobody else writes them. */
function mayTrainer(operation: StoreOperation, key: string): boolean {
  const isControls = key.startsWith(LEDGER_PREFIX) || key.startsWith(TRUST_PREFIX)
  if (isControls && (operation === 'put' || operation === 'delete')) return false
  return !isSecret(key, operation === 'list')
}

/** Whether a key, or any that begins like it, is one of control's own. */
function isSecret(key: string, isPrefix: boolean): boolean {
  return key.startsWith('control/') || (isPrefix && 'control/'.startsWith(key))
}

async function join(options: ControlApiOptions, guard: ReplayGuard, who: ReturnType<typeof holderOf>, body: unknown): Promise<JoinAnswer> {
  const { store, keys, clock, version, servers, host, heartbeatMs } = options
  const signed = signedJoin(body, version)
  const { success, data, error } = joinRequest.safeParse(signed.message.body)
  if (!success) throw new SwarmError('usage', { what: 'not a request to join', got: z.prettifyError(error) })
  const { name, owner, publicKey, identity } = data
  if (name === CONTROL) throw new SwarmError('usage', { what: `no host can be called ${CONTROL}`, fix: 'Choose another name with --name' })
  if (who.role === 'trainer') throw new SwarmError('cluster.token', { what: 'this is a trainer’s token', fix: 'Join with the join token' })
  if (who.role === 'host' && who.host !== name) throw new SwarmError('cluster.token', { what: `the token is not that of ${name}` })
  if (minorOf(data.version) !== minorOf(version)) {
    const fix = `Install swarmgrad ${minorOf(version)}.x on this machine`
    throw new SwarmError('cluster.version', {
      what: 'another version of swarmgrad',
      expected: `${minorOf(version)}.x`,
      got: data.version,
      fix,
    })
  }
  // Whoever asks has the key that is to verify his words from now on.
  assertSignature(signed, keyVerifier(publicKeyFrom(identity)))
  const { from, to, purpose } = signed.message
  if (from !== name || to !== CONTROL || purpose !== JOIN)
    throw new SwarmError('message.denied', {
      what: 'not signed as a request to join',
      expected: `of ${name}`,
      got: `${purpose} of ${from} to ${to}`,
    })
  // By his key, not by the name: nobody uses up the numbers of another.
  guard.admit({ ...signed.message, from: identity })
  await claimName(store, { name, publicKey, identity, owner })
  const known = host.members.find(({ pnode }) => pnode === name)
  if (!(who.role === 'host' && data.isRenewal) && known && known.state !== 'lost') {
    const fix = 'Choose another name with --name, or wait a few seconds if it was just stopped'
    throw new SwarmError('host.name-taken', { what: `${name} is here already`, retryable: true, fix })
  }
  const expiresAtMs = clock.now() + HOST_USER_S * 1000
  return {
    v: API_VERSION,
    name,
    version,
    token: hostToken(keys, name),
    controlKeys: options.controlKey.accepted,
    successions: options.controlKey.successions ?? [],
    broker: {
      servers: servers.broker,
      jwt: await hostUser(keys.broker, name, { publicKey, expiresAtS: Math.floor(expiresAtMs / 1000) }),
      expiresAtMs,
    },
    placement: servers.placement,
    ...(servers.scheduler !== undefined && { scheduler: servers.scheduler }),
    heartbeatMs,
    nowMs: clock.now(),
  }
}

/** @throws `cluster.version`: of before there were identities; `message.unsigned`, `message.damaged`, `message.version` */
function signedJoin(body: unknown, version: string): SignedMessage {
  if ((body as Partial<JoinRequest> | null)?.v === undefined) return readMessage(body)
  const fix = `Install swarmgrad ${version} on this machine`
  throw new SwarmError('cluster.version', { what: 'a request to join of another version: hosts sign theirs', expected: JOIN_VERSION, fix })
}

/** `0.1` of `0.1.7`: what may differ within it does not concern the wire. */
export const minorOf = (version: unknown): string => String(version).split('.').slice(0, 2).join('.')

async function streamEvents(host: ControlHost, request: Request, response: Response, admit: () => void): Promise<void> {
  try {
    admit()
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const events = await host.watch(String(request.params.run), gone.signal)
    if (!events) throw new SwarmError('run.not-found', { what: `run ${String(request.params.run)} is not under way here` })
    response.status(200).set({ 'Content-Type': 'application/x-ndjson', 'Cache-Control': 'no-store' }).flushHeaders()
    for await (const event of events) {
      if (!response.write(`${JSON.stringify(event)}\n`)) await once(response, 'drain', { signal: gone.signal })
    }
    response.end()
  } catch (error) {
    if (response.headersSent) response.destroy()
    else sendError(response, error)
  }
}

/** What the server says of a body that it could not read. */
function bodyError(error: unknown): SwarmError | undefined {
  const { type, message } = error as { readonly type?: unknown; readonly message?: string }
  if (type === 'entity.too.large')
    return new SwarmError('message.too-large', { what: 'the request is too large', expected: `at most ${MAX_BODY_BYTES} bytes` })
  if (type === 'entity.parse.failed') return new SwarmError('message.damaged', { what: 'the request is no JSON', got: message })
  return undefined
}

function answer(response: Response, work: () => Promise<object>): void {
  work().then(
    (result) => response.json(result),
    (error: unknown) => sendError(response, error),
  )
}

function sendError(response: Response, error: unknown): void {
  if (response.headersSent) return void response.destroy()
  const cause = toSwarmError(error, 'internal')
  response.status(statusOf(cause)).json(cause.toJSON())
}
