/**
 * Trust descriptors (M29): control vouches for a machine, for a time. Whoever is vouched for settles disputes by its word, and needs nobody to agree; it is
 * checked less, never not at all. Signed is `swarmgrad trust 1\n` and the canonical JSON of the descriptor. Golden bytes in test/actors/descriptor.test.ts.
 *
 * A revocation is a descriptor, too: of the next number, for no time at all. So the newest one always says how it is, and an older one that somebody puts
 * back says nothing.
 */
import { type KeyObject, sign, verify } from 'node:crypto'
import { z } from 'zod'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { SwarmError } from '../../runtime/errors.js'
import type { ControlKey } from '../../runtime/grant.js'
import { fingerprint, publicKeyText } from '../../runtime/identity.js'

export const TRUST_VERSION = 1
const DOMAIN = `swarmgrad trust ${TRUST_VERSION}\n`

export interface TrustDescriptor {
  readonly v: typeof TRUST_VERSION
  /** 1, 2, 3 … of each host: the highest counts. */
  readonly number: number
  /** The name that it has joined under. */
  readonly host: string
  /** Its public identity key, as text: another machine of the same name is another one. */
  readonly identity: string
  /** From then on, in ms since the epoch, by the clock of control. */
  readonly fromMs: number
  /** To just before then. Equal to `fromMs`: control vouches for it no more. */
  readonly untilMs: number
}

export interface SignedTrust {
  readonly descriptor: TrustDescriptor
  /** Ed25519, base64. */
  readonly signature: string
  /** The name of the control key that it is signed with: its public half (identity.ts). */
  readonly key: string
}

const KEY = z.string().regex(/^[A-Za-z0-9_-]{43}$/)
const TIME = z.int().nonnegative()
const FORM = z.strictObject({
  descriptor: z.strictObject({
    v: z.literal(TRUST_VERSION),
    number: z.int().positive(),
    host: z.string().min(1).max(64),
    identity: KEY,
    fromMs: TIME,
    untilMs: TIME,
  }),
  signature: z.base64().max(100),
  key: KEY,
})

/** The bytes that are signed. */
export function trustBytes(descriptor: TrustDescriptor): Uint8Array {
  return new TextEncoder().encode(DOMAIN + canonicalJson(descriptor))
}

export function signTrust(descriptor: TrustDescriptor, { privateKey, publicKey }: ControlKey): SignedTrust {
  const signature = sign(null, trustBytes(descriptor), privateKey).toString('base64')
  return { descriptor, signature, key: publicKeyText(publicKey) }
}

/** As it is stored. */
export function encodeTrust(signed: SignedTrust): Uint8Array {
  return new TextEncoder().encode(canonicalJson(signed))
}

/** What `encodeTrust` wrote, its signature not looked at yet. @param where it was found @throws `trust.damaged`, `trust.version` */
export function decodeTrust(bytes: Uint8Array, where: string): SignedTrust {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SwarmError('trust.damaged', { what: 'a trust descriptor that cannot be read', where, fix: GRANT_ANEW, cause })
  }
  const { v } = ((value as Partial<SignedTrust> | null)?.descriptor ?? {}) as Partial<TrustDescriptor>
  if (v !== undefined && v !== TRUST_VERSION) {
    const fix = 'Use the same version of swarmgrad on all control hosts'
    throw new SwarmError('trust.version', {
      what: 'a trust descriptor of another version',
      where,
      expected: TRUST_VERSION,
      got: String(v),
      fix,
    })
  }
  const { success, data, error } = FORM.safeParse(value)
  if (success) return data
  throw new SwarmError('trust.damaged', {
    what: 'a trust descriptor with wrong fields',
    where,
    got: z.prettifyError(error),
    fix: GRANT_ANEW,
  })
}

/** Who is asked about, and what is known of him. */
export interface SaidOf {
  readonly host: string
  /** Control's that are accepted now. */
  readonly keys: { find(name: string): KeyObject | undefined }
  /** The highest number that is known of this host, 0 for none. */
  readonly newest: number
}

/** What control has said of this host, last. @throws `trust.signature`; `trust.host`: of another one; `trust.replaced`: it has said something else since */
export function assertSaid({ descriptor, signature, key }: SignedTrust, { host, keys, newest }: SaidOf): TrustDescriptor {
  const where = whereOf(descriptor)
  const publicKey = keys.find(key)
  if (!publicKey || !verify(null, trustBytes(descriptor), publicKey, Buffer.from(signature, 'base64'))) {
    const what = publicKey
      ? 'a trust descriptor that control has not signed'
      : 'a trust descriptor that is signed by a key that is not, or not any more, control’s'
    throw new SwarmError('trust.signature', { what, where, got: key, fix: GRANT_ANEW })
  }
  if (descriptor.host !== host)
    throw new SwarmError('trust.host', { what: 'a trust descriptor for another host', where, expected: host, got: descriptor.host })
  if (descriptor.number >= newest) return descriptor
  throw new SwarmError('trust.replaced', {
    what: 'a trust descriptor of before',
    where,
    expected: `number ${newest}`,
    got: descriptor.number,
  })
}

/**
 * Whether control vouches for the machine that has joined with this key, now.
 * @param identity absent: nobody of this name has joined
 * @throws `trust.revoked`; `trust.host`: for another machine; `trust.expired`: or not valid yet
 */
export function assertVouches(
  descriptor: TrustDescriptor,
  { identity, nowMs }: { readonly identity: string | undefined; readonly nowMs: number },
): void {
  const { fromMs, untilMs } = descriptor
  const where = whereOf(descriptor)
  if (untilMs <= fromMs) throw new SwarmError('trust.revoked', { what: 'control does not vouch for it any more', where })
  if (identity !== descriptor.identity) {
    const [expected, got] = [fingerprint(descriptor.identity), identity === undefined ? 'nobody of this name' : fingerprint(identity)]
    throw new SwarmError('trust.host', { what: 'a trust descriptor for another machine', where, expected, got, fix: GRANT_ANEW })
  }
  if (nowMs >= fromMs && nowMs < untilMs) return
  const [expected, got] = [`from ${fromMs} to ${untilMs} ms`, `${Math.round(nowMs)} ms`]
  throw new SwarmError('trust.expired', { what: 'a trust descriptor that is not valid now', where, expected, got, fix: GRANT_ANEW })
}

const whereOf = ({ host, number }: TrustDescriptor): string => `host ${host}, number ${number}`
const GRANT_ANEW = 'If it is to be trusted: swarmgrad trust grant HOST'
