import type { Clock } from '../../runtime/clock.js'
import type { Compute } from '../../runtime/compute/compute.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import type { Observation, RunReport } from '../reports.js'

/** What a PNode lends to the VNodes that it hosts. */
export interface VNodeHost {
  readonly pnode: string
  readonly bus: TensorBus
  readonly compute: Compute
  readonly store: ObjectStore
  readonly clock: Clock
  /** Tells the run's owner; retried until it is heard or the driver stops. */
  report(run: string, method: RunReport['method'], argument: RunReport['argument'], signal: AbortSignal): Promise<void>
  /** For errors that nobody can be told of. */
  readonly onError: (error: unknown) => void
  /** The compute has worked for so long, in ms. */
  worked(busyMs: number): void
  /** For people and metrics: never waits. */
  observe(observation: Observation): void
}
