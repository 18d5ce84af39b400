/**
 * Who may speak as whom on the broker: NATS's decentralised JWTs. The authority's keys stay with control; the server knows public
 * keys and signed JWTs only, a host keeps the seed of its own key, and the host's name stands in what it may publish.
 */
import {
  createAccount,
  createOperator,
  createUser,
  encodeAccount,
  encodeOperator,
  encodeUser,
  fromPublic,
  fromSeed,
  type KeyPair,
  type User,
} from '@nats-io/jwt'
import { SwarmError } from '../errors.js'
import type { NatsCredentials } from './nats-connection.js'
import { MAX_MESSAGE_BYTES } from './tensor-bus.js'

/** The secret keys of a swarm's broker, as nkey seeds; JSON. Whoever has them can speak as everybody. */
export interface NatsAuthority {
  readonly v: 1
  /** Signs the accounts: `SO…`. */
  readonly operator: string
  /** Signs those who watch the server itself: `SA…`. */
  readonly system: string
  /** Signs hosts and control: `SA…`. */
  readonly swarm: string
}

/** A user key of its own. The seed never leaves who made it. */
export interface HostKey {
  /** `U…` */
  readonly publicKey: string
  /** `SU…` */
  readonly seed: string
}

export interface HostUserOptions {
  /** The host's user key, `U…`. */
  readonly publicKey: string
  /** When the JWT runs out, in seconds since the epoch. Default: never. */
  readonly expiresAtS?: number
}

export interface ServerConfigOptions {
  /** Where the server listens. Default: where its command line says. */
  readonly host?: string
  /** Default: the one of its command line. */
  readonly port?: number
  /** The longest message, in bytes. Default 8 MiB, the most that NATS recommends. */
  readonly maxPayloadBytes?: number
}

/** The name under which control speaks; no host may have it. */
export const CONTROL_NAME = 'control'
/** Names of hosts: one token of subjects, file names and actor types alike. */
const HOST_NAME = /^[A-Za-z0-9_-]{1,64}$/
const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
/** What the server holds for a client that reads too slowly, before it ends its connection: one of the largest messages, and as much again. */
const MAX_PENDING_BYTES = 2 * MAX_MESSAGE_BYTES
/** Subscriptions of one host: two for each VNode, and few more. */
const MAX_HOST_SUBSCRIPTIONS = 10_000
const UNLIMITED = -1

/** What one user may do: subjects on the wire, the publisher's name at their end. */
export interface NatsPermissions {
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
}

/** A new authority, of nothing but random keys. */
export function createAuthority(): NatsAuthority {
  return { v: 1, operator: seedOf(createOperator()), system: seedOf(createAccount()), swarm: seedOf(createAccount()) }
}

/** A new user key, to be made where it is used. */
export function createHostKey(): HostKey {
  const key = createUser()
  return { publicKey: key.getPublicKey(), seed: seedOf(key) }
}

/** The public key of the account that hosts and control belong to: `A…`. */
export function swarmAccount({ swarm }: NatsAuthority): string {
  return keyOf(swarm).getPublicKey()
}

/** Publish only as itself, read only what is addressed to it. @throws `usage` */
export function hostPermissions(host: string): NatsPermissions {
  if (!HOST_NAME.test(host) || host === CONTROL_NAME) {
    throw new SwarmError('usage', {
      what: 'invalid host name',
      expected: `1 to 64 letters, digits, _ or -, and not '${CONTROL_NAME}'`,
      got: JSON.stringify(host),
    })
  }
  const channels = ['heartbeats', 'metrics', 'task_results', 'alerts'].map((channel) => `sg.channel.${channel}`)
  return {
    publish: ['sg.*.to.*.*.*', ...channels, 'sg.ask.*.*', 'sg.answer.*.*'].map((subject) => `${subject}.from.${host}`),
    subscribe: [
      `sg.*.to.${host}.>`,
      `sg.ask.${host}.>`,
      `sg.answer.${host}.>`,
      'sg.channel.task_inbound.>',
      'sg.channel.supervision_events.>',
    ],
  }
}

/** Publish everywhere, as control; read what is addressed to it and all channels. */
export function controlPermissions(): NatsPermissions {
  return {
    publish: ['sg.*.to.*.*.*', 'sg.channel.*', 'sg.ask.*.*', 'sg.answer.*.*'].map((subject) => `${subject}.from.${CONTROL_NAME}`),
    subscribe: [`sg.*.to.${CONTROL_NAME}.>`, `sg.ask.${CONTROL_NAME}.>`, `sg.answer.${CONTROL_NAME}.>`, 'sg.channel.>'],
  }
}

/** The JWT of a host, worthless without the seed of the key that it names. @throws `usage` */
export async function hostUser(authority: NatsAuthority, host: string, { publicKey, expiresAtS }: HostUserOptions): Promise<string> {
  const permissions = hostPermissions(host)
  return encodeUser(host, userKey(publicKey), keyOf(authority.swarm), claimsOf(permissions, MAX_HOST_SUBSCRIPTIONS), { exp: expiresAtS })
}

/** New credentials of control. */
export async function controlUser(authority: NatsAuthority): Promise<NatsCredentials> {
  const key = createUser()
  const jwt = await encodeUser(CONTROL_NAME, key, keyOf(authority.swarm), claimsOf(controlPermissions(), UNLIMITED))
  return { jwt, seed: seedOf(key) }
}

/** New credentials to watch who comes and goes: of the system account, whose subjects nobody else can reach. */
export async function systemUser(authority: NatsAuthority): Promise<NatsCredentials> {
  const key = createUser()
  const events = `$SYS.ACCOUNT.${swarmAccount(authority)}`
  const watching = { publish: [], subscribe: [`${events}.CONNECT`, `${events}.DISCONNECT`] }
  const jwt = await encodeUser('system', key, keyOf(authority.system), claimsOf(watching, UNLIMITED))
  return { jwt, seed: seedOf(key) }
}

/** The text of a nats.conf that admits this authority's users and nobody else. Holds nothing secret: public keys and signed JWTs. */
export async function serverConfig(authority: NatsAuthority, options: ServerConfigOptions = {}): Promise<string> {
  const { host, port, maxPayloadBytes = MAX_PAYLOAD_BYTES } = options
  const [operator, system, swarm] = [authority.operator, authority.system, authority.swarm].map(keyOf)
  const [systemKey, swarmKey] = [system.getPublicKey(), swarm.getPublicKey()]
  const signed = { signer: operator }
  const [operatorJwt, systemJwt, swarmJwt] = await Promise.all([
    encodeOperator('swarmgrad', operator, { system_account: systemKey }),
    encodeAccount('system', system, { limits: NO_LIMITS }, signed),
    encodeAccount('swarm', swarm, { limits: NO_LIMITS }, signed),
  ])
  return `# Written by swarmgrad. Public: the secret keys stay with control.
${host === undefined ? '' : `host: ${JSON.stringify(host)}\n`}${port === undefined ? '' : `port: ${port}\n`}max_payload: ${maxPayloadBytes}
max_pending: ${MAX_PENDING_BYTES}
# A host that falls silent without a word is gone after 15 s.
ping_interval: "5s"
ping_max: 2
operator: ${operatorJwt}
system_account: ${systemKey}
resolver: MEMORY
resolver_preload: {
  ${systemKey}: ${systemJwt}
  ${swarmKey}: ${swarmJwt}
}
`
}

const NO_LIMITS = {
  subs: UNLIMITED,
  data: UNLIMITED,
  payload: UNLIMITED,
  imports: UNLIMITED,
  exports: UNLIMITED,
  conn: UNLIMITED,
  leaf: 0,
  wildcards: true,
}

function claimsOf({ publish, subscribe }: NatsPermissions, subscriptions: number): Partial<User> {
  // To the server an empty list allows everything.
  const only = (subjects: readonly string[]) => (subjects.length > 0 ? { allow: [...subjects], deny: [] } : { allow: [], deny: ['>'] })
  return {
    pub: only(publish),
    sub: only(subscribe),
    subs: subscriptions,
    data: UNLIMITED,
    payload: UNLIMITED,
    allowed_connection_types: ['STANDARD'],
  }
}

/** @throws `usage` */
function userKey(publicKey: string): KeyPair {
  try {
    // A seed in the place of a public key would travel: refuse it.
    if (publicKey.startsWith('U')) return fromPublic(publicKey)
  } catch {
    // Told below.
  }
  throw new SwarmError('usage', { what: 'invalid user key', expected: 'a public nkey, U…', got: `${publicKey.slice(0, 2)}…` })
}

function keyOf(seed: string): KeyPair {
  return fromSeed(new TextEncoder().encode(seed))
}

function seedOf(key: KeyPair): string {
  return new TextDecoder().decode(key.getSeed())
}
