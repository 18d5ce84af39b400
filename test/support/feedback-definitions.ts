/** A block whose training depends on its state, and rules that ask for what they cannot have. */
import { type RuleFeedback, defineBlock, defineRule, tf } from 'swarmgrad'

const module = import.meta.url

/** Divides by the mean of all absolute values that it has seen in training, batch by batch. */
export const scaledByPast = defineBlock({
  module,
  name: 'scaledByPast',
  shape: (input) => input,
  init: ([width], _options, random) => ({ gain: random.ones([width]) }),
  state: (_input, _options, random) => ({ scale: random.ones([1]) }),
  forward: ({ gain }, x, context) => {
    const y = tf.mul(tf.div(x, context.state.scale), gain)
    if (context.training) context.state.scale = tf.add(tf.mul(context.state.scale, 0.9), tf.reshape(tf.mul(tf.mean(tf.abs(x)), 0.1), [1]))
    return y
  },
})

/** A linear head, and whatever `asks` says. */
const asking = (name: string, asks: () => unknown) =>
  defineRule({
    module,
    name,
    init: ([width], target, random) => ({ head: random.glorot([width, target.classes]) }),
    logits: ({ head }, h) => tf.matMul(h, head),
    loss: ({ logits, y }) => tf.losses.softmaxCrossEntropy(y, logits),
    feedback: asks as () => RuleFeedback,
  })

export const noWindow = asking('noWindow', () => ({ of: 'gradients', window: 0 }))
export const halfASteps = asking('halfASteps', () => ({ of: 'head', parameter: 'head', everySteps: 2.5 }))
export const ofSomethingElse = asking('ofSomethingElse', () => ({ of: 'outputs' }))
export const throwing = asking('throwing', () => {
  throw new Error('not today')
})
export const stranger = asking('stranger', () => ({ of: 'head', parameter: 'body', everySteps: 5 }))
