/** One promise of a contract, checked on an implementation. Needs no test runner: `run` rejects if the promise is broken. */
export interface ConformanceCase {
  /** A sentence about behaviour. */
  readonly title: string
  run(): Promise<void>
}
