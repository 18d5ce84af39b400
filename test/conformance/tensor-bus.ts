/** What every TensorBus must do, as cases that need no test runner. */
import type { BusConnect } from '../../runtime/tensor-bus/tensor-bus.js'
import type { ConformanceCase } from './case.js'
import { deliveryCases } from './tensor-bus-delivery.js'
import { endingCases } from './tensor-bus-ending.js'
import { flowCases } from './tensor-bus-flow.js'

/** One broker for one case. */
export interface BusUnderTest {
  /** Connects peers that hear each other. */
  readonly connect: BusConnect
  /** Stops the broker, or what stands for it; called after every case. */
  close(): Promise<void> | void
}

export interface BusSuiteOptions {
  /** How long a case waits for anything before it fails. Default 10,000 ms: far beyond any healthy delivery. */
  readonly deadlineMs?: number
  /** The first token of every subject. Default `conformance`; set it if several suites share a server. */
  readonly subject?: string
}

/** What a case works with. */
export interface BusCaseContext {
  readonly connect: BusConnect
  readonly deadlineMs: number
  /** Puts the case's own tokens before a subject, so that cases on one server do not hear each other. */
  readonly subject: (rest: string) => string
}

/** The cases of one chapter, by title. */
export type BusCases = { readonly [title: string]: (context: BusCaseContext) => Promise<void> }

/** The conformance cases of the TensorBus contract; `make` gives each one a broker without other peers. */
export function tensorBusSuite(make: () => Promise<BusUnderTest>, options: BusSuiteOptions = {}): ConformanceCase[] {
  const { deadlineMs = 10_000, subject: root = 'conformance' } = options
  return Object.entries({ ...deliveryCases, ...flowCases, ...endingCases }).map(([title, check], index) => ({
    title,
    async run() {
      const under = await make()
      try {
        await check({ connect: under.connect, deadlineMs, subject: (rest) => `${root}.c${index}.${rest}` })
      } finally {
        await under.close()
      }
    },
  }))
}
