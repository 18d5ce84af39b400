/** Who a machine is to a cluster: its keys, made here and never sent; the token that the cluster gave it. In the folder of the host. */
import { join } from 'node:path'
import { createHostKey, type HostKey } from '../../runtime/tensor-bus/nats-authority.js'
import { SwarmError } from '../../runtime/errors.js'
import { type Identity, keepIdentity, publicKeyText, readIdentity } from '../../runtime/identity.js'
import { readSecret, writeSecret } from './folder.js'

const IDENTITY_VERSION = 2
const IDENTITY_FILE = 'identity.json'
/** The key that signs what this machine says: PKCS #8, PEM. */
export const KEY_FILE = 'identity.pem'
export const TOKEN_FILE = 'token.json'
/** Users' modules, by hash. */
export const CODE_FOLDER = 'code'
/** The sidecar's working folder, with its log. */
export const SIDECAR_FOLDER = 'daprd'
/** All that a host keeps, besides its lock. */
export const HOST_FILES = [IDENTITY_FILE, KEY_FILE, TOKEN_FILE, CODE_FOLDER, SIDECAR_FOLDER] as const

interface HostIdentity extends HostKey {
  readonly v: typeof IDENTITY_VERSION
  readonly name: string
  /** The public half of the key in `KEY_FILE`. */
  readonly identity: string
}

/** Of version 1 there was the key on the broker alone. */
type KnownIdentity = HostIdentity | (Omit<HostIdentity, 'v' | 'identity'> & { readonly v: 1 })

/** What a machine signs with: on the broker, and as itself. */
export interface HostKeys {
  readonly key: HostKey
  readonly identity: Identity
  readonly isNew: boolean
}

/** The token of a host for one cluster. */
export interface HostToken {
  readonly url: string
  readonly token: string
}

/**
 * This machine's keys, made on the first call.
 * @throws `host.name-taken`: the folder is that of another name; `cluster.token`; codes of `readIdentity`
 */
export async function identityOf(folder: string, name: string): Promise<HostKeys> {
  const known = await readSecret<KnownIdentity>(folder, IDENTITY_FILE)
  const path = join(folder, KEY_FILE)
  if (known) assertOwn(known, folder, name)
  // What it has joined with cannot be made again: one that is lost is said to be lost.
  const kept = known?.v === IDENTITY_VERSION ? { ...(await readIdentity(path)), isNew: false } : await keepIdentity(path)
  const { isNew, ...identity } = kept
  const publicKey = publicKeyText(identity.publicKey)
  if (known?.v === IDENTITY_VERSION) {
    if (publicKey !== known.identity) {
      const fix = `Put the key back that belongs to ${IDENTITY_FILE}`
      throw new SwarmError('key.damaged', { what: 'the key is not the one that this host has had', where: path, fix })
    }
    return { key: { publicKey: known.publicKey, seed: known.seed }, identity, isNew }
  }
  const key: HostKey = known ? { publicKey: known.publicKey, seed: known.seed } : createHostKey()
  await writeSecret(folder, IDENTITY_FILE, { v: IDENTITY_VERSION, name, ...key, identity: publicKey } satisfies HostIdentity)
  return { key, identity, isNew }
}

function assertOwn(known: KnownIdentity, folder: string, name: string): void {
  if (known.v !== 1 && known.v !== IDENTITY_VERSION) {
    const got = String((known as { v?: unknown }).v)
    throw new SwarmError('cluster.version', { what: 'an identity of another version', where: folder, expected: IDENTITY_VERSION, got })
  }
  if (known.name === name) return
  const fix = 'Choose another --folder'
  throw new SwarmError('host.name-taken', {
    what: 'this folder belongs to another PNode',
    where: folder,
    expected: name,
    got: known.name,
    fix,
  })
}

/** What this host was given when it joined that cluster, if it did. */
export async function hostTokenFor(folder: string, url: string): Promise<string | undefined> {
  const known = await readSecret<HostToken>(folder, TOKEN_FILE)
  return known?.url === url ? known.token : undefined
}

export async function saveHostToken(folder: string, token: HostToken): Promise<void> {
  await writeSecret(folder, TOKEN_FILE, token)
}
