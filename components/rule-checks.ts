/** What a rule, perhaps a user's, has returned: tensors of the right shapes, or an error that names the rule and the step. */
import { SwarmError } from '../runtime/errors.js'
import { describe } from './define.js'
import { sameShape, showShape } from './shapes.js'
import { tf } from './tf.js'

/** @throws `graph.shape` */
export function checkedLogits(where: string, logits: tf.Tensor, y: tf.Tensor, step: number): tf.Tensor {
  if (logits instanceof tf.Tensor && sameShape(logits.shape, y.shape)) return logits
  throw misshapen(`${where} returned logits of the wrong shape`, step, showShape(y.shape), logits)
}

/** A scalar, as rank 0. @throws `graph.shape` */
export function checkedLoss(where: string, loss: tf.Tensor | undefined, step: number): tf.Tensor {
  if (!(loss instanceof tf.Tensor) || loss.size !== 1) throw misshapen(`the loss of ${where}`, step, 'a scalar', loss)
  return loss.rank === 0 ? loss : tf.reshape(loss, [])
}

/** Gradients by name, in the order of the parameters. @throws `graph.shape` @throws `definition.invalid` a name that is no parameter */
export function checkedGradients(
  where: string,
  gradients: { readonly [name: string]: tf.Tensor } | undefined,
  parameters: ReadonlyMap<string, tf.Tensor>,
  step: number,
): (tf.Tensor | undefined)[] {
  const named = Object.keys(gradients ?? {})
  const stranger = named.find((name) => !parameters.has(name))
  if (stranger !== undefined || typeof gradients !== 'object' || gradients === null) {
    throw new SwarmError('definition.invalid', {
      what: `gradients of ${where} at step ${step}`,
      expected: `tensors by name: ${[...parameters.keys()].join(', ')}`,
      got: stranger === undefined ? describe(gradients) : `'${stranger}'`,
    })
  }
  return Array.from(parameters, ([name, parameter]) => {
    const gradient = gradients[name] as tf.Tensor | undefined
    if (gradient === undefined) return undefined
    if (gradient instanceof tf.Tensor && gradient.dtype === 'float32' && sameShape(gradient.shape, parameter.shape)) return gradient
    throw misshapen(`gradient '${name}' of ${where}`, step, `float32 ${showShape(parameter.shape)}`, gradient)
  })
}

function misshapen(what: string, step: number, expected: string, got: unknown): SwarmError {
  const shown = got instanceof tf.Tensor ? `${got.dtype} ${showShape(got.shape)}` : describe(got)
  return new SwarmError('graph.shape', { what: `${what}, at step ${step}`, expected, got: shown })
}
