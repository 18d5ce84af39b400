/**
 * The key of a ledger where there is no control host: runs of one process, in a store of their own. It lies in that store, under `control/` as the keys of a
 * cluster do, so that it is there as long as the ledger is, goes where the store goes, and is nobody's who sees the store through a control host.
 * What that is worth: whoever may write the folder may also sign. Such a ledger finds accidents and careless hands, not its own owner.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { successorOf } from '../../runtime/control-keys.js'
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import { type ControlKey, createControlKey } from '../../runtime/grant.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { SignedMessage } from '../../runtime/signed-message.js'

/** What a ledger is signed with. */
export interface LedgerKey extends ControlKey {
  /** How each key that control has ever had was followed, oldest first. Absent: it has had no other. */
  readonly history?: readonly SignedMessage[]
}

/** What leads from the key that signs a ledger to another one, oldest first; undefined: nothing does. */
export function successionsBetween(signer: KeyObject, next: KeyObject, history: readonly SignedMessage[]): SignedMessage[] | undefined {
  const path: SignedMessage[] = []
  let last = signer
  for (const succession of history) {
    if (last.equals(next)) break
    const successor = successorOf(succession, last)
    if (!successor) continue
    path.push(succession)
    last = successor
  }
  return last.equals(next) ? path : undefined
}

const LEDGER_KEY_VERSION = 1
const KEY = 'control/ledger-key'

/** That of this store; made once, by whoever is first. @throws `ledger.key` it cannot be read; codes of the store */
export async function storedLedgerKey(store: ObjectStore): Promise<ControlKey> {
  try {
    return decode((await store.get(KEY)).bytes)
  } catch (error) {
    if (!isSwarmError(error, 'store.not-found')) throw error
  }
  const controlKey = createControlKey().privateKey.export({ type: 'pkcs8', format: 'pem' })
  try {
    await store.put(KEY, new TextEncoder().encode(`${JSON.stringify({ v: LEDGER_KEY_VERSION, controlKey })}\n`), { ifNoneMatch: '*' })
  } catch (error) {
    if (!isSwarmError(error, 'store.conflict')) throw error
  }
  return decode((await store.get(KEY)).bytes)
}

/** The public key in a PEM file's text. @param where the file, for errors @throws `usage` */
export function parsePublicKey(pem: string, where: string): KeyObject {
  const fix = 'Write it with: swarmgrad ledger verify --json, which names it publicKey'
  let key: KeyObject
  try {
    key = createPublicKey(pem)
  } catch (cause) {
    throw new SwarmError('usage', { what: 'not a public key', where, expected: 'Ed25519, PEM', fix, cause })
  }
  if (key.asymmetricKeyType === 'ed25519') return key
  throw new SwarmError('usage', { what: 'a key of another kind', where, expected: 'Ed25519', got: key.asymmetricKeyType, fix })
}

function decode(bytes: Uint8Array): ControlKey {
  const fix = `Restore ${KEY} from a backup; without it the ledger can be verified, but nothing is added to it`
  try {
    const { v, controlKey } = JSON.parse(new TextDecoder().decode(bytes)) as { v?: unknown; controlKey?: string }
    if (v !== LEDGER_KEY_VERSION) {
      const [expected, got] = [LEDGER_KEY_VERSION, String(v)]
      throw new SwarmError('ledger.key', { what: 'the key of the ledger is of another version', where: KEY, expected, got, fix })
    }
    const privateKey = createPrivateKey(controlKey!)
    return { privateKey, publicKey: createPublicKey(privateKey) }
  } catch (cause) {
    if (isSwarmError(cause)) throw cause
    throw new SwarmError('ledger.key', { what: 'unreadable key of the ledger', where: KEY, fix, cause })
  }
}
