/** What is said when a device has no room. */
import type { Machines } from '../../runtime/compute/machine.js'
import { SwarmError } from '../../runtime/errors.js'

/** TF_RESOURCE_EXHAUSTED, or the words of an allocator. */
const EXHAUSTED = /TF_Status: 8\b|OOM when allocating|out of memory|CUDA_ERROR_OUT_OF_MEMORY/i

/** The same machines, whose errors say `backend.memory` where that is what was wrong. */
export function tellingOfMemory(machines: Machines): Machines {
  const attempt = <T>(run: () => T): T => {
    try {
      return run()
    } catch (error) {
      throw asMemoryError(error)
    }
  }
  return {
    ...machines,
    async load(definition, blob) {
      const machine = await machines.load(definition, blob).catch((error: unknown) => {
        throw asMemoryError(error)
      })
      return {
        apply: (input) => attempt(() => machine.apply(input)),
        refine: (step, update) => attempt(() => machine.refine?.(step, update)),
        snapshot: () => attempt(() => machine.snapshot()),
        dispose: () => machine.dispose(),
      }
    },
  }
}

/** The error as it is, or `backend.memory` if it says that there was no memory for a tensor. */
export function asMemoryError(error: unknown): unknown {
  const message = error instanceof Error ? error.message : String(error)
  if (!EXHAUSTED.test(message)) return error
  return new SwarmError('backend.memory', {
    what: 'TensorFlow has no memory for a tensor',
    got: message.replaceAll(/\s+/g, ' ').slice(0, 200),
    fix: 'Use smaller batches, let fewer VNodes be on this machine (--max-vnodes, --max-memory), or end what else uses the device',
    cause: error,
  })
}
