/** What compute workers run with `--backend native`. */
import type { Machines } from '../../runtime/compute/machine.js'
import { startMachinesOn } from '../vnode-machine.js'
import { tellingOfMemory } from './memory-error.js'

/** Starts TensorFlow on the processor. @throws `backend.missing`, `backend.unsuitable` */
export const startMachines = async (): Promise<Machines> => tellingOfMemory(await startMachinesOn('native'))
