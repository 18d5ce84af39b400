/** The control key as it is now: it may be changed while control hosts run (`swarmgrad keys rotate`). */
import type { KeyObject } from 'node:crypto'
import type { Clock } from '../../runtime/clock.js'
import { type AcceptedKey } from '../../runtime/control-keys.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ControlKey } from '../../runtime/grant.js'
import type { LedgerKey } from '../trust/ledger-key.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { SignedMessage } from '../../runtime/signed-message.js'
import { acceptedKeys, type ClusterKeys, clusterKeys, controlKeyOf, historyOf, stillTold } from './cluster-keys.js'

/** How often the keys are looked at, in ms: so long after a change the former one still signs. */
export const LOOK_MS = 5_000

export class LiveKey implements LedgerKey {
  readonly #store: ObjectStore
  readonly #clock: Clock
  #keys: Pick<ClusterKeys, 'controlKey' | 'former' | 'history'>
  #key: ControlKey

  constructor(store: ObjectStore, clock: Clock, keys: Pick<ClusterKeys, 'controlKey' | 'former' | 'history'>) {
    this.#store = store
    this.#clock = clock
    this.#keys = keys
    this.#key = controlKeyOf(keys)
  }

  get privateKey(): KeyObject {
    return this.#key.privateKey
  }

  get publicKey(): KeyObject {
    return this.#key.publicKey
  }

  /** Of former keys that hosts may still trust. */
  get successions(): readonly SignedMessage[] | undefined {
    const told = stillTold(this.#keys.former, this.#clock.now())
    return told.length > 0 ? told.map(({ succession }) => succession) : undefined
  }

  get history(): readonly SignedMessage[] {
    return historyOf(this.#keys)
  }

  /** What hosts that join are told to accept. */
  get accepted(): readonly AcceptedKey[] {
    const now = this.#clock.now()
    return acceptedKeys(this.#keys).filter(({ untilMs = Infinity }) => untilMs > now)
  }

  /** Takes up a change. @throws codes of the store */
  async look(): Promise<void> {
    const keys = await clusterKeys(this.#store)
    if (keys.controlKey === this.#keys.controlKey) return
    this.#keys = keys
    this.#key = controlKeyOf(keys)
  }

  /** Looks again and again, until the signal aborts; a store that is away is asked later. */
  async watch(signal: AbortSignal, onError: (error: unknown) => void): Promise<void> {
    while (!signal.aborted) {
      await this.#clock.sleep(LOOK_MS, signal).catch(() => undefined)
      if (signal.aborted) return
      await this.look().catch((error: unknown) => {
        if (!isSwarmError(error) || !error.retryable) onError(error)
      })
    }
  }
}
