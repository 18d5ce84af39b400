/** What simulated VNodes compute: exact integers in the place of tensors. */
import type { Refinement, VNodeMachineDefinition } from '../../components/definition.js'
import { FEEDBACK } from '../../runtime/feedback.js'
import { MARK } from '../../runtime/frame.js'
import { decodeState, encodeState } from '../../runtime/state.js'
import { type Entry, isTraining } from '../../runtime/step-log.js'

/** What a VNode is: two numbers that depend on every input of every step, and the inputs that it learns from again. */
export interface Numbers {
  state: number
  /** Rolling hash over everything consumed, evaluations too. */
  chain: number
  /** Training inputs, the oldest first; as many as its refinement takes. */
  readonly kept: readonly number[]
  /** What it has given against the graph for positions to come, and after which step. */
  readonly given: readonly { readonly position: number; readonly step: number; readonly value: number }[]
}

export const firstNumbers = (vnode: string, seed: number): Numbers => ({ state: numberOf(vnode, seed), chain: 1, kept: [], given: [] })

function numberOf(text: string, seed: number): number {
  let x = seed | 0
  for (let i = 0; i < text.length; i++) x = mix(x ^ text.charCodeAt(i))
  return x
}

export function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d)
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b)
  return (x ^ (x >>> 16)) >>> 0
}

/** All bytes of something as one number. */
export function hashOf(bytes: Uint8Array): number {
  let value = 0
  for (const byte of bytes) value = Math.imul(value ^ byte, 0x01000193)
  return value >>> 0
}

/** What a step of a VNode reads, besides its own state. */
export interface Reads {
  readonly inputs: readonly number[]
  /** `hashOf` the batch's labels. */
  readonly labels: number
  /** What is for this position; undefined: nothing. */
  readonly feedback?: readonly (number | undefined)[]
}

/** The step function of every VNode: only batches, their labels and feedback change the state. Returns the output, and what goes back. */
export function advance(
  numbers: { -readonly [Name in keyof Numbers]: Numbers[Name] },
  { position, step, evaluation, marks }: Entry,
  { inputs, labels, feedback = [] }: Reads,
  vnode: Pick<VNodeMachineDefinition, 'vnode' | 'training'>,
): { readonly output: number; readonly back: number | undefined } {
  const isBatch = isTraining({ evaluation, marks })
  const keeps = keptBy(vnode)
  feedback.forEach((value, i) => {
    if (value !== undefined) numbers.state = mix(numbers.state ^ mix(value + i) ^ position)
  })
  let sum = numbers.state
  for (let i = 0; i < inputs.length; i++) {
    sum = mix(sum ^ mix(inputs[i] + i))
    numbers.chain = mix(numbers.chain ^ mix(inputs[i] + step * 1_031 + evaluation))
  }
  if (isBatch) numbers.state = mix(sum + step + mix(labels))
  if (isBatch && keeps > 0) numbers.kept = [...numbers.kept, inputs.reduce((all, input) => mix(all ^ input), 0)].slice(-keeps)
  const { to, lag } = vnode.vnode.feedback ?? { to: [], lag: 0 }
  // Not always is there something.
  const back = to.length > 0 && position % 3 > 0 ? mix(numbers.state ^ position) >>> BITS : undefined
  numbers.given = numbers.given.filter((each) => each.position > position)
  if (back !== undefined) numbers.given = [...numbers.given, { position: position + lag, step, value: back }]
  // A drain has no samples, and so nothing to say.
  return { output: (marks & MARK.drain) === 0 ? mix(sum ^ 0x5bd1e995) >>> BITS : 0, back }
}

/** What VNodes say to each other are 23 bits, so that each is a float32 between 1 and 2. */
const BITS = 9
const LOW = (1 << BITS) - 1
const one = new DataView(new ArrayBuffer(4))
export function floatOf(value: number): number {
  one.setUint32(0, 0x3f800000 | value)
  return one.getFloat32(0)
}
export function valueOf(float: number): number {
  one.setFloat32(0, float)
  return one.getUint32(0) & 0x7fffff
}
/** What goes against the graph is called so. */
export const VALUE = 'value'

/** One update after a training step, as `VNodeMachine.refine`. */
export function refine(numbers: Numbers, step: number, update: number, refinement: Refinement | undefined): void {
  const { kept } = numbers
  if (update < kept.length * (refinement?.passes ?? 0))
    numbers.state = mix(numbers.state ^ mix(kept[update % kept.length] + step * 31 + update))
}

/** Whether a VNode with these numbers after a step decides that it has stalled: about every fifth time. */
export function decides({ vnode, training }: Pick<VNodeMachineDefinition, 'vnode' | 'training'>, { state }: Numbers): boolean {
  return vnode.hasHead && training.convergence !== undefined && mix(state ^ 0x517cc1b7) % 5 === 0
}

/** How many inputs a VNode keeps. */
export function keptBy({ vnode, training: { refinement } }: Pick<VNodeMachineDefinition, 'vnode' | 'training'>): number {
  return vnode.hasHead ? (refinement?.inputs ?? 0) : 0
}

/** Local numbers about a step; means over `count` samples. */
export function metricsOf(output: number, count: number): { readonly loss: number; readonly correct: number; readonly count: number } {
  return { loss: (output % 1_000) / 1_000, correct: output % (count + 1), count }
}

/** As of a network: what is learnt is a float32. */
const LEARNT = 'layers/value'

export function stateOf({ state, chain, kept, given }: Numbers): Uint8Array {
  const learnt = { name: LEARNT, dtype: 'float32', shape: [1], values: Float32Array.of(floatOf(state >>> BITS)) } as const
  const values = Int32Array.of(state & LOW, chain, ...kept)
  const back = given.map(({ position, step, value }) => {
    const name = `${FEEDBACK}${position}/${step}/${VALUE}`
    return { name, dtype: 'float32', shape: [1], values: Float32Array.of(floatOf(value)) } as const
  })
  return encodeState([learnt, { name: 'numbers', dtype: 'int32', shape: [values.length], values }, ...back])
}

export function numbersOf(blob: Uint8Array): Numbers {
  const tensors = decodeState(blob)
  const valuesOf = (wanted: string) => tensors.find(({ name }) => name === wanted)!.values
  const [low, chain, ...kept] = Array.from(valuesOf('numbers'), (value) => value >>> 0)
  const state = ((valueOf(valuesOf(LEARNT)[0]) << BITS) | low) >>> 0
  const given = tensors.flatMap(({ name, values }) => {
    const [, position, step] = name.split('/').map(Number)
    return name.startsWith(FEEDBACK) ? [{ position, step, value: valueOf(values[0]) }] : []
  })
  return { state, chain, kept, given: given.toSorted((a, b) => a.position - b.position) }
}
