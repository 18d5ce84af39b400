/**
 * Loads TensorFlow's addon, and of @tensorflow/tfjs-node the backend and its kernels, with our own tfjs-core: two copies of that in one process break each
 * other's tensors. tfjs-node's own entry is not run: it brings servers of files and images that nobody needs here.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import * as util from 'node:util'
import { compileFunction } from 'node:vm'
import type { Tensor, Tf } from '../kernels/kernel.js'
import { findInstalled, TENSORFLOW, unsuitable, type Kind } from './installed.js'

/** An attribute of an operation; its type is one of the binding's numbers. */
export interface Attribute {
  readonly name: string
  readonly type: number
  readonly value: unknown
}

/** The addon: tensors by number. */
export interface Binding {
  readonly TF_Version: string
  readonly TF_FLOAT: number
  readonly TF_ATTR_TYPE: number
  readonly TF_ATTR_BOOL: number
  readonly TF_ATTR_FLOAT: number
  readonly TF_ATTR_STRING: number
  readonly TF_ATTR_SHAPE: number
  /** Shares the memory of `values`, if it is aligned, until the tensor is deleted. */
  createTensor(shape: readonly number[], dtype: number, values: Float32Array | Int32Array | Uint8Array): number
  deleteTensor(id: number): void
  /** A copy. */
  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array
  executeOp(name: string, attributes: readonly Attribute[], inputs: readonly number[], outputs: number): { readonly id: number }[]
  isUsingGpuDevice(): boolean
  getNumOfTensors(): number
}

/** What the backend knows of a tensor: where its elements are. */
export interface TensorData {
  readonly shape: readonly number[]
  readonly dtype: number
  /** −1: not given to TensorFlow yet. */
  id: number
  values: Float32Array | Int32Array | Uint8Array | null
  readonly refCount: number
}

/** tfjs-node's backend, as far as it is used here. */
export interface NativeBackend {
  readonly binding: Binding
  readonly tensorMap: { get(dataId: object): TensorData }
  readSync(dataId: object): Float32Array | Int32Array | Uint8Array
  incRef(dataId: object): void
  disposeData(dataId: object, force?: boolean): boolean
  executeSingleOutput(name: string, attributes: readonly Attribute[], inputs: readonly Tensor[]): Tensor
  executeMultipleOutputs(name: string, attributes: readonly Attribute[], inputs: readonly Tensor[], outputs: number): Tensor[]
  getInputTensorIds(tensors: readonly { readonly dataId: object }[]): number[]
}

export interface Loaded {
  readonly backend: NativeBackend
  /** Version of TensorFlow. */
  readonly tensorflow: string
}

/** Loads it and registers its kernels with `tf`. @throws `backend.missing`, `backend.unsuitable` */
export function loadBackend(tf: Tf, kind: Kind): Loaded {
  const { folder, tensorflow } = findInstalled(kind)
  const addon = join(folder, 'addon.node')
  let binding: Binding
  try {
    const load = createRequire(addon)
    load(join(folder, 'environment.node'))
    binding = load(addon) as Binding
  } catch (cause) {
    throw unsuitable(kind, folder, { where: addon, got: (cause as Error).message, cause })
  }
  const version = binding.TF_Version
  if (version !== tensorflow || !version.startsWith(`${TENSORFLOW}.`))
    throw unsuitable(kind, folder, { where: addon, expected: `TensorFlow ${TENSORFLOW}, installed as ${tensorflow}`, got: version })
  try {
    const load = moduleLoader(tf)
    const dist = join(folder, 'tfjs-node', 'dist')
    const { NodeJSKernelBackend } = load(join(dist, 'nodejs_kernel_backend.js')) as {
      NodeJSKernelBackend: new (binding: Binding, packageName: string) => NativeBackend
    }
    load(join(dist, 'register_all_kernels.js'))
    return { backend: new NodeJSKernelBackend(binding, '@tensorflow/tfjs-node'), tensorflow }
  } catch (cause) {
    throw unsuitable(kind, folder, { where: join(folder, 'tfjs-node'), got: (cause as Error).message, cause })
  }
}

/** A `require` for tfjs-node's files, to which TensorFlow.js is `tf`. */
function moduleLoader(tf: Tf): (file: string) => unknown {
  const own = createRequire(import.meta.url)
  const given: { readonly [name: string]: unknown } = {
    '@tensorflow/tfjs': tf,
    '@tensorflow/tfjs-core': tf,
    // Node 23 has these two no more.
    util: { ...util, isNullOrUndefined: (value: unknown) => value === null || value === undefined, isArray: Array.isArray },
    // Of TensorBoard, with a dependency of its own.
    './proto/api_pb': {},
  }
  const loaded = new Map<string, { exports: unknown }>()
  const load = (file: string): unknown => {
    const known = loaded.get(file)
    if (known) return known.exports
    const module = { exports: {} as unknown }
    loaded.set(file, module)
    const required = (name: string): unknown => {
      if (name in given) return given[name]
      return name.startsWith('.') ? load(resolve(dirname(file), name.endsWith('.js') ? name : `${name}.js`)) : own(name)
    }
    const run = compileFunction(readFileSync(file, 'utf8'), ['exports', 'require', 'module'], { filename: file }) as (
      ...all: unknown[]
    ) => void
    run(module.exports, required, module)
    return module.exports
  }
  return load
}
