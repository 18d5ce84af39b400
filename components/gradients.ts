/** Reverse-mode derivatives by tfjs's tape, without leaks when the function throws. */
import { tf, viewOf } from './tf.js'

interface Tape {
  readonly state: { activeTape: { readonly saved?: readonly tf.Tensor[] }[] | null; gradientDepth: number }
}

/**
 * The scalar `loss()` and its derivatives by `xs`, `undefined` where it does not depend on one. Call inside `tf.tidy`.
 * Tensors that `loss` keeps (`tf.keep`) outlive it; their owner disposes them.
 */
export function gradientsOf(loss: () => tf.Tensor, xs: readonly tf.Tensor[]): { value: tf.Tensor; gradients: (tf.Tensor | undefined)[] } {
  try {
    const { value, grads } = tf.engine().gradients(loss, [...xs], undefined, true)
    return { value, gradients: grads }
  } catch (error) {
    abandonTape()
    throw error
  }
}

/** Gradients whose Euclidean norm, of all of them together, is at most `most`: the same direction (Pascanu et al. 2013). Call inside `tf.tidy`. */
export function clipTo(most: number | undefined, gradients: readonly (tf.Tensor | undefined)[]): readonly (tf.Tensor | undefined)[] {
  if (most === undefined) return gradients
  let sum = 0
  for (const gradient of gradients) {
    const values = gradient ? viewOf(gradient) : []
    for (let i = 0; i < values.length; i++) sum += values[i] * values[i]
  }
  const norm = Math.sqrt(sum)
  // Not in place: two of them may be one tensor. What is not finite stays so, and is found by the update.
  return norm > most ? gradients.map((gradient) => gradient && tf.mul(gradient, most / norm)) : gradients
}

/** Frees what a tape saved whose function threw: tfjs keeps it until the derivatives are complete (engine.ts, gradients). */
export function abandonTape(): void {
  const { state } = tf.engine() as unknown as Tape
  for (const { saved } of state.activeTape ?? []) for (const tensor of saved ?? []) tensor.dispose()
  state.activeTape = null
}
