/**
 * TensorFlow.js as swarmgrad uses it: the one file that imports it at run time. `tf` is complete from the first import:
 * the Node bundle of tfjs-core has neither gradients nor chained methods, so both are registered here.
 */
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import * as tf from '@tensorflow/tfjs-core'
import type * as chained from '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js'
import { setThreadsCount } from '@tensorflow/tfjs-backend-wasm'
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm'
import { SwarmError } from '../runtime/errors.js'
import { chainOps } from './chained-ops.js'
import { registerAttention } from './kernels/attention.js'
import { registerConv2DBackpropFilter } from './kernels/conv2d-backprop-filter.js'
import { registerConv2DBackpropInput } from './kernels/conv2d-backprop-input.js'
import { activationGradients } from './kernels/gradients-activations.js'
import { mathGradients } from './kernels/gradients-math.js'
import { networkGradients } from './kernels/gradients-network.js'
import { shapeGradients } from './kernels/gradients-shapes.js'
import { registerMask } from './kernels/mask.js'
import { registerMatMul } from './kernels/matmul.js'
import { productsOn } from './kernels/product.js'
import { useVectors } from './kernels/optimizer-steps.js'
import { registerReductions } from './kernels/reductions.js'
import type { Tf } from './kernels/kernel.js'
import type { BackendName } from './backends.js'
import type { Memory } from './memory.js'

export { tf }
/** Only its import matters: it declares the chained methods to TypeScript. */
export type ChainedMethods = typeof chained

/** What a started backend is. */
export interface Backend {
  /** `tfjs version | backend | SIMD | hash of our own kernels`: equal classes give equal bits (PROTOCOL.md rule 20). */
  readonly computeClass: string
}

let started: { readonly name: BackendName; readonly backend: Promise<Backend> } | undefined

/**
 * Starts a backend with one thread; once per thread of the process. Without a name: the one that is started, else wasm.
 * @throws `internal` if there is no wasm, or another one is started; `backend.missing`, `backend.unsuitable`, `backend.memory`
 */
export async function startBackend(name: BackendName = started?.name ?? 'wasm'): Promise<Backend> {
  started ??= { name, backend: name === 'wasm' ? start() : startTensorFlow(name) }
  if (started.name === name) return started.backend
  throw new SwarmError('internal', { what: 'a second backend in one thread', expected: started.name, got: name })
}

async function startTensorFlow(name: 'native' | 'gpu'): Promise<Backend> {
  const { startNative } = await import('./native/start.js')
  const native = await startNative(tf, name === 'gpu' ? 'gpu' : 'cpu')
  memory = native.memory
  return { computeClass: native.computeClass }
}

async function start(): Promise<Backend> {
  setThreadsCount(1)
  const before = processListeners()
  const isSet = await tf.setBackend('wasm')
  await tf.ready()
  removeListenersSince(before)
  if (!isSet || tf.getBackend() !== 'wasm')
    throw new SwarmError('internal', { what: 'the wasm backend did not start', got: tf.getBackend() })
  const { wasm } = tf.backend() as unknown as WasmInternals
  refuseNothing(wasm)
  const memory = wasm.asm?.memory
  const products = productsOn(memory)
  registerMatMul(tf, products)
  registerAttention(tf, products)
  registerMask(tf, memory)
  registerReductions(tf)
  registerConv2DBackpropFilter(tf)
  registerConv2DBackpropInput(tf)
  useVectors(memory)
  const hasSimd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')
  return { computeClass: `${tf.version_core} | wasm | ${hasSimd ? 'simd' : 'scalar'} | ${kernelsHash()}` }
}

/** tfjs takes address 0, which says that there is no room, for a place like any other. */
function refuseNothing(wasm: WasmInternals['wasm']): void {
  // The first call puts another function in its place.
  wasm._free(wasm._malloc(1))
  const allocate = wasm._malloc.bind(wasm)
  wasm._malloc = (bytes) => {
    const address = allocate(bytes)
    if (address !== 0 || bytes === 0) return address
    const fix = 'Use smaller batches or layers, or a PNode of its own for each VNode'
    throw new SwarmError('backend.memory', { what: `no room for ${bytes} bytes more on the wasm heap, which has 4 GiB`, fix })
  }
}

/** Hash of the compiled files in kernels/: whoever changes one changes the compute class. */
function kernelsHash(): string {
  const folder = new URL('./kernels/', import.meta.url)
  const hash = createHash('sha256')
  for (const file of readdirSync(folder).sort())
    if (/\.[jt]s$/.test(file) && !file.endsWith('.d.ts')) hash.update(readFileSync(new URL(file, folder)))
  return hash.digest('hex').slice(0, 16)
}

/**
 * `tf.tidy` for functions that return something else than tensors. tfjs would walk through the result in search of tensors,
 * every byte of it.
 */
export function tidied<T>(run: () => T): T {
  let result: T | undefined
  tf.tidy(() => {
    result = run()
  })
  return result as T
}

/** Runs a kernel by name, ours or one that tfjs has no function for. */
export function runKernel(
  name: string,
  inputs: { [name: string]: tf.Tensor },
  attrs: { [name: string]: unknown } = {},
): tf.Tensor | tf.Tensor[] {
  return tf.engine().runKernel(name, inputs, attrs as tf.NamedAttrMap)
}

/** The memory of the wasm backend: one heap, on which tensors are views. */
const wasmMemory: Memory = {
  givesCopies: false,
  floats: (tensor) => (tf.backend() as BackendWasm).typedArrayFromHeap(tensor) as Float32Array,
  ints: (tensor) => (tf.backend() as BackendWasm).typedArrayFromHeap(tensor) as Int32Array,
  write(tensor, values) {
    ;(tf.backend() as BackendWasm).typedArrayFromHeap(tensor).set(values)
    markChanged(tensor)
  },
  update(optimizer, options, { parameter, gradient, slots, learningRate, products }) {
    const [parameters, from] = [wasmMemory.floats(parameter), wasmMemory.floats(gradient)]
    const views = { parameters, gradient: from, slots: slots.map((slot) => wasmMemory.floats(slot)) }
    const health = optimizer.update({ ...views, learningRate, products }, options)
    markChanged(parameter)
    return health
  },
}
let memory = wasmMemory

/** Whether the backend has a kernel. */
export const hasKernel = (name: string): boolean => tf.getKernel(name, tf.getBackend()) !== undefined

/** A tensor's elements, not to be written: on the wasm heap no copy, so use them at once, any allocation may detach them. */
export const viewOf = (tensor: tf.Tensor): Float32Array => memory.floats(tensor)

/** The same for int32 tensors. */
export const intViewOf = (tensor: tf.Tensor): Int32Array => memory.ints(tensor)

/** Whether what these two give stays as it is. */
export const areViewsCopies = (): boolean => memory.givesCopies

/** Overwrites a tensor's elements. */
export const overwrite: Memory['write'] = (tensor, values) => memory.write(tensor, values)

/** Updates a parameter and its slots in place. */
export const updateInPlace: Memory['update'] = (optimizer, options, update) => memory.update(optimizer, options, update)

interface WasmData {
  id: number
  readonly memoryOffset: number
}
interface WasmInternals {
  dataIdNextNumber: number
  readonly dataIdMap: { get(dataId: object): WasmData }
  readonly wasm: {
    _malloc(bytes: number): number
    _free(address: number): void
    readonly asm?: { readonly memory?: unknown }
    readonly tfjs: { registerTensor(id: number, size: number, offset: number): void; disposeData(id: number): void }
  }
}

/**
 * Says that a tensor's elements were written in place. XNNPACK packs the right-hand side of a product and the filter of a
 * convolution once per tensor id, so a changed tensor needs a new id or old weights go on being used.
 */
export function markChanged(tensor: tf.Tensor): void {
  const backend = tf.backend() as unknown as WasmInternals
  const data = backend.dataIdMap.get(tensor.dataId)
  backend.wasm.tfjs.disposeData(data.id)
  data.id = backend.dataIdNextNumber++
  backend.wasm.tfjs.registerTensor(data.id, tensor.size, data.memoryOffset)
}

const EVENTS = ['uncaughtException', 'unhandledRejection'] as const
type Listener = (...parameters: unknown[]) => void

function processListeners(): Set<unknown> {
  return new Set(EVENTS.flatMap((event) => process.listeners(event as 'uncaughtException') as unknown[]))
}

/** The wasm loader traps uncaught errors of the whole process; a library must not. */
function removeListenersSince(before: Set<unknown>): void {
  for (const event of EVENTS) {
    for (const listener of process.listeners(event as 'uncaughtException')) {
      if (!before.has(listener)) process.removeListener(event, listener as Listener)
    }
  }
}

function registerGradients(all: Tf): void {
  for (const make of [mathGradients, activationGradients, shapeGradients, networkGradients]) {
    for (const gradient of make(all)) if (!all.getGradient(gradient.kernelName)) all.registerGradient(gradient)
  }
}

registerGradients(tf)
chainOps(tf)
