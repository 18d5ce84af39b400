/** `Masked`: dropout in one pass over the wasm heap. */
import { numberAt, type Numbers } from '../../runtime/random.js'
import { replaceKernel } from './kernel.js'
import type { BackendWasm, Tf, TensorInfo } from './kernel.js'
import { assembleMask } from './mask-module.js'

const FLOAT_BYTES = 4

/** Which elements go, and what the others are multiplied by. */
export interface Mask {
  /** One for each element. */
  readonly numbers: Numbers
  /** Elements whose numbers are below it become 0. */
  readonly below: number
  /** A float32. */
  readonly scale: number
}

/** Registers the kernel: x·scale, and 0 where a seeded number is below a limit. @param memory the backend's */
export function registerMask(tf: Tf, memory: unknown): void {
  const vector = assembleMask(memory)
  replaceKernel(tf, 'Masked', ({ inputs: { x }, backend, attrs }) => {
    const mask = attrs as unknown as Mask
    const out = backend.makeOutput(x.shape, 'float32')
    const [from, to] = [x, out].map((tensor) => view(backend, tensor))
    const whole = vector ? from.length - (from.length % 4) : 0
    if (vector && whole > 0) {
      const { key, tweak, start } = mask.numbers
      vector(from.byteOffset, to.byteOffset, whole * FLOAT_BYTES, key, tweak, start, mask.below, mask.scale)
    }
    applyMask(from, to, mask, whole)
    return out
  })
}

/** The same bits, element by element. @param first the elements before it are left alone */
export function applyMask(x: Float32Array, out: Float32Array, { numbers, below, scale }: Mask, first = 0): void {
  const { key, tweak, start } = numbers
  for (let i = first; i < out.length; i++) out[i] = numberAt(key, tweak, start + i) < below ? 0 : x[i] * scale
}

function view(backend: BackendWasm, tensor: TensorInfo): Float32Array {
  return backend.typedArrayFromHeap(tensor) as Float32Array
}
