import { z } from 'zod'
import type { BuiltIn, Call } from '../define.js'
import { momentumStep, sgdStep } from '../kernels/optimizer-steps.js'
import { checkOptions } from '../options.js'
import type { OptimizerSpec } from './optimizer.js'

const schema = z.strictObject({
  learningRate: z.number().positive().optional(),
  momentum: z.number().min(0).lt(1).default(0),
  weightDecay: z.number().min(0).default(0),
  /** Most of the norm of a VNode's gradients; longer ones are shortened to it. Default: any. */
  clipNorm: z.number().positive().optional(),
})
type SgdOptions = z.infer<typeof schema>

/** Gradient descent: u = μ·u + g + λ·p, p −= η·u (as in PyTorch). The slot u exists only with momentum. */
export const sgdSpec: BuiltIn<OptimizerSpec<SgdOptions>> = {
  name: 'sgd',
  positional: 'learningRate',
  options: (raw) => checkOptions("optimizer 'sgd'", schema, raw),
  slots: ({ momentum }) => (momentum > 0 ? ['momentum'] : []),
  clipNorm: ({ clipNorm }) => clipNorm,
  products: () => ({}),
  update: ({ parameters, gradient, slots: [u], learningRate }, { momentum, weightDecay }) =>
    u
      ? momentumStep(parameters, gradient, u, learningRate, momentum, weightDecay)
      : sgdStep(parameters, gradient, learningRate, weightDecay),
  operation: ({ learningRate }, { momentum, weightDecay }) => {
    if (weightDecay > 0) return undefined
    if (momentum === 0) return { name: 'ResourceApplyGradientDescent', before: [learningRate] }
    return { name: 'ResourceApplyMomentum', before: [learningRate], after: [momentum], flags: ['use_nesterov'] }
  },
}

/** Gradient descent. Without `learningRate` the run chooses it by its length (schedule.ts). @throws `graph.unknown` */
export function sgd(options: z.input<typeof schema> = {}): Call<'optimizer'> {
  return { kind: 'optimizer', name: 'sgd', options: sgdSpec.options(options) }
}
