/**
 * The secrets of a cluster, in its object store under `control/`, which no host may read: what signs grants, what makes hosts known to the
 * broker, what trainers and hosts show at the door. They are all that control needs besides the runs to be rebuilt after the loss of its disk.
 */
import { createHmac, createPrivateKey, createPublicKey, randomBytes, timingSafeEqual } from 'node:crypto'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { type ControlKey, createControlKey } from '../../runtime/grant.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { createAuthority, type NatsAuthority } from '../../runtime/tensor-bus/nats-authority.js'

const CLUSTER_KEYS_VERSION = 1
const KEY = 'control/keys'

export interface ClusterKeys {
  readonly v: typeof CLUSTER_KEYS_VERSION
  /** PKCS #8, PEM. */
  readonly controlKey: string
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
    controlKey: createControlKey().privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
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

export function controlKeyOf({ controlKey }: ClusterKeys): ControlKey {
  const privateKey = createPrivateKey(controlKey)
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

/** What control hosts sign what they say among themselves with. A label that is no name of a host: it is nobody's token. */
export function controlSecretOf({ hostSecret }: Pick<ClusterKeys, 'hostSecret'>): Uint8Array {
  return createHmac('sha256', hostSecret).update('calls between control hosts').digest()
}

/** What a host that has joined shows: its name, and a proof that it was given it. */
export function hostToken({ hostSecret }: ClusterKeys, host: string): string {
  return `host.${host}.${createHmac('sha256', hostSecret).update(host).digest('base64url')}`
}

/** Who shows this token. @throws `cluster.token` */
export function holderOf(keys: ClusterKeys, token: string | undefined): { role: 'trainer' | 'newcomer' } | { role: 'host'; host: string } {
  const [kind, host = ''] = (token ?? '').split('.')
  if (kind === 'host' && isSame(token!, hostToken(keys, host))) return { role: 'host', host }
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
  if (keys?.v !== CLUSTER_KEYS_VERSION)
    throw new SwarmError('cluster.version', {
      what: 'keys of a cluster of another version',
      where: KEY,
      expected: CLUSTER_KEYS_VERSION,
      got: String(keys?.v),
    })
  return keys
}
