/**
 * The ledger's format: who computed what that was verified, and who has forfeited points. Golden bytes in test/actors/ledger-format.test.ts.
 *
 *     ledger/head              {head: {count, firstKey?, hash, publicKey, v}, signature}      how many entries there are, and the hash of the last one
 *     ledger/pages/00000001    one entry a line: {entry, key, signature}, the oldest first; when a page is full the next one begins
 *
 * All of it is canonical JSON, a line each. An entry names its number, from 1 on, and the SHA-256 of the line before it, without the line break. A signature is
 * Ed25519 over `swarmgrad ledger <entry|head>`, a line break, and the canonical JSON of what it signs; `key` says by which key.
 *
 * **When the key is changed** the next entry is a `KeyChange`, signed by the new key: in it the old one says which one follows (control-keys.ts). From there on the new one
 * signs. The head names the key that signs now, and the one that has signed the first entry.
 *
 * **Points.** One point is 10¹² multiply-adds of steps that were verified; the unit of account is a millionth of it, so sums are exact integers.
 * A step counts three times its forward pass: the outputs, and the two products of the gradients. What lies below a millionth is dropped, entry by entry.
 *
 * **After a conviction** the culprit forfeits (`Forfeit`), and nobody else loses anything. There is no entry that withdraws: a segment is booked when it is
 * verified, that is, when others have shown that this host computed it right; that stays true when the run goes back behind it. Were it withdrawn, a
 * liar could destroy what honest hosts have earned beside him. The steps that they then compute again, in the new generation, are booked again: they were computed
 * again. A host that was lost before its segment was verified gets nothing for it: who commits it, gets it.
 */
import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { type ErrorCode, type ErrorParts, SwarmError } from '../../runtime/errors.js'
import { successorOf } from '../../runtime/control-keys.js'
import type { ControlKey } from '../../runtime/grant.js'
import type { SignedMessage } from '../../runtime/signed-message.js'

export const LEDGER_VERSION = 1
/** What the first entry follows. */
export const NO_ENTRY = '0'.repeat(64)
export const MULTIPLY_ADDS_PER_MICROPOINT = 1_000_000
export const MICROPOINTS_PER_POINT = 1_000_000

/** A stretch of steps of one VNode, computed by one host and verified. */
export interface VerifiedWork {
  readonly kind: 'verified'
  readonly run: string
  readonly generation: number
  /** Of a follower that has applied the same steps: `dense-1~1`. */
  readonly vnode: string
  readonly host: string
  readonly owner: string
  /** 1 or more. */
  readonly firstStep: number
  /** Not before the first. */
  readonly lastStep: number
  /** `multiplyAddsOf` the samples of these steps. */
  readonly multiplyAdds: number
}

/** Points that are taken from a host for what it did. */
export interface Forfeit {
  readonly kind: 'forfeit'
  readonly host: string
  readonly owner: string
  /** In words. */
  readonly reason: string
  /** What shows it: the key of an object, or a hash. A host forfeits once for each. */
  readonly evidence: string
  /** Never more than it has: the balance cannot go below zero. */
  readonly micropoints: number
}

/** Another key signs from here on. */
export interface KeyChange {
  readonly kind: 'key'
  /** What leads to it from the one before: each key says which one follows on it. At least one. */
  readonly successions: readonly SignedMessage[]
}

/** What every entry has. */
export interface EntryBase {
  readonly v: typeof LEDGER_VERSION
  /** From 1 on, without gaps. */
  readonly number: number
  /** SHA-256 of the line of the entry before, hexadecimal; `NO_ENTRY` for the first. */
  readonly previous: string
  /** When it was booked. Only to be shown: nothing is decided by it. */
  readonly atMs: number
}

/** What an entry says. */
export type LedgerBody = (VerifiedWork & { readonly micropoints: number }) | Forfeit

/** One of a host. */
export type BookedEntry = EntryBase & LedgerBody

export type LedgerEntry = BookedEntry | (EntryBase & KeyChange)

/** How far the ledger goes. */
export interface LedgerHead {
  readonly v: typeof LEDGER_VERSION
  readonly count: number
  /** Of the last entry. */
  readonly hash: string
  /** Of the key that signs: SPKI in DER, base64. */
  readonly publicKey: string
  /** Of the one that has signed the first entry. Absent: the same. */
  readonly firstKey?: string
}

/** An entry as it was read, with the hash that the next one names. */
export interface ReadEntry {
  readonly entry: LedgerEntry
  readonly hash: string
  readonly signature: string
  /** That it names: of a change, the new one. */
  readonly publicKey: KeyObject
}

export const LEDGER_PREFIX = 'ledger/'
export const HEAD_KEY = 'ledger/head'
/** @param page from 1 on */
export const pageKey = (page: number): string => `ledger/pages/${String(page).padStart(8, '0')}`

/** Multiply-adds of training on some samples. @param cost those of one sample's forward pass, as the definition has it */
export function multiplyAddsOf({ cost, samples }: { readonly cost: number; readonly samples: number }): number {
  return 3 * cost * samples
}

export function micropointsOf(multiplyAdds: number): number {
  return (multiplyAdds - (multiplyAdds % MULTIPLY_ADDS_PER_MICROPOINT)) / MULTIPLY_ADDS_PER_MICROPOINT
}

/** An entry with the line that is stored, which has its line break, and the hash that the next one names. */
export interface SignedEntry extends Pick<ReadEntry, 'entry' | 'hash' | 'publicKey'> {
  readonly line: string
}

export function signEntry(entry: LedgerEntry, key: ControlKey): SignedEntry {
  const line = canonicalJson({ entry, key: fingerprint(key.publicKey), signature: signed('entry', entry, key) })
  return { entry, line: `${line}\n`, hash: sha256(line), publicKey: key.publicKey }
}

/**
 * The entry on a line without its line break. The signature is not looked at: `isSigned`.
 * @param signer the key of the entries before it
 * @param where for errors
 * @throws `ledger.edited` these are not the bytes of an entry; `ledger.version`, `ledger.unsigned`; `ledger.key` it is signed by another key
 */
export function decodeEntry(line: string, signer: KeyObject, where: string): ReadEntry {
  const { entry, key, signature } = parse(line, where) as { entry?: LedgerEntry; key?: string; signature?: string }
  if (entry === null || typeof entry !== 'object') throw wrong('ledger.edited', { what: 'no entry of a ledger', where })
  if (entry.v !== LEDGER_VERSION) throw otherVersion(entry.v, where)
  if (typeof signature !== 'string' || signature === '') throw wrong('ledger.unsigned', { what: 'an entry without a signature', where })
  const publicKey = entry.kind === 'key' ? lastSuccessor(entry.successions, signer) : signer
  if (!publicKey) {
    const what = 'a change of the key that the key before has not signed'
    throw wrong('ledger.key', { what, where, expected: `signed by ${fingerprint(signer)}` })
  }
  const own = fingerprint(publicKey)
  if (key !== own) {
    throw wrong('ledger.key', { what: 'an entry that is signed by another key', where, expected: own, got: String(key) })
  }
  // Equal bytes only: what reads the same and is not the same has been touched.
  if (canonicalJson({ entry, key, signature }) !== line) throw wrong('ledger.edited', { what: 'an entry that was edited', where })
  return { entry, signature, hash: sha256(line), publicKey }
}

function lastSuccessor(successions: unknown, signer: KeyObject): KeyObject | undefined {
  if (!Array.isArray(successions) || successions.length === 0) return undefined
  return successions.reduce<KeyObject | undefined>((key, succession) => key && successorOf(succession, key), signer)
}

/** Whether the signature of an entry holds. */
export function isSigned({ entry, signature, publicKey }: Pick<ReadEntry, 'entry' | 'signature' | 'publicKey'>): boolean {
  return holds('entry', entry, signature, publicKey)
}

/** @param firstKey that has signed the first entry. Default: the same */
export function encodeHead({ count, hash }: Pick<LedgerHead, 'count' | 'hash'>, key: ControlKey, firstKey = key.publicKey): Uint8Array {
  const [publicKey, first] = [derOf(key.publicKey), derOf(firstKey)]
  const head: LedgerHead = { v: LEDGER_VERSION, count, hash, publicKey, ...(first !== publicKey && { firstKey: first }) }
  return new TextEncoder().encode(`${canonicalJson({ head, signature: signed('head', head, key) })}\n`)
}

/**
 * The head, and the keys that it names; whose they are is not looked at.
 * @throws `ledger.edited`, `ledger.version`, `ledger.unsigned`
 */
export function decodeHead(bytes: Uint8Array): { head: LedgerHead; publicKey: KeyObject; firstKey: KeyObject } {
  const where = HEAD_KEY
  const text = textOf(bytes, where)
  const { head, signature } = parse(text.slice(0, -1), where) as { head?: LedgerHead; signature?: string }
  const edited = wrong('ledger.edited', { what: 'the head of the ledger was edited', where })
  if (head === null || typeof head !== 'object') throw edited
  if (head.v !== LEDGER_VERSION) throw otherVersion(head.v, where)
  if (typeof signature !== 'string' || signature === '')
    throw wrong('ledger.unsigned', { what: 'the head of the ledger has no signature', where })
  const publicKey = keyOf(head.publicKey)
  const firstKey = head.firstKey === undefined ? publicKey : keyOf(head.firstKey)
  if (!publicKey || !firstKey || `${canonicalJson({ head, signature })}\n` !== text) throw edited
  if (!holds('head', head, signature, publicKey) || !Number.isSafeInteger(head.count) || head.count < 0) throw edited
  return { head, publicKey, firstKey }
}

/** The beginning of the SHA-256 of a public key: 16 hexadecimal digits. */
export function fingerprint(publicKey: KeyObject): string {
  let known = fingerprints.get(publicKey)
  if (known === undefined) {
    known = createHash('sha256')
      .update(publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex')
      .slice(0, 16)
    fingerprints.set(publicKey, known)
  }
  return known
}

/** Asked for at every entry. */
const fingerprints = new WeakMap<KeyObject, string>()

/** @throws `ledger.edited` bytes that are no text, or whose last line is cut */
export function textOf(bytes: Uint8Array, where: string): string {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw wrong('ledger.edited', { what: 'bytes that are no text', where, cause })
  }
  if (text.endsWith('\n')) return text
  throw wrong('ledger.edited', { what: 'a line without its end', where, got: `${bytes.length} B` })
}

/** An error about what is stored: whoever finds it can only look. */
export function wrong(code: Extract<ErrorCode, `ledger.${string}`>, parts: ErrorParts): SwarmError {
  return new SwarmError(code, { fix: 'Restore ledger/ from a backup; nothing is booked until then', ...parts })
}

function parse(text: string, where: string): object {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw wrong('ledger.edited', { what: 'a line that is not JSON', where, cause })
  }
  if (value === null || typeof value !== 'object') throw wrong('ledger.edited', { what: 'a line that is no object', where })
  return value
}

function otherVersion(got: unknown, where: string): SwarmError {
  const fix = 'A newer swarmgrad wrote it, or somebody edited it'
  return new SwarmError('ledger.version', { what: 'a ledger of another version', where, expected: LEDGER_VERSION, got: String(got), fix })
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

type Signable = 'entry' | 'head'

const signedBytes = (what: Signable, value: unknown): Uint8Array =>
  new TextEncoder().encode(`swarmgrad ledger ${what}\n${canonicalJson(value)}`)

function signed(what: Signable, value: unknown, { privateKey }: ControlKey): string {
  return sign(null, signedBytes(what, value), privateKey).toString('base64')
}

function holds(what: Signable, value: unknown, signature: string, publicKey: KeyObject): boolean {
  const bytes = Buffer.from(signature, 'base64')
  // Base64 has spare bits: one text for each signature.
  return bytes.toString('base64') === signature && verify(null, signedBytes(what, value), publicKey, bytes)
}

const derOf = (publicKey: KeyObject): string => publicKey.export({ type: 'spki', format: 'der' }).toString('base64')

function keyOf(der: unknown): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(String(der), 'base64'), type: 'spki', format: 'der' })
    return key.asymmetricKeyType === 'ed25519' && derOf(key) === der ? key : undefined
  } catch {
    return undefined
  }
}
