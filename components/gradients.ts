/** Reverse-mode derivatives by tfjs's tape, without leaks when the function throws. */
import { tf } from './tf.js'

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

/** Frees what a tape saved whose function threw: tfjs keeps it until the derivatives are complete (engine.ts, gradients). */
export function abandonTape(): void {
  const { state } = tf.engine() as unknown as Tape
  for (const { saved } of state.activeTape ?? []) for (const tensor of saved ?? []) tensor.dispose()
  state.activeTape = null
}
