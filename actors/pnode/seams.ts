/** What a PNode computes and speaks with. */
import type { Dataset } from '../../components/datasets/index.js'
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import type { Clock } from '../../runtime/clock.js'
import type { Compute } from '../../runtime/compute/compute.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'

/** A PNode is honest, or not, by what these are: nothing else tells it anything, and it says nothing elsewhere. */
export interface Seams {
  readonly system: ActorSystem
  readonly bus: TensorBus
  readonly compute: Compute
  readonly store: ObjectStore
  readonly clock: Clock
  /** The data set of a run, where it need not be read from the store. */
  readonly dataset?: (run: string) => Dataset | undefined | Promise<Dataset | undefined>
}
