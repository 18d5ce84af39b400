/**
 * Control messages with a signature: who says it, to whom, what it is, once. Golden bytes in test/runtime/identity.test.ts.
 *
 * Signed is `swarmgrad message 1\n` and the canonical JSON of the message: no other thing that a key signs begins like that.
 */
import { createHmac, type KeyObject, sign, timingSafeEqual, verify } from 'node:crypto'
import { canonicalJson } from './canonical-json.js'
import type { Clock } from './clock.js'
import { type ErrorCode, SwarmError } from './errors.js'

export const MESSAGE_VERSION = 1
const DOMAIN = `swarmgrad message ${MESSAGE_VERSION}\n`

export interface Message {
  readonly v: typeof MESSAGE_VERSION
  readonly from: string
  /** Names one start of the sender's process: numbers begin anew with each. */
  readonly incarnation: string
  /** Whom it is for. */
  readonly to: string
  /** What is asked of them. */
  readonly purpose: string
  /** 1, 2, 3 … in an incarnation, each once. */
  readonly seq: number
  /** By the sender's clock, in ms since the epoch. */
  readonly issuedAtMs: number
  /** JSON. */
  readonly body: unknown
}

export interface SignedMessage {
  readonly message: Message
  /** Base64: Ed25519, or between control hosts HMAC-SHA256 under a secret that they share. */
  readonly signature: string
  /** Control's: the name of the key that it is signed with, and how that followed on those before it, oldest first (control-keys.ts). */
  readonly key?: string
  readonly successions?: readonly SignedMessage[]
}

/** Names in a message are no longer. */
const MAX_NAME_CHARS = 1_024
const NAMES = ['from', 'incarnation', 'to', 'purpose'] as const

/** The bytes that are signed. @throws `message.damaged`: nested too deeply to be read */
export function messageBytes(message: Message): Uint8Array {
  try {
    return new TextEncoder().encode(DOMAIN + canonicalJson(message))
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw refused('message.damaged', 'a message that is nested too deeply', message.from, { cause })
  }
}

/** What signs, and what makes sure: a private key and its public one, or one secret. */
export interface MessageSigner {
  signature(bytes: Uint8Array): Buffer
  /** What goes with a signature, to tell whose it is. */
  readonly credentials?: () => Pick<SignedMessage, 'key' | 'successions'>
}
export interface MessageVerifier {
  isSignature(bytes: Uint8Array, signature: Buffer): boolean
}

export const keySigner = (privateKey: KeyObject): MessageSigner => ({ signature: (bytes) => sign(null, bytes, privateKey) })
export const keyVerifier = (publicKey: KeyObject): MessageVerifier => ({
  isSignature: (bytes, signature) => verify(null, bytes, publicKey, signature),
})
/** @param secret 32 bytes that nobody else knows */
export function sharedSecret(secret: Uint8Array): MessageSigner & MessageVerifier {
  const mac = (bytes: Uint8Array) => createHmac('sha256', secret).update(bytes).digest()
  return {
    signature: mac,
    isSignature(bytes, signature) {
      const expected = mac(bytes)
      return signature.length === expected.length && timingSafeEqual(signature, expected)
    },
  }
}

export interface SenderOptions {
  readonly from: string
  readonly incarnation: string
  readonly signer: MessageSigner
  readonly clock: Clock
}

/** Signs the messages of one start of a process: each call gives another number. */
export class Sender {
  readonly from: string
  readonly incarnation: string
  readonly #options: SenderOptions
  #seq = 0

  constructor(options: SenderOptions) {
    this.from = options.from
    this.incarnation = options.incarnation
    this.#options = options
  }

  /** @param signer default: the sender's own */
  sign({ to, purpose, body }: Pick<Message, 'to' | 'purpose' | 'body'>, signer = this.#options.signer): SignedMessage {
    const { from, incarnation } = this
    const issuedAtMs = Math.round(this.#options.clock.now())
    const message: Message = { v: MESSAGE_VERSION, from, incarnation, to, purpose, seq: ++this.#seq, issuedAtMs, body }
    return { message, signature: signer.signature(messageBytes(message)).toString('base64'), ...signer.credentials?.() }
  }
}

/** What claims to be a signed message, its signature not looked at yet. @throws `message.unsigned`, `message.damaged`, `message.version` */
export function readMessage(value: unknown): SignedMessage {
  const { message, signature, key, successions } = (isRecord(value) ? value : {}) as Partial<SignedMessage>
  if (signature === undefined || message === undefined)
    throw refused('message.unsigned', 'a message without a signature', undefined, { fix: 'Use the same version of swarmgrad everywhere' })
  if (!isRecord(message) || typeof signature !== 'string') throw refused('message.damaged', 'a signed message with wrong fields', undefined)
  if (message.v !== MESSAGE_VERSION)
    throw refused('message.version', 'a signed message of another version', undefined, {
      expected: MESSAGE_VERSION,
      got: String(message.v),
    })
  const isWhole =
    NAMES.every((name) => typeof message[name] === 'string' && message[name].length <= MAX_NAME_CHARS) &&
    Number.isSafeInteger(message.seq) &&
    message.seq > 0 &&
    Number.isFinite(message.issuedAtMs) &&
    'body' in message &&
    (key === undefined || typeof key === 'string') &&
    (successions === undefined || Array.isArray(successions))
  if (!isWhole) throw refused('message.damaged', 'a signed message with wrong fields', undefined)
  return { message, signature, ...(key !== undefined && { key }), ...(successions && { successions }) }
}

/** @throws `message.signature`, `message.damaged` */
export function assertSignature({ message, signature }: SignedMessage, verifier: MessageVerifier): void {
  if (verifier.isSignature(messageBytes(message), Buffer.from(signature, 'base64'))) return
  const fix = 'A host signs with the key that it has joined with: start it from its own folder'
  throw refused('message.signature', `${message.purpose} is not signed by ${message.from}`, undefined, { fix })
}

const isRecord = (value: unknown): value is { readonly [name: string]: unknown } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function refused(
  code: ErrorCode,
  what: string,
  where: string | undefined,
  parts: { readonly fix?: string; readonly expected?: number; readonly got?: string; readonly cause?: unknown } = {},
): SwarmError {
  return new SwarmError(code, { what, ...(where !== undefined && { where }), ...parts })
}
