/**
 * The keys of control over time. There is one that signs, and for a while after it has been changed former ones that are accepted. Each key is
 * signed by the one before it (its *succession*), which travels with what it signs: whoever trusts the old one learns the new one from the first
 * message that he gets, and needs nobody to tell him.
 */
import type { KeyObject } from 'node:crypto'
import type { Clock } from './clock.js'
import { isSwarmError, SwarmError } from './errors.js'
import type { ControlKey } from './grant.js'
import { publicKeyFrom, publicKeyText } from './identity.js'
import { assertSignature, keySigner, keyVerifier, type MessageVerifier, readMessage, Sender, type SignedMessage } from './signed-message.js'

/** A key that is accepted. */
export interface AcceptedKey {
  /** The public key as text, which is also its name. */
  readonly key: string
  /** From then on it is not, in ms since the epoch. Absent: it signs. */
  readonly untilMs?: number
}

/** Keys that may be on their way out at the same time. */
export const MAX_SUCCESSIONS = 4
const TO = 'everybody'
const PURPOSE = 'succession'

/** The old key says which one follows it, and how long it is accepted itself. */
export function signSuccession(old: ControlKey, next: KeyObject, untilMs: number, clock: Clock): SignedMessage {
  const sender = new Sender({ from: 'control', incarnation: publicKeyText(old.publicKey), signer: keySigner(old.privateKey), clock })
  return sender.sign({ to: TO, purpose: PURPOSE, body: { key: publicKeyText(next), untilMs } })
}

/** The key that follows on this one by its own word, at any time; undefined: it says nothing of the kind. */
export function successorOf(succession: unknown, old: KeyObject): KeyObject | undefined {
  try {
    const signed = readMessage(succession)
    const { to, purpose, body } = signed.message
    const { key } = (body ?? {}) as Partial<AcceptedKey>
    if (to !== TO || purpose !== PURPOSE || typeof key !== 'string') return undefined
    assertSignature(signed, keyVerifier(old))
    return publicKeyFrom(key)
  } catch (error) {
    if (isSwarmError(error)) return undefined
    throw error
  }
}

/** What somebody takes for control's. */
export class TrustedKeys {
  readonly #clock: Clock
  /** The last one signs now, as far as we know. */
  readonly #keys = new Map<string, { readonly publicKey: KeyObject; readonly verifier: MessageVerifier; untilMs?: number }>()

  /** @throws `key.damaged` */
  constructor(keys: readonly AcceptedKey[], clock: Clock) {
    this.#clock = clock
    for (const { key, untilMs } of keys) this.#add(key, untilMs)
  }

  /** Names of those that are accepted now. */
  get names(): string[] {
    return [...this.#keys].flatMap(([name]) => (this.find(name) ? [name] : []))
  }

  /** A key that is accepted now. */
  find(name: string | undefined): KeyObject | undefined {
    return this.#current(name)?.publicKey
  }

  /** @throws `message.signature`: by a key that is not, or not any more, control's */
  assertSigned(signed: SignedMessage): void {
    this.learn(signed.successions ?? [])
    const known = this.#current(signed.key)
    if (known) return assertSignature(signed, known.verifier)
    const fix = 'Start the host again: it joins, and is told the keys of control'
    throw new SwarmError('message.signature', {
      what: `${signed.message.purpose} is signed by a key that is not control’s`,
      got: signed.key,
      fix,
    })
  }

  /** Takes keys that one that is accepted has signed, in their order; what is none is left. */
  learn(successions: readonly SignedMessage[]): void {
    for (const succession of successions.slice(0, MAX_SUCCESSIONS)) {
      try {
        const signed = readMessage(succession)
        const { incarnation, to, purpose, body } = signed.message
        const { key, untilMs } = (body ?? {}) as Partial<AcceptedKey>
        const old = this.#current(incarnation)
        if (!old || to !== TO || purpose !== PURPOSE || typeof key !== 'string' || !Number.isFinite(untilMs)) continue
        // Known already, by the same word.
        if (this.#keys.has(key) && old.untilMs === untilMs) continue
        assertSignature(signed, old.verifier)
        if (!this.#keys.has(key)) this.#add(key)
        old.untilMs = Math.min(old.untilMs ?? Infinity, untilMs!)
      } catch (error) {
        if (!isSwarmError(error)) throw error
      }
    }
  }

  #add(key: string, untilMs?: number): void {
    const publicKey = publicKeyFrom(key)
    this.#keys.set(key, { publicKey, verifier: keyVerifier(publicKey), ...(untilMs !== undefined && { untilMs }) })
  }

  #current(name = ''): { readonly publicKey: KeyObject; readonly verifier: MessageVerifier; untilMs?: number } | undefined {
    const known = this.#keys.get(name)
    if (known?.untilMs === undefined || this.#clock.now() < known.untilMs) return known
    this.#keys.delete(name)
    return undefined
  }
}
