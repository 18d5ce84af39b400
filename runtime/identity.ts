/**
 * Who a machine is: an Ed25519 key pair, made on its first start and kept in a file that its owner alone can read; for PNodes of one process, in memory.
 * Nothing here travels but public keys.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import type { Stats } from 'node:fs'
import { link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type ErrorCode, isSwarmError, SwarmError } from './errors.js'

export interface Identity {
  /** Ed25519. */
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

/** Whoever else on this machine may read or write. */
const OTHERS = 0o077
/** A key in PEM has about 120 bytes: what is much longer is something else. */
const MAX_KEY_BYTES = 16 * 1024
/** A public key as text: its 32 bytes in base64url. */
const PUBLIC_KEY = /^[A-Za-z0-9_-]{43}$/

/** A new one, in memory. */
export function createIdentity(): Identity {
  return generateKeyPairSync('ed25519')
}

/** The public key as it travels: 43 characters. */
export function publicKeyText(publicKey: KeyObject): string {
  return publicKey.export({ format: 'jwk' }).x!
}

/** The key that `publicKeyText` wrote. @throws `key.damaged` */
export function publicKeyFrom(text: string): KeyObject {
  const fix = 'Send the public key of the host: 32 bytes as base64url'
  if (!PUBLIC_KEY.test(text)) throw new SwarmError('key.damaged', { what: 'not a public key', got: `${text.slice(0, 8)}…`, fix })
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: text }, format: 'jwk' })
  } catch (cause) {
    throw new SwarmError('key.damaged', { what: 'not a public key', got: `${text.slice(0, 8)}…`, fix, cause })
  }
}

/** What people compare: as ssh shows it, over the bytes of the public key. @param publicKey as text */
export function fingerprint(publicKey: string): string {
  const digest = createHash('sha256').update(Buffer.from(publicKey, 'base64url')).digest('base64')
  return `SHA256:${digest.replace(/=+$/, '')}`
}

/**
 * The identity in a file.
 * @throws `key.missing`; `key.unreadable`: no right to it, or no file; `key.exposed`: others may read it; `key.damaged`; `key.kind`: another kind of key
 */
export async function readIdentity(path: string): Promise<Identity> {
  let found: Stats
  let text: string
  try {
    found = await stat(path)
    // Before it is opened: a pipe would be waited for.
    if (!found.isFile()) throw refused('key.unreadable', path, { what: 'the key is no file', fix: `Move away what is at ${path}` })
    assertPrivate(path, found)
    if (found.size > MAX_KEY_BYTES) throw damaged(path, `${found.size} bytes`)
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if (cause instanceof SwarmError) throw cause
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') throw refused('key.missing', path, { what: 'no key is there', fix: RESTORE, cause })
    const fix = `Give its owner, who runs this, the right to read it: chmod 600 ${path}`
    throw refused('key.unreadable', path, { what: 'the key cannot be read', got: code ?? message, fix, cause })
  }
  return identityFrom(text, path)
}

/** The one in the file, which is made if there is none; whoever makes it first is right. @throws codes of `readIdentity`, `store.unavailable` */
export async function keepIdentity(path: string): Promise<Identity & { readonly isNew: boolean }> {
  try {
    return { ...(await readIdentity(path)), isNew: false }
  } catch (error) {
    if (!isSwarmError(error, 'key.missing')) throw error
  }
  const isNew = await createFile(path, createIdentity().privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)
  return { ...(await readIdentity(path)), isNew }
}

/** @param where it is from @throws `key.damaged`, `key.kind` */
export function identityFrom(pem: string, where: string): Identity {
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(pem)
  } catch (cause) {
    throw damaged(where, (cause as Error).message, cause)
  }
  const { asymmetricKeyType: kind } = privateKey
  if (kind !== 'ed25519')
    throw refused('key.kind', where, { what: 'another kind of key', expected: 'Ed25519', got: kind ?? 'none', fix: RESTORE })
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

const RESTORE =
  'Put the key back from a backup; without it this machine has to join anew, under another name or after its own was given back'

function damaged(where: string, got: string, cause?: unknown): SwarmError {
  return refused('key.damaged', where, { what: 'what is there is no private key', expected: 'PKCS #8, PEM', got, fix: RESTORE, cause })
}

function refused(code: ErrorCode, where: string, parts: Omit<ConstructorParameters<typeof SwarmError>[1] & object, 'where'>): SwarmError {
  return new SwarmError(code, { ...(parts as { what: string }), where })
}

function assertPrivate(path: string, { mode }: Stats): void {
  if (process.platform === 'win32' || (mode & OTHERS) === 0) return
  const got = (mode & 0o777).toString(8)
  const fix = `chmod 600 ${path}; if somebody may have read it, join anew with a new one`
  throw refused('key.exposed', path, { what: 'others on this machine can read or change the key', expected: '600', got, fix })
}

/** Whole or not at all, and never over one that is there. @returns whether it is ours */
async function createFile(path: string, text: string): Promise<boolean> {
  const temporary = `${path}.${randomUUID()}.partial`
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(temporary, path).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') throw error
      // A file system without links; the lock of the folder keeps others away.
      await rename(temporary, path)
    })
    return true
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw new SwarmError('store.unavailable', { what: 'the key cannot be written', where: path, got: (cause as Error).message, cause })
  } finally {
    await rm(temporary, { force: true })
  }
}
