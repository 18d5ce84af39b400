/** Where a backend keeps the elements of tensors, and how they are read and changed in place. */
import type { Options } from './define.js'
import type { Tensor } from './kernels/kernel.js'
import type { Optimizer, Update } from './optimizers/index.js'

/** One update of a parameter: the tensors of an `Update`, and its numbers. */
export interface TensorUpdate extends Pick<Update, 'learningRate' | 'products'> {
  readonly parameter: Tensor
  readonly gradient: Tensor
  /** In the order of the optimizer's slots. */
  readonly slots: readonly Tensor[]
}

export interface Memory {
  /** Whether `floats` and `ints` give copies, which stay as they are. */
  readonly givesCopies: boolean
  /** The elements of a float32 tensor, to be read at once: on wasm where they lie, which any allocation may detach; elsewhere a copy. */
  floats(tensor: Tensor): Float32Array
  /** The same for int32 tensors. */
  ints(tensor: Tensor): Int32Array
  /** Overwrites a tensor's elements; `values` stay the caller's. */
  write(tensor: Tensor, values: Float32Array | Int32Array): void
  /** Updates parameter and slots in place. Returns 0, or NaN if a parameter is not finite now. */
  update(optimizer: Optimizer, options: Options, update: TensorUpdate): number
}
