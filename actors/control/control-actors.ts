/** The actors of control, and its calls: signed by the control key where hosts hear them, by a secret of the cluster between control hosts. */
import { randomUUID } from 'node:crypto'
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import type { Clock } from '../../runtime/clock.js'
import type { ErrorCode } from '../../runtime/errors.js'
import type { ControlKey } from '../../runtime/grant.js'
import { publicKeyText } from '../../runtime/identity.js'
import { ReplayGuard } from '../../runtime/replay-guard.js'
import { assertSignature, keySigner, type MessageSigner, Sender, sharedSecret } from '../../runtime/signed-message.js'
import { HostKeys, type HostKeysOptions } from '../host-keys.js'
import { signedActors, type SignedActorsOptions } from '../signed-actors.js'
import { CONTROL } from './channels.js'

export interface ControlActorsOptions {
  readonly clock: Clock
  readonly controlKey: ControlKey
  /** 32 bytes that control hosts share, and nobody else knows: a message among them costs a tenth of a signature. */
  readonly secret: Uint8Array
  /** The public key that a host has joined with. */
  readonly hostKeys: HostKeysOptions['read']
  readonly onRefused: (code: ErrorCode) => void
}

/** How control signs, and whom it hears. */
export function controlSignatures({ clock, controlKey, secret, hostKeys, onRefused }: ControlActorsOptions): SignedActorsOptions {
  const amongControl = sharedSecret(secret)
  const hosts = new HostKeys({ read: hostKeys, clock })
  // The key of the moment: it may be changed while we run.
  const signer: MessageSigner = {
    signature: (bytes) => keySigner(controlKey.privateKey).signature(bytes),
    credentials: () => {
      const { publicKey, successions } = controlKey
      return { key: publicKeyText(publicKey), ...(successions && { successions }) }
    },
  }
  return {
    sender: new Sender({ from: CONTROL, incarnation: randomUUID(), signer, clock }),
    amongControl,
    assertSigned: (signed) => (signed.message.from === CONTROL ? assertSignature(signed, amongControl) : hosts.assertSigned(signed)),
    guard: new ReplayGuard(clock),
    onRefused,
  }
}

/** `system` as control uses it. */
export function controlActors(system: ActorSystem, options: ControlActorsOptions): ActorSystem {
  return signedActors(system, controlSignatures(options))
}
