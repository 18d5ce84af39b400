/** Serialises asynchronous work per key. */

/** One queue per key: tasks of one key run one after the other in the order given, tasks of different keys at the same time. */
export class Lanes {
  readonly #tails = new Map<string, Promise<void>>()

  /** Runs `task` after the earlier ones of `key`, whatever became of them. Never call it from within a task of the same key. */
  run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const result = (this.#tails.get(key) ?? Promise.resolve()).then(task)
    const tail = result.then(
      () => {},
      () => {}, // the caller of run has the error; the next task does not care
    )
    this.#tails.set(key, tail)
    void tail.then(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key)
    })
    return result
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#tails.size > 0) await Promise.all(this.#tails.values())
  }
}
