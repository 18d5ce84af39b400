/** The state of a VNode: its tensors by name, to and from the checkpoint blob. */
import { SwarmError } from '../runtime/errors.js'
import { decodeState, encodeState } from '../runtime/state.js'
import type { StateTensor } from '../runtime/state.js'
import { sameShape, showShape } from './shapes.js'
import { intViewOf, overwrite, tf, viewOf } from './tf.js'

/** Everything that a VNode must restore. */
export interface VNodeState {
  /** Parameters and optimizer slots, updated in place; their shapes never change. */
  readonly tensors: ReadonlyMap<string, tf.Tensor>
  /** Layers' own state, by name; a layer may replace one by a tensor of another shape. */
  readonly layerState: ReadonlyMap<string, tf.Tensor>
  /** The last step that was applied. */
  readonly step: number
  /** Running products of the optimizer. */
  readonly products: { readonly [name: string]: number }
  /** What else it keeps. */
  readonly parts: readonly StatePart[]
}

/** Something of a VNode that has tensors in its state, as many as it has just now. */
export interface StatePart {
  tensors(): StateTensor[]
  /** Takes what a whole state has of it out of `found`, by name. @throws `checkpoint.damaged` */
  restore(found: Map<string, StateTensor>): void
}

const OPTIMIZER = 'optimizer/'
/** Names of what a layer or a head is. */
const WEIGHTS = /^(layers|head|state)\//

/** The weights and running statistics of a blob, without optimizer, step and inputs: what another run may start from. */
export function weightsOf(blob: Uint8Array): Uint8Array {
  return encodeState(weightTensors(blob))
}

/** The same as tensors. */
export function weightTensors(blob: Uint8Array): StateTensor[] {
  return decodeState(blob).filter(({ name }) => WEIGHTS.test(name))
}

/** The blob (state.ts of the runtime) of a state. The step is int32; products are the two int32 words of a float64. */
export function writeState({ tensors, layerState, step, products, parts }: VNodeState): Uint8Array {
  const entries: StateTensor[] = [{ name: 'step', dtype: 'int32', shape: [], values: Int32Array.of(step) }]
  for (const part of parts) entries.push(...part.tensors())
  for (const [name, tensor] of [...tensors, ...layerState]) {
    if (tensor.dtype === 'int32') entries.push({ name, dtype: 'int32', shape: tensor.shape, values: intViewOf(tensor) })
    else entries.push({ name, dtype: 'float32', shape: tensor.shape, values: viewOf(tensor) })
  }
  for (const [name, value] of Object.entries(products)) {
    entries.push({ name: `${OPTIMIZER}${name}`, dtype: 'int32', shape: [2], values: new Int32Array(Float64Array.of(value).buffer) })
  }
  return encodeState(entries)
}

/**
 * Reads a blob, whole or weights only, into the tensors of a fresh state, whose names and shapes it must have, and into its parts.
 * @returns the step, the products, and the layers' state as new tensors
 * @throws `checkpoint.damaged`, `checkpoint.version`
 */
export function readState(
  blob: Uint8Array,
  fresh: VNodeState,
): { step: number; products: { [name: string]: number }; layerState: Map<string, tf.Tensor> } {
  const found = new Map(decodeState(blob).map((tensor) => [tensor.name, tensor]))
  const take = (name: string, dtype: string, shape?: readonly number[]): StateTensor => {
    const tensor = found.get(name)
    const got = tensor ? `${tensor.dtype} ${showShape(tensor.shape)}` : 'no such tensor'
    if (!tensor || tensor.dtype !== dtype || (shape && !sameShape(tensor.shape, shape))) {
      const expected = `${dtype} ${shape ? showShape(shape) : 'of any shape'}`
      throw new SwarmError('checkpoint.damaged', { what: `checkpoint of another network: tensor '${name}'`, expected, got })
    }
    found.delete(name)
    return tensor
  }
  // Only weights (weightsOf): the optimizer and the step stay as they are in a fresh state.
  const isWhole = found.has('step')
  const step = isWhole ? take('step', 'int32', []).values[0] : fresh.step
  const products: { [name: string]: number } = {}
  for (const name of Object.keys(fresh.products)) {
    products[name] = isWhole ? new Float64Array(take(`optimizer/${name}`, 'int32', [2]).values.buffer)[0] : fresh.products[name]
  }
  for (const [name, tensor] of fresh.tensors) {
    if (!isWhole && name.startsWith(OPTIMIZER)) continue
    overwrite(tensor, take(name, tensor.dtype, tensor.shape).values)
  }
  const restored = [...fresh.layerState].map(([name, { dtype }]) => take(name, dtype))
  if (isWhole) for (const part of fresh.parts) part.restore(found)
  const [extra] = found.keys()
  if (extra !== undefined)
    throw new SwarmError('checkpoint.damaged', { what: `checkpoint of another network: unexpected tensor '${extra}'` })
  const layerState = new Map(restored.map(({ name, values, shape, dtype }) => [name, tf.keep(tf.tensor(values, [...shape], dtype))]))
  return { step, products, layerState }
}
