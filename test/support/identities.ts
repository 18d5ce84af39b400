/** Identities that are the same in every run of a test. */
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto'
import { type Clock, systemClock } from '../../runtime/clock.js'
import { type Identity, publicKeyText } from '../../runtime/identity.js'
import { keySigner, Sender } from '../../runtime/signed-message.js'

/** What stands before the 32 secret bytes of an Ed25519 key in PKCS #8. */
const PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

/** The identity that belongs to a text. */
export function seededIdentity(text: string): Identity {
  const secret = createHash('sha256').update(text).digest()
  const privateKey = createPrivateKey({ key: Buffer.concat([PREFIX, secret]), format: 'der', type: 'pkcs8' })
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

/** Its public key as it travels. */
export const publicKeyOf = (text: string): string => publicKeyText(seededIdentity(text).publicKey)

export const pemOf = ({ privateKey }: Identity): string => privateKey.export({ type: 'pkcs8', format: 'pem' }) as string

interface SenderParts {
  readonly text?: string
  readonly incarnation?: string
  readonly clock?: Clock
}

/** Signs as somebody, with the identity that belongs to a text, by default to the name. */
export function senderOf(from: string, { text = from, incarnation = `${from}-1`, clock = systemClock }: SenderParts = {}): Sender {
  return new Sender({ from, incarnation, signer: keySigner(seededIdentity(text).privateKey), clock })
}
