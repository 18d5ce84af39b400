/** A VNode's part in what goes against the graph, and what of it belongs to its state. */
import { SwarmError } from '../runtime/errors.js'
import { type Given, GivenFeedback, copyOf, toState } from '../runtime/feedback.js'
import type { Feedback, TensorBytes } from '../runtime/frame.js'
import type { StateTensor } from '../runtime/state.js'
import type { FeedbackDefinition } from './definition.js'
import type { StatePart } from './vnode-state.js'

/** A batch that was passed on, and now the derivatives of the loss by the output have come from everybody who reads it. */
export interface OpenLesson {
  readonly step: number
  /** One for each input edge. */
  readonly inputs: readonly TensorBytes[]
  /** Of the layers before it, by name. */
  readonly state: { readonly [name: string]: TensorBytes }
  /** One for each reader, in the definition's order. */
  readonly gradients: readonly TensorBytes[]
}

/** A lesson to which not everything has come back. */
interface Lesson extends Pick<OpenLesson, 'inputs' | 'state'> {
  readonly gradients: Map<string, TensorBytes>
}

const LESSON = 'lesson/'
const SHARED = 'shared/'

export class VNodeFeedback implements StatePart {
  readonly #definition: FeedbackDefinition
  /** Input edges, and what each is asked for when lessons are restored. */
  readonly #edges: number
  readonly #given = new GivenFeedback()
  /** By step, oldest first. */
  readonly #lessons = new Map<number, Lesson>()
  /** The shared parameter as it was after steps, oldest first, until it is used. */
  readonly #shared = new Map<number, TensorBytes>()

  /** @param edges inputs of the VNode */
  constructor(definition: FeedbackDefinition, edges: number) {
    this.#definition = definition
    this.#edges = edges
  }

  /** Takes what is for a position. @returns the lesson that it completes, if it does: never more than one */
  take(position: number, feedback: readonly Feedback[], vnode: string): OpenLesson | undefined {
    this.#given.release(position)
    let complete: OpenLesson | undefined
    feedback.forEach(({ header: { step }, tensors }, i) => {
      const [own] = Object.keys(tensors)
      if (own === undefined) return
      if (this.#definition.of === 'head') this.#shared.set(step, copyOf(tensors[this.#definition.parameter!]))
      else complete = this.#heard(step, this.#definition.from[i], tensors[vnode]) ?? complete
    })
    return complete
  }

  /** Keeps what is given at a position until everybody has it. */
  give(position: number, given: Given | undefined): { readonly feedback?: Given } {
    if (!given) return {}
    this.#given.keep(position + this.#definition.lag, given)
    return { feedback: given }
  }

  /** A batch has been passed on. What has not come back after a whole window of batches was skipped by somebody, and never will. */
  open(step: number, inputs: readonly TensorBytes[], state: OpenLesson['state']): void {
    const { from, window = 1 } = this.#definition
    if (from.length === 0) return
    for (const old of this.#lessons.keys()) if (old <= step - window) this.#lessons.delete(old)
    this.#lessons.set(step, { inputs: inputs.map(copyOf), state, gradients: new Map() })
  }

  /** What the shared parameter is from a training step on; undefined: as it was. */
  sharedAt(step: number): TensorBytes | undefined {
    const { everySteps = 1 } = this.#definition
    const newest = everySteps * Math.floor((step - 1) / everySteps) - everySteps
    let found: TensorBytes | undefined
    for (const [after, tensor] of this.#shared) {
      if (after > newest) continue
      found = tensor
      this.#shared.delete(after)
    }
    return found
  }

  tensors(): StateTensor[] {
    const lessons = Array.from(this.#lessons, ([step, { inputs, state, gradients }]) => [
      ...Object.entries(state).map(([name, tensor]) => toState(`${LESSON}${step}/${name}`, tensor)),
      ...inputs.map((tensor, edge) => toState(`${LESSON}${step}/input/${edge}`, tensor)),
      ...Array.from(gradients, ([reader, tensor]) => toState(`${LESSON}${step}/gradient/${reader}`, tensor)),
    ])
    const shared = Array.from(this.#shared, ([step, tensor]) => toState(`${SHARED}${step}`, tensor))
    return [...this.#given.tensors(), ...lessons.flat(), ...shared]
  }

  restore(found: Map<string, StateTensor>): void {
    this.#given.restore(found)
    this.#lessons.clear()
    this.#shared.clear()
    const steps = new Set<number>()
    for (const name of found.keys()) if (name.startsWith(LESSON)) steps.add(Number(name.split('/')[1]))
    for (const step of [...steps].toSorted((a, b) => a - b)) {
      const inputs = Array.from({ length: this.#edges }, (_, edge) => taken(found, `${LESSON}${step}/input/${edge}`))
      const readers = this.#definition.from.filter((reader) => found.has(`${LESSON}${step}/gradient/${reader}`))
      const gradients = new Map(readers.map((reader) => [reader, taken(found, `${LESSON}${step}/gradient/${reader}`)]))
      const prefix = `${LESSON}${step}/`
      const names = [...found.keys()].flatMap((name) => (name.startsWith(`${prefix}state/`) ? [name.slice(prefix.length)] : []))
      const state = Object.fromEntries(names.map((name) => [name, taken(found, `${prefix}${name}`)]))
      this.#lessons.set(step, { inputs, state, gradients })
    }
    const shared = [...found.keys()].flatMap((name) => (name.startsWith(SHARED) ? [Number(name.slice(SHARED.length))] : []))
    for (const step of shared.toSorted((a, b) => a - b)) this.#shared.set(step, taken(found, `${SHARED}${step}`))
  }

  #heard(step: number, reader: string, gradient: TensorBytes | undefined): OpenLesson | undefined {
    const lesson = this.#lessons.get(step)
    if (!lesson || !gradient) return undefined
    const { from } = this.#definition
    lesson.gradients.set(reader, copyOf(gradient))
    if (lesson.gradients.size < from.length) return undefined
    this.#lessons.delete(step)
    return { step, inputs: lesson.inputs, state: lesson.state, gradients: from.map((id) => lesson.gradients.get(id)!) }
  }
}

function taken(found: Map<string, StateTensor>, name: string): TensorBytes {
  const tensor = found.get(name)
  if (!tensor)
    throw new SwarmError('checkpoint.damaged', { what: 'what a VNode has passed on', expected: `tensor '${name}'`, got: 'nothing' })
  found.delete(name)
  const { dtype, shape, values } = tensor
  return copyOf({ dtype, shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) })
}
