/** Starts TensorFlow as the backend of this thread. */
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { SwarmError } from '../../runtime/errors.js'
import type { Tf } from '../kernels/kernel.js'
import type { Memory } from '../memory.js'
import type { Kind } from './installed.js'
import { registerNativeKernels } from './kernels.js'
import { loadBackend } from './load.js'
import { asMemoryError } from './memory-error.js'
import { NativeMemory } from './memory.js'
import { processor } from './processor.js'

export interface StartedNative {
  readonly memory: Memory
  /** What decides the bits: TensorFlow's version, the processor that it chooses its code for, and our own code. */
  readonly computeClass: string
}

/** @throws `backend.missing`, `backend.unsuitable`, `backend.memory` */
export async function startNative(tf: Tf, kind: Kind): Promise<StartedNative> {
  const { backend, tensorflow } = loadBackend(tf, kind)
  if (kind === 'gpu' && !backend.binding.isUsingGpuDevice()) {
    throw new SwarmError('backend.missing', {
      what: 'TensorFlow finds no GPU on this machine that it can use',
      expected: 'an NVIDIA GPU with its driver, CUDA 12 and cuDNN 9',
      fix: 'Look at nvidia-smi, and at LD_LIBRARY_PATH; or go on with --backend native',
    })
  }
  tf.registerBackend('tensorflow', () => backend as never)
  if (!(await tf.setBackend('tensorflow')))
    throw new SwarmError('internal', { what: 'TensorFlow’s backend did not start', got: tf.getBackend() })
  registerNativeKernels(tf, backend)
  const memory = new NativeMemory(backend)
  try {
    tf.tidy(() => memory.floats(tf.matMul(tf.ones([256, 256]), tf.ones([256, 256]))))
  } catch (error) {
    throw asMemoryError(error)
  }
  const device = kind === 'gpu' ? 'gpu' : processor()
  const name = kind === 'gpu' ? 'gpu' : 'native'
  return { memory, computeClass: `${tf.version_core} | ${name} | tensorflow ${tensorflow}, ${device} | ${codeHash()}` }
}

/** Hash of the compiled files of this folder and of kernels/: whoever changes one changes the compute class. */
function codeHash(): string {
  const hash = createHash('sha256')
  for (const folder of ['./', '../kernels/'].map((path) => new URL(path, import.meta.url)))
    for (const file of readdirSync(folder).sort())
      if (/\.[jt]s$/.test(file) && !file.endsWith('.d.ts')) hash.update(readFileSync(new URL(file, folder)))
  return hash.digest('hex').slice(0, 16)
}
