/**
 * Refinement (PROTOCOL.md rule 22): k passes over the last m inputs after each training step. What a VNode has kept to learn from again is part of
 * its state, so that a replay from a checkpoint makes the same updates.
 */
import { SwarmError } from '../runtime/errors.js'
import { copyOf, toState } from '../runtime/feedback.js'
import type { Frame, TensorBytes } from '../runtime/frame.js'
import type { StateTensor } from '../runtime/state.js'
import type { Refinement, VNodeDefinition } from './definition.js'
import type { StatePart } from './vnode-state.js'

/** Each pass is as much work as the step itself, each kept input as much memory as a frame: more of either is a mistake. */
export const MAX_REFINEMENT = { passes: 16, inputs: 64 } as const

/** What `refinement` must be, in words. */
export const REFINEMENT_FORM = `{ passes: 1 to ${MAX_REFINEMENT.passes}, inputs: 1 to ${MAX_REFINEMENT.inputs} }`

/** Whether it is a refinement as REFINEMENT_FORM says. */
export function isRefinement(value: unknown): value is Refinement {
  if (typeof value !== 'object' || value === null) return false
  const isCount = (count: unknown, most: number) => Number.isSafeInteger(count) && (count as number) >= 1 && (count as number) <= most
  const { passes, inputs, ...others } = value as Partial<Refinement>
  return isCount(passes, MAX_REFINEMENT.passes) && isCount(inputs, MAX_REFINEMENT.inputs) && Object.keys(others).length === 0
}

/** How many updates follow a training step; none in a VNode that does not learn. @param step from 1: the first steps have fewer inputs */
export function updatesAfter(step: number, { hasHead }: Pick<VNodeDefinition, 'hasHead'>, refinement: Refinement | undefined): number {
  return refinement && hasHead ? refinement.passes * Math.min(refinement.inputs, step) : 0
}

/** Tensor names of what is kept begin with this. */
const KEPT = 'refinement/'

/** One input that was learnt from. */
type Kept = readonly Pick<Frame, 'output' | 'labels'>[]

/** The newest training inputs of one VNode, oldest first. */
export class KeptInputs implements StatePart {
  readonly #limit: number
  readonly #edges: number
  #kept: Kept[] = []

  /** @param limit how many; the oldest goes when another comes @param edges inputs of the VNode */
  constructor(limit: number, edges = 1) {
    this.#limit = limit
    this.#edges = edges
  }

  get count(): number {
    return this.#kept.length
  }

  /** Keeps a copy: whoever sent the frames may let them go. */
  add(frames: Kept): void {
    this.#kept.push(frames.map(({ output, labels }) => ({ output: copyOf(output), labels: copyOf(labels) })))
    if (this.#kept.length > this.#limit) this.#kept.shift()
  }

  /** @param index 0: the oldest */
  at(index: number): Kept {
    return this.#kept[index]
  }

  /** As part of the state. */
  tensors(): StateTensor[] {
    return this.#kept.flatMap((frames, i) =>
      frames.flatMap(({ output, labels }, edge) => [toState(nameOf(i, edge, 'input'), output), toState(nameOf(i, edge, 'labels'), labels)]),
    )
  }

  /** @throws `checkpoint.damaged` if that is not what a VNode of so many inputs keeps */
  restore(found: Map<string, StateTensor>): void {
    const edges = this.#edges
    const take = (name: string): TensorBytes | undefined => {
      const tensor = found.get(name)
      found.delete(name)
      if (!tensor) return undefined
      const { dtype, shape, values } = tensor
      return copyOf({ dtype, shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) })
    }
    this.#kept = []
    while (found.has(nameOf(this.#kept.length, 0, 'input'))) {
      const i = this.#kept.length
      const frames = Array.from({ length: edges }, (_, edge) => ({
        output: take(nameOf(i, edge, 'input')),
        labels: take(nameOf(i, edge, 'labels')),
      }))
      const whole = frames.flatMap(({ output, labels }) => (output && labels ? [{ output, labels }] : []))
      if (whole.length < edges || i >= this.#limit) {
        const expected = `${edges} inputs each, of up to ${this.#limit} steps`
        throw new SwarmError('checkpoint.damaged', {
          what: `inputs kept in a checkpoint, number ${i}`,
          expected,
          got: `${whole.length} inputs`,
        })
      }
      this.#kept.push(whole)
    }
  }
}

const nameOf = (index: number, edge: number, part: 'input' | 'labels'): string => `${KEPT}${index}/${part}/${edge}`
