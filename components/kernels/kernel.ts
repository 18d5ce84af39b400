/** What the kernels share. They receive `tf` as an argument: tf.ts is the one file that imports it. */
import type * as tfjs from '@tensorflow/tfjs-core'
import type { GradConfig, NamedAttrMap, Tensor, TensorInfo, backend_util } from '@tensorflow/tfjs-core'
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm'

export type Tf = typeof tfjs
export type { GradConfig, NamedAttrMap, Tensor, TensorInfo, BackendWasm }
export type Conv2DInfo = backend_util.Conv2DInfo

/** A kernel called directly, without the engine: whoever calls disposes the result. */
export type WasmKernel = (call: {
  inputs: { [name: string]: TensorInfo }
  backend: BackendWasm
  attrs: { [name: string]: unknown }
}) => TensorInfo

/** A kernel of the wasm backend, to be called directly. */
export function wasmKernel(tf: Tf, name: string): WasmKernel {
  return tf.getKernel(name, 'wasm').kernelFunc as unknown as WasmKernel
}

/** Registers a kernel for wasm, instead of the one that is there. */
export function replaceKernel(tf: Tf, kernelName: string, kernelFunc: WasmKernel): void {
  if (tf.getKernel(kernelName, 'wasm')) tf.unregisterKernel(kernelName, 'wasm')
  tf.registerKernel({ kernelName, backendName: 'wasm', kernelFunc: kernelFunc as unknown as tfjs.KernelFunc })
}

/** A gradient as a table row: what it saves, and the derivative with respect to each input. */
export function gradient(
  kernelName: string,
  save: { inputs?: string[]; output?: boolean },
  gradFunc: (dy: Tensor, saved: Tensor[], attrs: { [name: string]: any }) => { [input: string]: () => Tensor },
): GradConfig {
  return {
    kernelName,
    inputsToSave: save.inputs ?? [],
    outputsToSave: save.output ? [true] : [],
    gradFunc: gradFunc as GradConfig['gradFunc'],
  }
}
