/** What is said when a device has no room. */
import { SwarmError } from '../../runtime/errors.js'

/** TF_RESOURCE_EXHAUSTED, or the words of an allocator. */
const EXHAUSTED = /TF_Status: 8\b|OOM when allocating|out of memory|CUDA_ERROR_OUT_OF_MEMORY/i

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
