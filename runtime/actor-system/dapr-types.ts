/** Which actor types some live host has: Dapr itself takes five seconds to say that nobody does. */
import type { Clock } from '../clock.js'
import { SwarmError } from '../errors.js'
import { encodeSegment } from './actor-keys.js'
import { parseAnswer } from './dapr-answer.js'
import { NOBODY } from './dapr-app.js'
import type { DaprSidecar } from './dapr-sidecar.js'

/** A host answers a probe without a turn, within milliseconds. With the next one less than DEFAULT_CALL_DEADLINE_MS: the verdict comes before the timeout. */
const PROBE_MS = 1_200
/** To look whether it is not rather Dapr that has stalled: 1.14 stops all calls while a host joins or leaves. */
const REFERENCE_MS = 400

export interface DaprTypesParts {
  readonly sidecar: () => DaprSidecar
  readonly clock: Clock
  /** Types that this process announced: they answer, or Dapr has stalled. */
  readonly announced: () => readonly string[]
}

/** Remembers which types have answered; asks the others before the first call goes to them. */
export class DaprTypes {
  readonly #parts: DaprTypesParts
  readonly #known = new Set<string>()
  readonly #probes = new Map<string, Promise<void>>()

  constructor(parts: DaprTypesParts) {
    this.#parts = parts
  }

  /** Resolves when the type has answered once. @throws `actor.not-found`, `actor.unreachable` (retryable), the signal's reason */
  async confirm(type: string, signal: AbortSignal): Promise<void> {
    if (this.#known.has(type)) return
    let probe = this.#probes.get(type)
    if (!probe) {
      probe = this.#probe(type).finally(() => this.#probes.delete(type))
      this.#probes.set(type, probe)
      probe.catch(() => {}) // those who wait for it are told
    }
    await orAborted(probe, signal)
  }

  /** A call went unanswered: its type is asked again before the next. */
  doubt(type: string): void {
    this.#known.delete(type)
  }

  async #probe(type: string): Promise<void> {
    if (await this.#answers(type, PROBE_MS)) {
      this.#known.add(type)
      return
    }
    const [reference] = this.#parts.announced()
    const isUp =
      reference === undefined ? (await this.#parts.sidecar().health()) !== undefined : await this.#answers(reference, REFERENCE_MS)
    if (isUp && reference !== type) throw new SwarmError('actor.not-found', { what: `no host has the actor type ${JSON.stringify(type)}` })
    throw new SwarmError('actor.unreachable', { what: `Dapr does not find the hosts of ${JSON.stringify(type)} now`, retryable: true })
  }

  /** False if nothing came within `limitMs`. @throws `actor.not-found`, `actor.unreachable` if Dapr said so */
  async #answers(type: string, limitMs: number): Promise<boolean> {
    const abort = new AbortController()
    const cancel = this.#parts.clock.after(limitMs, () => abort.abort())
    try {
      const answer = await this.#parts.sidecar().callActor(encodeSegment(type), NOBODY, NOBODY, 'null', abort.signal)
      parseAnswer(answer, `probe of ${type}`)
      return true
    } catch (error) {
      if (abort.signal.aborted) return false
      throw error
    } finally {
      cancel()
    }
  }
}

/** Waits for `work` or the abort; rejects with the signal's reason then. */
async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  let onAbort = () => {}
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
