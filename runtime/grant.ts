/** Grants: what makes a PNode the owner of a VNode (PROTOCOL.md rule 3). Signed by the control key; golden bytes in test/runtime/grant.test.ts. */
import { generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto'
import { canonicalJson } from './canonical-json.js'
import { SwarmError } from './errors.js'
import { publicKeyText } from './identity.js'
import type { Roots } from './log-root.js'
import type { SignedMessage } from './signed-message.js'

export const GRANT_VERSION = 1

/** Where a neighbour is, and under which term. */
export interface Placed {
  readonly vnode: string
  readonly pnode: string
  readonly term: number
}

export interface Grant {
  readonly v: typeof GRANT_VERSION
  readonly run: string
  readonly generation: number
  readonly vnode: string
  readonly term: number
  readonly pnode: string
  /** The start of the PNode's process that it is for. Absent: any. */
  readonly incarnation?: string
  /** The checkpoint to start from; absent: from the definition's seed. */
  readonly checkpoint?: {
    readonly generation: number
    readonly step: number
    readonly position: number
    readonly blob: string
    /** Of what the VNode had read and put out by then, where that is compared. */
    readonly roots?: Roots
  }
  /** A follower that applies no more than this: it says what it makes of the log up to there. Absent: to the end. */
  readonly until?: { readonly step: number; readonly position: number }
  /** Positions after the checkpoint that it skips, ascending (PROTOCOL.md rule 15). Absent: none. */
  readonly skips?: readonly number[]
  /** Producers in the definition's order, then consumers. */
  readonly inputs: readonly Placed[]
  readonly outputs: readonly Placed[]
}

export interface SignedGrant {
  readonly grant: Grant
  /** Ed25519 over the grant's canonical JSON, base64. */
  readonly signature: string
  /** The name of the key that it is signed with: its public half (identity.ts). */
  readonly key: string
}

/** The key pair of the control plane. */
export interface ControlKey {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  /** How it followed on keys that are still accepted, oldest first (control-keys.ts). Absent: there are none. */
  readonly successions?: readonly SignedMessage[]
}

export function createControlKey(): ControlKey {
  return generateKeyPairSync('ed25519')
}

export function signGrant(grant: Grant, { privateKey, publicKey }: ControlKey): SignedGrant {
  return { grant, signature: sign(null, grantBytes(grant), privateKey).toString('base64'), key: publicKeyText(publicKey) }
}

/** The grant, if it is signed by a key that is accepted. @throws `grant.refused`, `grant.version` */
export function acceptGrant(signed: SignedGrant, keys: { find(name: string): KeyObject | undefined }): Grant {
  const key = keys.find(signed.key)
  if (key) return verifyGrant(signed, key)
  const what = `grant for ${signed.grant.vnode}, term ${signed.grant.term}, is signed by a key that is not control’s`
  throw new SwarmError('grant.refused', { what, got: signed.key })
}

/** The grant, if its signature and version hold. @throws `grant.refused`, `grant.version` */
export function verifyGrant({ grant, signature }: Pick<SignedGrant, 'grant' | 'signature'>, publicKey: KeyObject): Grant {
  if (grant.v !== GRANT_VERSION) {
    throw new SwarmError('grant.version', {
      what: `grant for ${grant.vnode} of an unknown version`,
      expected: GRANT_VERSION,
      got: String(grant.v),
    })
  }
  if (!verify(null, grantBytes(grant), publicKey, Buffer.from(signature, 'base64'))) {
    throw new SwarmError('grant.refused', { what: `grant for ${grant.vnode}, term ${grant.term}, is not signed by this run's control key` })
  }
  return grant
}

/** The bytes that are signed. */
export function grantBytes(grant: Grant): Uint8Array {
  return new TextEncoder().encode(canonicalJson(grant))
}
