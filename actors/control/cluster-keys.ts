/**
 * The secrets of a cluster, in its object store under `control/`, which no host may read: what signs grants, what makes hosts known to the
 * broker, what trainers and hosts show at the door. They are all that control needs besides the runs to be rebuilt after the loss of its disk.
 */
import { createHmac, createPrivateKey, createPublicKey, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../../runtime/clock.js'
import { type AcceptedKey, MAX_SUCCESSIONS, signSuccession } from '../../runtime/control-keys.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { type ControlKey, createControlKey } from '../../runtime/grant.js'
import { publicKeyText } from '../../runtime/identity.js'
import type { SignedMessage } from '../../runtime/signed-message.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { createAuthority, type NatsAuthority } from '../../runtime/tensor-bus/nats-authority.js'

const CLUSTER_KEYS_VERSION = 2
const KEY = 'control/keys'

export interface ClusterKeys {
  readonly v: typeof CLUSTER_KEYS_VERSION
  /** The one that signs: PKCS #8, PEM. */
  readonly controlKey: string
  /** Those that are still accepted, oldest first, and how each was followed. Their private halves are gone. */
  readonly former: readonly (Required<AcceptedKey> & { readonly succession: SignedMessage })[]
  /** How each key that there ever was was followed, oldest first: a ledger may be signed by any of them. Absent: `former` has them all. */
  readonly history?: readonly SignedMessage[]
  readonly broker: NatsAuthority
  /** What trainers show. */
  readonly trainerToken: string
  /** What a machine shows that wants to join. */
  readonly joinToken: string
  /** Makes the token of each host out of its name. */
  readonly hostSecret: string
}

function createClusterKeys(): ClusterKeys {
  const secret = () => randomBytes(32).toString('base64url')
  return {
    v: CLUSTER_KEYS_VERSION,
    controlKey: pemOf(createControlKey()),
    former: [],
    broker: createAuthority(),
    trainerToken: secret(),
    joinToken: secret(),
    hostSecret: secret(),
  }
}

/** Those of this cluster; made on its first start, by whichever control host is first. @throws `store.damaged`, codes of the store */
export async function clusterKeys(store: ObjectStore): Promise<ClusterKeys> {
  try {
    return decode((await store.get(KEY)).bytes)
  } catch (error) {
    if (!isSwarmError(error, 'store.not-found')) throw error
  }
  try {
    await store.put(KEY, new TextEncoder().encode(JSON.stringify(createClusterKeys())), { ifNoneMatch: '*' })
  } catch (error) {
    if (!isSwarmError(error, 'store.conflict')) throw error
  }
  return decode((await store.get(KEY)).bytes)
}

const pemOf = ({ privateKey }: ControlKey): string => privateKey.export({ type: 'pkcs8', format: 'pem' }) as string

export function controlKeyOf({ controlKey, former }: Pick<ClusterKeys, 'controlKey' | 'former'>): ControlKey {
  const privateKey = createPrivateKey(controlKey)
  const successions = former.map(({ succession }) => succession)
  return { privateKey, publicKey: createPublicKey(privateKey), ...(successions.length > 0 && { successions }) }
}

/** Every succession that there was, oldest first. */
export function historyOf({ history = [], former }: Pick<ClusterKeys, 'former' | 'history'>): readonly SignedMessage[] {
  const known = new Set(history.map(({ signature }) => signature))
  // Whoever has changed the key without knowing of a history.
  return [...history, ...former.flatMap(({ succession }) => (known.has(succession.signature) ? [] : [succession]))]
}

/** What hosts that join are told to accept. */
export function acceptedKeys(keys: Pick<ClusterKeys, 'controlKey' | 'former'>): AcceptedKey[] {
  const former = keys.former.map(({ key, untilMs }) => ({ key, untilMs }))
  return [...former, { key: publicKeyText(controlKeyOf(keys).publicKey) }]
}

/** How long hosts are told what has followed on a key, in ms, though it is accepted no more: one that has not heard of it trusts it still. */
const TELL_MS = 7 * 24 * 3_600_000

/** Former keys that somebody may still trust. */
export function stillTold(former: ClusterKeys['former'], now: number): ClusterKeys['former'] {
  return former.filter(({ untilMs, succession }) => untilMs > now || succession.message.issuedAtMs > now - TELL_MS)
}

/**
 * Gives control another key; the one that it has had is accepted for so long, in ms. Control hosts take it up within seconds.
 * @throws `usage`: too many are on their way out; `store.conflict`, retryable: somebody else changes it now
 */
export async function rotateControlKey(
  store: ObjectStore,
  clock: Clock,
  acceptMs: number,
): Promise<{ readonly key: string; readonly former: string }> {
  await clusterKeys(store)
  const { bytes, etag } = await store.get(KEY)
  const keys = decode(bytes)
  const now = clock.now()
  const told = stillTold(keys.former, now)
  // Room for one more; who slept through all of these has to join anew.
  const former = told.slice(Math.max(0, told.length - MAX_SUCCESSIONS + 1))
  if (told.length > former.length && told[0].untilMs > now) {
    const fix = `Wait until ${new Intl.DateTimeFormat('sv', { dateStyle: 'short', timeStyle: 'medium' }).format(told[0].untilMs)}`
    throw new SwarmError('usage', {
      what: `${told.length} former keys are still accepted`,
      expected: `fewer than ${MAX_SUCCESSIONS}`,
      fix,
    })
  }
  const old = controlKeyOf(keys)
  const next = createControlKey()
  const untilMs = Math.round(now + acceptMs)
  const succession = signSuccession(old, next.publicKey, untilMs, clock)
  const [key, formerKey] = [publicKeyText(next.publicKey), publicKeyText(old.publicKey)]
  const changed: ClusterKeys = {
    ...keys,
    controlKey: pemOf(next),
    former: [...former, { key: formerKey, untilMs, succession }],
    history: [...historyOf(keys), succession],
  }
  await store.put(KEY, new TextEncoder().encode(JSON.stringify(changed)), { ifMatch: etag })
  return { key, former: formerKey }
}

/** What control hosts sign what they say among themselves with. A label that is no name of a host: it is nobody's token. */
export function controlSecretOf({ hostSecret }: Pick<ClusterKeys, 'hostSecret'>): Uint8Array {
  return createHmac('sha256', hostSecret).update('calls between control hosts').digest()
}

/** What a host that has joined shows: its name, and a proof that it was given it. */
export function hostToken({ hostSecret }: ClusterKeys, host: string): string {
  return `host.${host}.${createHmac('sha256', hostSecret).update(host).digest('base64url')}`
}

/** What those show who run the cluster. A label that is no name of a host. */
export function adminToken({ hostSecret }: Pick<ClusterKeys, 'hostSecret'>): string {
  return `admin.${createHmac('sha256', hostSecret).update('those who run the cluster').digest('base64url')}`
}

/** Who shows this token. @throws `cluster.token` */
export function holderOf(
  keys: ClusterKeys,
  token: string | undefined,
): { role: 'trainer' | 'newcomer' | 'admin' } | { role: 'host'; host: string } {
  const [kind, host = ''] = (token ?? '').split('.')
  if (kind === 'host' && isSame(token!, hostToken(keys, host))) return { role: 'host', host }
  if (isSame(token ?? '', adminToken(keys))) return { role: 'admin' }
  if (isSame(token ?? '', keys.trainerToken)) return { role: 'trainer' }
  if (isSame(token ?? '', keys.joinToken)) return { role: 'newcomer' }
  const fix = 'Set SWARMGRAD_TOKEN, or put it into the file that `swarmgrad up` names'
  throw new SwarmError('cluster.token', { what: token ? 'the token is not one of this cluster' : 'this cluster asks for a token', fix })
}

function isSame(got: string, expected: string): boolean {
  const [a, b] = [Buffer.from(got), Buffer.from(expected)]
  return a.length === b.length && timingSafeEqual(a, b)
}

function decode(bytes: Uint8Array): ClusterKeys {
  let keys: ClusterKeys
  try {
    keys = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SwarmError('store.damaged', { what: 'unreadable keys of the cluster', where: KEY, cause })
  }
  // Before keys could be changed.
  if ((keys?.v as number) === 1) return { ...keys, v: CLUSTER_KEYS_VERSION, former: [] }
  if (keys?.v !== CLUSTER_KEYS_VERSION)
    throw new SwarmError('cluster.version', {
      what: 'keys of a cluster of another version',
      where: KEY,
      expected: CLUSTER_KEYS_VERSION,
      got: String(keys?.v),
    })
  return keys
}
