/** What compute workers run with `--backend gpu`. */
import type { Machines } from '../../runtime/compute/machine.js'
import { startMachinesOn } from '../vnode-machine.js'
import { tellingOfMemory } from './memory-error.js'

/** Starts TensorFlow on an NVIDIA GPU. @throws `backend.missing`, `backend.unsuitable`, `backend.memory` */
export const startMachines = async (): Promise<Machines> => tellingOfMemory(await startMachinesOn('gpu'))
