import { abortedError, checkKey, checkSignal, closedError } from './object-key.js'

/** The calls of one store: none begins once it is closed, and closing waits for those under way. */
export class StoreCalls {
  readonly #underWay = new Set<Promise<unknown>>()
  #isClosed = false

  get isClosed(): boolean {
    return this.#isClosed
  }

  /**
   * Runs one call, which starts at once. @param key checked if there is one @param describe makes what is thrown an error of the store
   * @throws SwarmError `aborted`, `store.invalid-key`, `store.unavailable` after `close`
   */
  async run<T>(
    key: string | undefined,
    signal: AbortSignal | undefined,
    work: () => Promise<T>,
    describe: (error: unknown) => unknown = (error) => error,
  ): Promise<T> {
    if (this.#isClosed) throw closedError()
    checkSignal(signal)
    if (key !== undefined) checkKey(key)
    const call = work()
    this.#underWay.add(call)
    try {
      return await call
    } catch (error) {
      throw signal?.aborted ? abortedError(signal) : describe(error)
    } finally {
      this.#underWay.delete(call)
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#underWay)
  }
}
