/** The backends by name, and which module starts each one in a worker. Nothing here loads tfjs. */

/**
 * What arithmetic is done with: `wasm` is everywhere and gives the same bits everywhere; `native` is TensorFlow on the processor, `gpu` on an NVIDIA GPU, both
 * of which have to be installed (`npm run native:install`).
 */
export type BackendName = 'wasm' | 'native' | 'gpu'

/** `auto`: what keeps the promise of equal bits, which is wasm. */
export type BackendChoice = BackendName | 'auto'

export const BACKENDS: readonly BackendChoice[] = ['wasm', 'native', 'gpu', 'auto']

const MODULES: { readonly [Name in BackendName]: string } = {
  wasm: './vnode-machine.js',
  native: './native/machines.js',
  gpu: './native/gpu-machines.js',
}

/** The backend that a choice means. */
export const backendOf = (choice: BackendChoice = 'auto'): BackendName => (choice === 'auto' ? 'wasm' : choice)

/** The module that exports `startMachines` for a backend. */
export const machineModule = (choice?: BackendChoice): URL => new URL(MODULES[backendOf(choice)], import.meta.url)

/** The backend of a compute class: its second part. */
export function backendOfClass(computeClass: string | undefined): BackendName {
  const name = computeClass?.split(' | ')[1]
  return name === 'native' || name === 'gpu' ? name : 'wasm'
}

/** Whether machines of this class give the same bits for the same steps. A GPU adds in the order in which its threads come. */
export const isBitwise = (computeClass: string | undefined): boolean => backendOfClass(computeClass) !== 'gpu'
