/**
 * Feedback that a VNode has given for positions to come. It is part of its state: whoever is restored from a checkpoint needs what was given
 * before it, and who gave it is restored from there as well.
 */
import { SwarmError } from './errors.js'
import { type Feedback, type FrameHeader, type TensorBytes, encodeFeedback } from './frame.js'
import { type StateTensor, decodeState } from './state.js'

/** Tensors, and the step that they are of. */
export interface Given {
  readonly step: number
  readonly tensors: Feedback['tensors']
}

/** Names of state tensors with feedback begin with this. */
export const FEEDBACK = 'feedback/'
const NAME = /^feedback\/(\d{1,15})\/(\d{1,15})\/(.+)$/

/** What was given and is not taken by everybody yet, as part of a state: `feedback/<position>/<step>/<name>`. */
export class GivenFeedback {
  readonly #given = new Map<number, Given>()

  /** @param position the one that it is for @param given nobody writes its tensors, and each begins with its buffer */
  keep(position: number, given: Given): void {
    this.#given.set(position, given)
  }

  /** Forgets what was for positions up to this one: whoever applies it has it. */
  release(position: number): void {
    for (const at of this.#given.keys()) if (at <= position) this.#given.delete(at)
  }

  tensors(): StateTensor[] {
    return Array.from(this.#given, ([position, { step, tensors }]) =>
      Object.entries(tensors).map(([name, tensor]) => toState(`${FEEDBACK}${position}/${step}/${name}`, tensor)),
    ).flat()
  }

  /** Takes what a state has of it out of `found`, by name. @throws `checkpoint.damaged` */
  restore(found: Map<string, StateTensor>): void {
    this.#given.clear()
    for (const [position, given] of givenIn([...found.values()])) this.#given.set(position, given)
    for (const name of found.keys()) if (name.startsWith(FEEDBACK)) found.delete(name)
  }
}

/** The frames that a VNode of that state has given for the `lag` positions after a checkpoint. */
export function framesGiven(
  blob: Uint8Array | undefined,
  lag: number,
  header: Omit<FrameHeader, 'kind' | 'step' | 'evaluation' | 'marks'>,
): Uint8Array[] {
  const given = blob ? givenIn(decodeState(blob)) : new Map<number, Given>()
  return Array.from({ length: lag }, (_, i) => {
    const position = header.position + 1 + i
    const { step, tensors } = given.get(position) ?? { step: 0, tensors: {} }
    return encodeFeedback({ header: { ...header, kind: 'feedback', position, step, evaluation: 0, marks: 0 }, tensors }, true)
  })
}

function givenIn(state: readonly StateTensor[]): Map<number, Given> {
  const given = new Map<number, { step: number; tensors: { [name: string]: TensorBytes } }>()
  for (const { name, dtype, shape, values } of state) {
    if (!name.startsWith(FEEDBACK)) continue
    const [, position, step, own] = NAME.exec(name) ?? []
    if (own === undefined) throw new SwarmError('checkpoint.damaged', { what: `feedback in a checkpoint, tensor '${name}'` })
    const entry = given.get(Number(position)) ?? { step: Number(step), tensors: {} }
    entry.tensors[own] = { dtype, shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) }
    given.set(Number(position), entry)
  }
  return given
}

/** A tensor's bytes as a tensor of a state. @param tensor a copy: its bytes begin with their buffer */
export function toState(name: string, { dtype, shape, bytes }: TensorBytes): StateTensor {
  return { name, dtype, shape, values: dtype === 'float32' ? new Float32Array(bytes.buffer) : new Int32Array(bytes.buffer) }
}

/** A tensor that nobody else writes, with a buffer of its own. */
export const copyOf = ({ dtype, shape, bytes }: TensorBytes): TensorBytes => ({ dtype, shape: [...shape], bytes: new Uint8Array(bytes) })
