/** Who a machine is to a cluster: its key, made here and never sent; the token that the cluster gave it. In the folder of the host. */
import { createHostKey, type HostKey } from '../../runtime/tensor-bus/nats-authority.js'
import { SwarmError } from '../../runtime/errors.js'
import { readSecret, writeSecret } from './folder.js'

const IDENTITY_VERSION = 1
const IDENTITY_FILE = 'identity.json'
export const TOKEN_FILE = 'token.json'
/** Users' modules, by hash. */
export const CODE_FOLDER = 'code'
/** The sidecar's working folder, with its log. */
export const SIDECAR_FOLDER = 'daprd'
/** All that a host keeps, besides its lock. */
export const HOST_FILES = [IDENTITY_FILE, TOKEN_FILE, CODE_FOLDER, SIDECAR_FOLDER] as const

interface Identity extends HostKey {
  readonly v: typeof IDENTITY_VERSION
  readonly name: string
}

/** The token of a host for one cluster. */
export interface HostToken {
  readonly url: string
  readonly token: string
}

/** This machine's key, made on the first call. @throws `host.name-taken`: the folder is that of another name; `cluster.token` */
export async function identityOf(folder: string, name: string): Promise<HostKey & { readonly isNew: boolean }> {
  const known = await readSecret<Identity>(folder, IDENTITY_FILE)
  if (known) {
    if (known.v !== IDENTITY_VERSION)
      throw new SwarmError('cluster.version', { what: 'an identity of another version', where: folder, expected: 1, got: String(known.v) })
    if (known.name !== name)
      throw new SwarmError('host.name-taken', {
        what: 'this folder belongs to another PNode',
        where: folder,
        expected: name,
        got: known.name,
        fix: 'Choose another --folder',
      })
    return { publicKey: known.publicKey, seed: known.seed, isNew: false }
  }
  const key = createHostKey()
  await writeSecret(folder, IDENTITY_FILE, { v: IDENTITY_VERSION, name, ...key })
  return { ...key, isNew: true }
}

/** What this host was given when it joined that cluster, if it did. */
export async function hostTokenFor(folder: string, url: string): Promise<string | undefined> {
  const known = await readSecret<HostToken>(folder, TOKEN_FILE)
  return known?.url === url ? known.token : undefined
}

export async function saveHostToken(folder: string, token: HostToken): Promise<void> {
  await writeSecret(folder, TOKEN_FILE, token)
}
