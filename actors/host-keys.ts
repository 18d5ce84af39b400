/** Public keys of hosts, as they have joined: what verifies their words. */
import type { Clock } from '../runtime/clock.js'
import { SwarmError } from '../runtime/errors.js'
import { publicKeyFrom } from '../runtime/identity.js'
import { assertSignature, keyVerifier, type MessageVerifier, messageBytes, type SignedMessage } from '../runtime/signed-message.js'

export interface HostKeysOptions {
  /** The public key that a host has joined with; undefined: nobody of this name has. */
  readonly read: (host: string) => Promise<string | undefined>
  readonly clock: Clock
}

/** So many records are read a second, at most, whoever asks: a host joins once. */
const MAX_READS = 100
const WINDOW_MS = 1_000
/** Keys that are remembered; of more, the oldest is read again. */
const MAX_KNOWN = 65_536
/** The record of a known host is read again so often, in ms, at most: it may have joined anew, under another key. */
const AGAIN_MS = 1_000

export class HostKeys {
  readonly #options: HostKeysOptions
  readonly #known = new Map<string, { readonly verifier: MessageVerifier; readonly readAtMs: number }>()
  #windowMs = -Infinity
  #reads = 0

  constructor(options: HostKeysOptions) {
    this.#options = options
  }

  /** @throws `message.signature`, which is retryable where its key was not looked for; codes of the store */
  async assertSigned(signed: SignedMessage): Promise<void> {
    const { message, signature } = signed
    const { from } = message
    const known = this.#known.get(from)
    if (known?.verifier.isSignature(messageBytes(message), Buffer.from(signature, 'base64'))) return
    const { clock, read } = this.#options
    if (!this.#mayRead(known?.readAtMs))
      throw new SwarmError('message.signature', {
        what: `${message.purpose} is not signed by ${from} as it was known a moment ago`,
        retryable: true,
      })
    const readAtMs = clock.now()
    const text = await read(from)
    if (text === undefined) {
      this.#known.delete(from)
      const fix = 'Start the host again: it joins, and shows its key'
      throw new SwarmError('message.signature', { what: `nobody called ${from} has joined with a key`, where: message.purpose, fix })
    }
    const verifier = keyVerifier(publicKeyFrom(text))
    this.#known.delete(from)
    this.#known.set(from, { verifier, readAtMs })
    const [oldest] = this.#known.keys()
    if (this.#known.size > MAX_KNOWN) this.#known.delete(oldest)
    assertSignature(signed, verifier)
  }

  #mayRead(readAtMs = -Infinity): boolean {
    const now = this.#options.clock.now()
    if (Math.abs(now - readAtMs) < AGAIN_MS) return false
    if (Math.abs(now - this.#windowMs) >= WINDOW_MS) {
      this.#windowMs = now
      this.#reads = 0
    }
    return this.#reads++ < MAX_READS
  }
}
