/** What a run tells of its hosts: convictions before it goes on, everything else when there is somebody to hear it. */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { SwarmError } from '../../runtime/errors.js'
import { toSwarmError } from '../../runtime/errors.js'
import { actor, call, isTransient, type Told } from '../calls.js'

/** What is kept while nobody hears it; of more, the oldest is lost. */
const MOST_UNTOLD = 64

export class TrustReports {
  readonly #context: Pick<ActorContext, 'call' | 'signal'>
  readonly #onError: (error: SwarmError) => void
  #untold: readonly Told[] = []

  /** @param onError what cannot be told, and what has to be known all the same */
  constructor(context: Pick<ActorContext, 'call' | 'signal'>, onError: (error: SwarmError) => void) {
    this.#context = context
    this.#onError = onError
  }

  /**
   * Somebody was convicted: in quarantine when this resolves. To be awaited before anything durable follows from it, so that a crash between loses neither.
   * @throws what may pass: the same told again counts once
   */
  async convicted(told: Told): Promise<void> {
    try {
      await this.#tell(told)
    } catch (error) {
      if (isTransient(error)) throw error
      this.#onError(toSwarmError(error, 'internal', 'quarantine'))
    }
  }

  /** Never in the way of a run. What is not heard is told again with what comes next. */
  verified(told: Told): void {
    const all = [...this.#untold, told]
    this.#untold = []
    for (const each of all) {
      this.#tell(each).catch((error: unknown) => {
        if (isTransient(error)) this.#untold = [...this.#untold, each].slice(-MOST_UNTOLD)
        else if (!this.#context.signal.aborted) this.#onError(toSwarmError(error, 'internal', 'quarantine'))
      })
    }
  }

  async #tell(told: Told): Promise<void> {
    const { signal } = this.#context
    await call<'Quarantine', 'tell'>(this.#context, actor.quarantine, 'tell', told, signal)
  }
}
